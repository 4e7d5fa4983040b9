"""An environment as a user has it: the package installed, compiled, and nothing beside it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def installed_package(extra: str = "") -> Iterator[str]:
    """
    Install this checkout into a virtual environment of its own.

    The development environment is no measure: it runs the sources as they lie there, and is ten times as large.

    Args:
        extra: An extra of the package that is installed with it.

    Yields:
        The environment's interpreter.
    """
    with tempfile.TemporaryDirectory(prefix="mcai-bench-") as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = str(Path(folder) / "bin" / "python")
        package = f"{ROOT}[{extra}]" if extra else str(ROOT)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package], check=True)
        yield python

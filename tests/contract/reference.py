"""Where the reference is: the interpreter of an environment that has ``mcai-worker-sdk`` 2.1.1."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["ReferenceMissingError", "find_reference"]

VERSION = "2.1.1"
REQUIREMENT = f"mcai-worker-sdk=={VERSION}"
#: What the reference's one wheel is built for.
PYTHON = (3, 11)
MACHINE = "x86_64"
INSTALL_TIMEOUT_SECONDS = 180
VERSION_QUERY = "import importlib.metadata as m; print(m.version('mcai-worker-sdk'))"


class ReferenceMissingError(Exception):
    """The reference cannot be had here; says why."""


def find_reference() -> str:
    """
    The reference's interpreter: ``REFERENCE`` when it is set, else an environment in the user's cache, made at need.

    Raises:
        ReferenceMissingError: There is none, and none can be made.
    """
    named = os.environ.get("REFERENCE")
    if named:
        return _verified(named)
    if platform.system() != "Linux" or platform.machine() != MACHINE:
        raise ReferenceMissingError(f"The reference is built for Linux on {MACHINE}.")
    cached = _cache_folder() / f"reference-{VERSION}"
    if not (cached / "bin" / "python").exists():
        _install(cached)
    return _verified(str(cached / "bin" / "python"))


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mcai-worker-sdk-tests"


def _install(folder: Path) -> None:
    python = _python()
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Made beside and moved into place: an interrupted or a second run at the same time leaves no half of one.
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        made = Path(name) / "environment"
        _run([python, "-m", "venv", str(made)], "make an environment")
        pip = [str(made / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        limits = ["--only-binary", ":all:", "--retries", "0", "--timeout", "10"]
        _run([*pip, *limits, REQUIREMENT], f"install {REQUIREMENT}")
        if not folder.exists():
            made.rename(folder)


def _python() -> str:
    if sys.version_info[:2] == PYTHON:
        return sys.executable
    found = shutil.which("python{}.{}".format(*PYTHON))
    if found is None:
        raise ReferenceMissingError("The reference needs Python {}.{}, which is not on the PATH.".format(*PYTHON))
    return found


def _run(command: list[str], purpose: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_SECONDS, check=True)
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip() or "no word").splitlines()[-1]
        raise ReferenceMissingError(f"Could not {purpose}: {last}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ReferenceMissingError(f"Could not {purpose}: {error}") from None
    return done.stdout.strip()


def _verified(python: str) -> str:
    version = _run([python, "-c", VERSION_QUERY], f"ask {python} for its mcai-worker-sdk")
    if version != VERSION:
        raise ReferenceMissingError(f"{python} has mcai-worker-sdk {version}; expected {VERSION}.")
    return python

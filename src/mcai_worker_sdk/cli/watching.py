"""``run --watch``: the same command again, in a new process, whenever a file changes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["run_again_on_change"]

#: Between two looks at the files, in seconds.
LOOK_SECONDS = 0.3
_SUFFIXES = frozenset({".py", ".json", ".toml"})


def run_again_on_change(arguments: Sequence[str], files: Sequence[Path]) -> int:
    """
    Run the command, and again after each change, until Ctrl-C.

    Args:
        arguments: Those of the command, without ``--watch``.
        files: What is watched beside the Python, JSON and TOML files below the current directory.

    Returns:
        The exit code of the last run.
    """
    code = 0
    pause = threading.Event()
    try:
        while True:
            seen = _state(files)
            code = subprocess.run([sys.executable, "-m", "mcai_worker_sdk.cli", *arguments], check=False).returncode  # noqa: S603 - the command itself
            sys.stderr.write(f"mcai-worker: exit code {code}; waiting for a change, Ctrl-C ends.\n")
            sys.stderr.flush()
            while _state(files) == seen:
                pause.wait(LOOK_SECONDS)
    except KeyboardInterrupt:
        return code


def _state(files: Sequence[Path]) -> dict[Path, int]:
    """When each file was changed last, in nanoseconds; what has gone is not there."""
    state = {}
    for path in [*files, *_project_files(Path.cwd())]:
        try:
            state[path] = path.stat().st_mtime_ns
        except OSError:
            continue
    return state


def _project_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in {"__pycache__", "node_modules"}:
            continue
        if path.is_dir() and not (path / "pyvenv.cfg").exists():
            yield from _project_files(path)
        elif path.suffix in _SUFFIXES:
            yield path

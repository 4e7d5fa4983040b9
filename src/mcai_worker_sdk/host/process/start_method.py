"""How the first job process is started: by a fork when that is safe, else as a program of its own."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Literal

__all__ = ["choose_start_method"]

_PROCESS = Path("/proc/self")


def choose_start_method() -> tuple[Literal["fork", "run"], str]:
    """
    Choose how to start the first job process.

    A fork copies one thread and every lock: with other threads about (Python's, or those a library such as OpenBLAS
    started on import) the copy can deadlock, and a CUDA context does not survive it. A fork is instant and shares the
    memory of all that the worker's script imported; a program of its own runs the script again.

    Returns:
        The method, and the reason in words for the log.
    """
    if sys.platform != "linux":
        return "run", f"fork is not safe on {sys.platform}"
    if threading.active_count() > 1 or _native_threads() > 1:
        return "run", "the worker's script started threads"
    if _holds_gpu():
        return "run", "the worker's script opened a GPU"
    return "fork", "no threads, no GPU"


def _native_threads() -> int:
    return sum(1 for _ in (_PROCESS / "task").iterdir())


def _holds_gpu() -> bool:
    for entry in (_PROCESS / "fd").iterdir():
        try:
            if str(entry.readlink()).startswith("/dev/nvidia"):
                return True
        except OSError:
            continue  # The descriptor of this very listing is gone by now.
    return False

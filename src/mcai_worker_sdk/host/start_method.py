"""How the job process is started: ``fork`` when that is safe, else ``spawn``."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Literal

__all__ = ["choose_start_method"]

_PROCESS = Path("/proc/self")


def choose_start_method() -> tuple[Literal["fork", "spawn"], str]:
    """
    Choose how to start the job process.

    A fork copies one thread and every lock: with other threads about (Python's, or those a library such as OpenBLAS
    started on import) the copy can deadlock, and a CUDA context does not survive it. A fork is instant and shares the
    memory of all that the worker's script imported; a spawn imports the script again.

    Returns:
        The method of :mod:`multiprocessing`, and the reason in words for the log.
    """
    if sys.platform != "linux":
        return "spawn", f"fork is not safe on {sys.platform}"
    if threading.active_count() > 1 or _native_threads() > 1:
        return "spawn", "the worker's script started threads"
    if _holds_gpu():
        return "spawn", "the worker's script opened a GPU"
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

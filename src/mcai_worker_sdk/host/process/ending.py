"""
The end of a job process: it ends as a Python program ends, and what it has from its parent stays its parent's.

``start()`` never returns in a job process, so the interpreter's own end never comes: what belongs to it is done here,
in its order. Of a fork, the parent's part is left out: exit functions, finalizers and temporary files of the script
are the supervisor's to deal with, once. The private names used here are those by which :mod:`multiprocessing` does the
same for its own forks.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import logging
import os
import stat
import sys
import threading
import traceback
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["Ending", "flush_before_fork", "forget_parent"]

#: The compiled bases of all file objects. Those of :mod:`io` are abstract classes, a hundred times slower to ask.
_FILE: Any = io.IOBase.__base__
_RAW_FILE: Any = io.RawIOBase.__bases__[0]
_STANDARD_DESCRIPTORS = 3


def flush_before_fork() -> None:
    """Write what the script left in buffers: both processes would write it."""
    files = _files() if _has_open_files() else (sys.stdout, sys.stderr)
    for file in files:
        # It may be closed, or the script may have set it to None.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            file.flush()


def forget_parent() -> None:
    """In a fork, before anything else: leave to the parent what is to be done at its end."""
    atexit._clear()
    atexit.register(logging.shutdown)
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        finalizer.atexit = False
    # The next finalizer registers itself anew.
    weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]
    _forget_multiprocessing()


class Ending:
    """
    Knows what this process has from its parent, and ends it without touching that.

    Args:
        worker: The worker, whose attributes go when the process ends.
        is_fork: Whether it has anything from its parent. Else all of it is its own.
    """

    def __init__(self, worker: object, *, is_fork: bool) -> None:
        spaces = [vars(worker), vars(sys.modules["__main__"])]
        self._spaces: list[tuple[dict[str, Any], Mapping[str, Any]]] = [
            (space, dict(space) if is_fork else {}) for space in spaces
        ]
        self._inherited = {id(file) for file in _files()} if is_fork and _has_open_files() else set()

    def end(self, exit_code: int) -> NoReturn:
        """
        End this process.

        Threads are waited for and executors told, exit functions called, what the process made and still holds is let
        go and closed, buffers are written. What fails is shown on standard error.
        """
        for step in (threading._shutdown, atexit._run_exitfuncs, self._let_go, self._close_files):  # type: ignore[attr-defined]
            try:
                step()
            except BaseException:  # noqa: BLE001 - the process ends whatever user code does then
                traceback.print_exc()
        os._exit(exit_code)

    def _let_go(self) -> None:
        """Drop what the process put on the worker and into the script's names: temporary files, archives, pools."""
        # As in the interpreter's end, daemon threads and destructors that miss it are not heard any more.
        threading.excepthook = lambda _failure: None
        sys.unraisablehook = lambda _failure: None
        for space, before in self._spaces:
            for name in [name for name, value in space.items() if before.get(name) is not value]:
                if not name.startswith("__"):
                    del space[name]
        gc.collect()

    def _close_files(self) -> None:
        standard = {id(stream) for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)}
        kept = self._inherited | standard | {id(getattr(stream, "buffer", None)) for stream in (sys.stdout, sys.stderr)}
        for file in sorted(_files(), key=_closes_after):
            with contextlib.suppress(OSError, ValueError):
                file.flush() if id(file) in kept else file.close()


def _files() -> Iterator[Any]:
    """Every file object that may hold what is not written yet."""
    kinds = ((thing, type(thing)) for thing in gc.get_objects())
    return (
        thing
        for thing, kind in kinds
        if issubclass(kind, _FILE) and not issubclass(kind, (_RAW_FILE, io.BytesIO, io.StringIO))
    )


def _closes_after(file: object) -> int:
    """Whatever writes to another file before that one."""
    if isinstance(file, io.TextIOWrapper):
        return 0
    return 2 if isinstance(file, io.BufferedWriter | io.BufferedRandom | io.BufferedReader) else 1


def _has_open_files() -> bool:
    """Whether a file or a pipe is open beside the standard ones. To look for its object takes milliseconds."""
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # The listing's own descriptor is gone by now.
            if int(entry.name) >= _STANDARD_DESCRIPTORS and not stat.S_ISSOCK(entry.stat().st_mode):
                return True
    return False


def _forget_multiprocessing() -> None:
    """Children, finalizers and helper processes of the script are the parent's; here its state is that of a program."""
    if util := sys.modules.get("multiprocessing.util"):
        sys.modules["multiprocessing.process"]._children = set()  # type: ignore[attr-defined]
        util._finalizer_registry.clear()
        util._run_after_forkers()
        atexit.register(util._exit_function)
    if tracker := sys.modules.get("multiprocessing.resource_tracker"):
        # One of its own frees at its end, whatever that is, what this process shared.
        tracker._resource_tracker._fd = tracker._resource_tracker._pid = None
    if server := sys.modules.get("multiprocessing.forkserver"):
        forkserver = server._forkserver
        forkserver._forkserver_address = forkserver._forkserver_alive_fd = forkserver._forkserver_pid = None

"""A job process as its parent holds it, forked or run as a program; and the end of all that it started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

import psutil

__all__ = ["ChildProcess", "EndWatch", "ForkedProcess", "kill_session", "kill_with_programs"]

#: How often a session is looked through for what is new; one that never comes to its end is killed trackers and all.
ROUNDS = 50

#: What a resource tracker runs: that of multiprocessing, and joblib's and loky's own.
_TRACKER = re.compile(r"\bresource_tracker import main\b")


class ChildProcess(Protocol):
    """A child of this process, as :class:`subprocess.Popen` is one."""

    pid: int

    def wait(self) -> int:
        """Wait for its end, and free its number; the exit code, negative for a signal."""


class ForkedProcess:
    """
    A child that was forked.

    Args:
        pid: Its number.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def wait(self) -> int:
        """Wait for its end, and free its number; the exit code, negative for a signal."""
        try:
            return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        except ChildProcessError:
            # A handler of the worker's script for SIGCHLD may have taken the exit status.
            return 0


class EndWatch:
    """
    Tells the running event loop of a child's end, once; the child's number stays taken until it is waited for.

    A pidfd tells the end of the process itself, whatever it has left behind. Systems without it get a thread.

    Args:
        pid: The child.
        on_end: Called on the event loop.
    """

    def __init__(self, pid: int, on_end: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_end = on_end
        self._descriptor: int | None = None
        self._is_closed = False
        try:
            self._descriptor = os.pidfd_open(pid)
        except (AttributeError, OSError):
            threading.Thread(target=self._wait, args=(pid,), name="mcai-job-end", daemon=True).start()
        else:
            self._loop.add_reader(self._descriptor, on_end)

    def close(self) -> None:
        """Tell nothing any more. Idempotent."""
        self._is_closed = True
        if self._descriptor is not None:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def _wait(self, pid: int) -> None:
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(RuntimeError):  # The loop is closed: the worker has ended.
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        if not self._is_closed:
            self._on_end()


def kill_with_programs(pid: int) -> None:
    """Kill a job process and all that it started, also what is in a session of its own."""
    started = _programs_started_by(pid)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    kill_session(pid)
    for program in started:
        with contextlib.suppress(psutil.Error):
            if not _is_tracker(program):
                program.kill()


def kill_session(leader_pid: int) -> None:
    """
    Kill what is left of a job process's session; its number must still be taken, if only by its corpse.

    Resource trackers live on until nobody is left who uses what they track. Then they free it (shared memory, named
    semaphores in ``/dev/shm``) and end by themselves.
    """
    killed: set[psutil.Process] = set()
    for _ in range(ROUNDS):
        # What was killed may take a while to be gone, and what it started just before is still to be found.
        members = set(_session(leader_pid)) - killed
        if not members:
            return
        for process in members:
            with contextlib.suppress(psutil.Error):  # Gone, or its user is another one now.
                process.kill()
        killed |= members
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader_pid, signal.SIGKILL)


def _session(leader_pid: int) -> Iterator[psutil.Process]:
    """Its living members but for the trackers."""
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(pid) != leader_pid:
                continue
            process = psutil.Process(pid)
            if process.status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD} and not _is_tracker(process):
                yield process


def _programs_started_by(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def _is_tracker(process: psutil.Process) -> bool:
    return any(_TRACKER.search(argument) for argument in process.cmdline())

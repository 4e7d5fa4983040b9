"""Why a job process died, in words the orchestrator can show."""

from __future__ import annotations

import enum
import resource
import signal
from pathlib import Path

__all__ = ["Moment", "OutOfMemoryCounter", "PeakMemory", "describe_death"]

#: Counters of the kernel's out-of-memory kills in this container, cgroup v2 then v1.
_COUNTER_FILES = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))


class OutOfMemoryCounter:
    """Tells whether the kernel killed something in this container for want of memory since it was made."""

    def __init__(self) -> None:
        self._before = self._read()

    def raised(self) -> bool:
        """Whether the counter went up; asking again starts anew."""
        before, self._before = self._before, self._read()
        return self._before > before

    @staticmethod
    def _read() -> int:
        for path in _COUNTER_FILES:
            try:
                lines = path.read_text(encoding="ascii").splitlines()
            except OSError:
                continue
            counts = dict(line.split(maxsplit=1) for line in lines if " " in line)
            return int(counts.get("oom_kill", 0))
        return 0


class PeakMemory:
    """Tells how much memory the process that ended last had held, as far as the kernel says it."""

    def __init__(self) -> None:
        self._before_mb = self._now_mb = self._largest_child_mb()

    def process_ended(self) -> None:
        """Take note. Called once for each process, after it was joined."""
        self._before_mb, self._now_mb = self._now_mb, self._largest_child_mb()

    def in_words(self) -> str:
        """A sentence. The kernel keeps the largest child only: one that was smaller is known to be no larger."""
        bound = "" if self._now_mb > self._before_mb else "at most "
        return f"Peak memory {bound}{self._now_mb} MB."

    @staticmethod
    def _largest_child_mb() -> int:
        # Linux counts in KiB.
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10


class Moment(enum.StrEnum):
    """When the job process ended, in the words of the message."""

    SCRIPT = "before the worker's script came to start() again"
    SETUP = "before setup() came to its end"
    JOB = "in the middle of the job"
    BETWEEN_JOBS = "between two jobs"


_EXPECTED = {
    Moment.SCRIPT: (
        "expected the script to come there as it did the first time: it is run again for this process. What must "
        "happen once only (to take a port, a lock, a file), do in setup(). Standard error has its last words."
    ),
    Moment.SETUP: "expected setup() to return or raise. Standard error has its last words.",
    Moment.JOB: (
        "expected process() to return or raise. Look for os._exit() and os.closerange() in the worker's code and its "
        "libraries."
    ),
    Moment.BETWEEN_JOBS: "expected it to wait for the next one. Look for threads that setup() or a job left behind.",
}
#: Those of which faulthandler writes the stack.
_CRASHES = frozenset({signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT, signal.SIGBUS, signal.SIGILL})


def describe_death(exit_code: int, moment: Moment, *, out_of_memory: bool, peak_memory: str) -> str:
    """
    Say how the job process ended.

    Args:
        exit_code: As :mod:`subprocess` gives it: negative for a signal.
        moment: When it ended.
        out_of_memory: The kernel's counter says that something was killed for want of memory.
        peak_memory: A sentence on how much it had held.
    """
    if exit_code >= 0:
        return f"The job process ended with exit code {exit_code} {moment}; {_EXPECTED[moment]} {peak_memory}"
    killed = f"The job process was killed by signal {-exit_code} ({_signal_name(-exit_code)}) {moment}"
    if -exit_code in _CRASHES:
        return f"{killed}, a crash in native code. {peak_memory} The worker's log has the Python stack of the crash."
    if -exit_code != signal.SIGKILL:
        return f"{killed}, by its own code or by somebody. {peak_memory}"
    cause = "the container ran out of memory" if out_of_memory else "by somebody, or by a kernel short of memory"
    return f"{killed}: {cause}. {peak_memory} Give the container more memory or the job less to hold."


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"

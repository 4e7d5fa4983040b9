"""Why a job process died, in words the orchestrator can show."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

__all__ = ["OutOfMemoryCounter", "describe_death"]

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


def describe_death(exit_code: int, *, out_of_memory: bool) -> str:
    """
    Say how the job process ended.

    Args:
        exit_code: As :mod:`multiprocessing` gives it: negative for a signal.
        out_of_memory: The kernel's counter says that something was killed for want of memory.
    """
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    if exit_code >= 0:
        return (
            f"The job process ended with exit code {exit_code} in the middle of the job; expected process() to return "
            "or raise. Look for os._exit() and os.closerange() in the worker's code and its libraries. "
            f"Peak memory {peak_mb} MB."
        )
    name = _signal_name(-exit_code)
    if exit_code == -signal.SIGKILL:
        cause = "the container ran out of memory" if out_of_memory else "by somebody, or by a kernel short of memory"
        return (
            f"The job process was killed by signal {-exit_code} ({name}): {cause}. Peak memory {peak_mb} MB. "
            "Give the container more memory or the job less to hold."
        )
    return (
        f"The job process was killed by signal {-exit_code} ({name}), a crash in native code. "
        f"Peak memory {peak_mb} MB. The worker's log has the Python stack of the crash."
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"

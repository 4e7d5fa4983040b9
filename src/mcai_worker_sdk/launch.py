"""
How this process was started, taken down when the package is imported: before the worker's script changes any of it.

A job process that replaces another one is the worker's command line, run again (``host/process/program.py``). It finds
its end of the job link by a variable, which is taken out of the environment here, so that no program it starts
inherits it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["JOB_LINK_VARIABLE", "LAUNCH", "GivenLink", "Launch"]

#: Not for users: how the supervisor tells a process that it starts that it is the job process.
JOB_LINK_VARIABLE = "MCAI_JOB_LINK"


@dataclass(frozen=True, slots=True)
class GivenLink:
    """What the supervisor told the process that it started as the job process."""

    descriptor: int
    """This process's end of the job link: an open socket."""
    supervisor_pid: int
    start_number: int
    """Which call of ``start()`` in the worker's script is the one that runs jobs here, counted from 1."""

    def to_variable(self) -> str:
        """The value of the variable."""
        return f"{self.descriptor}:{self.supervisor_pid}:{self.start_number}"

    @classmethod
    def from_variable(cls, value: str) -> GivenLink | None:
        """What the value says; ``None`` when it is not one of :meth:`to_variable`."""
        with contextlib.suppress(ValueError):
            descriptor, supervisor_pid, start_number = map(int, value.split(":"))
            return cls(descriptor, supervisor_pid, start_number)
        return None


@dataclass(frozen=True, slots=True)
class Launch:
    """How this process was started."""

    pid: int
    executable: str
    """The Python interpreter, or the program that a frozen application is; empty when it is not known."""
    command_line: tuple[str, ...]
    """The interpreter as it was called, its options, what it runs, the arguments; empty when Python is embedded."""
    folder: str | None
    """The current directory; ``None`` when that was removed."""
    environment: Mapping[str, str]
    """As it was then; :meth:`environment_for_again` is what the command line is run again with."""
    given_link: GivenLink | None = None
    """Set in a process that the supervisor started as the job process."""
    is_below_job_process: bool = False
    """Whether such a process started this one before it imported the package."""

    def environment_for_again(self) -> dict[str, str]:
        """The environment as the script has set it by now, with what it has taken out: it will take that out again."""
        return {**self.environment, **os.environ}


def _take_down() -> Launch:
    given = GivenLink.from_variable(os.environ.pop(JOB_LINK_VARIABLE, ""))
    # The variable is inherited by what the script starts before it imports the package: the link is not.
    is_meant = given is not None and given.supervisor_pid == os.getppid()
    if given is not None and is_meant:
        os.set_inheritable(given.descriptor, False)
    folder = None
    with contextlib.suppress(OSError):
        folder = os.getcwd()  # noqa: PTH109 - a string, as it is passed on
    return Launch(
        pid=os.getpid(),
        executable=sys.executable or "",
        command_line=tuple(sys.orig_argv),
        folder=folder,
        environment=dict(os.environ),
        given_link=given if is_meant else None,
        is_below_job_process=given is not None and not is_meant,
    )


LAUNCH = _take_down()

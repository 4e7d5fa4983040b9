"""
The worker's own command line, to be run again where a job process cannot be forked.

The new process is to all intents the worker's program: the same interpreter and options, ``__main__``, ``sys.path``,
current directory. Nothing travels there but the job link, an inherited descriptor. When it comes to ``start()``, that
call turns it into the job process.
"""

from __future__ import annotations

import marshal
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from types import CodeType

from mcai_worker_sdk.errors import HostError
from mcai_worker_sdk.launch import JOB_LINK_VARIABLE, LAUNCH, GivenLink, Launch

__all__ = ["WorkerProgram", "worker_program"]

#: What Python calls a script that it read from its standard input, and one from its command line (``python -c``).
_STANDARD_INPUT, _COMMAND_LINE = "<stdin>", "<string>"
#: Runs the compiled script that comes by standard input, and leaves no other name in ``__main__`` than Python does.
_RUN_COMPILED = (
    f"__file__ = {_STANDARD_INPUT!r}; "
    "__import__('sys').argv[0] = {first_argument!r}; "
    "exec(__import__('marshal').load(__import__('sys').stdin.buffer))"
)


@dataclass(frozen=True, slots=True)
class WorkerProgram:
    """A command line with all that it needs to do the same again."""

    command: tuple[str, ...]
    folder: str | None
    """Where it is run; ``None`` is the current directory."""
    environment: Mapping[str, str]
    start_number: int
    """Which call of ``start()`` in it runs the jobs, counted from 1."""
    compiled_script: bytes | None = None
    """What it reads from its standard input; ``None`` is nothing."""

    def run(self, job_end: socket.socket) -> subprocess.Popen[bytes]:
        """
        Start the program as a job process, in a session of its own.

        Args:
            job_end: Its end of the job link.

        Raises:
            HostError: The program cannot be started.
        """
        given = GivenLink(job_end.fileno(), os.getpid(), self.start_number)
        try:
            with tempfile.TemporaryFile() as script:
                script.write(self.compiled_script or b"")
                script.seek(0)
                return subprocess.Popen(  # noqa: S603 - the command line of this very process
                    self.command,
                    stdin=script if self.compiled_script else subprocess.DEVNULL,
                    pass_fds=[given.descriptor],
                    cwd=self.folder,
                    env={**self.environment, JOB_LINK_VARIABLE: given.to_variable()},
                    start_new_session=True,
                )
        except OSError as error:
            raise HostError(
                f"The job process cannot be started: {error}. It runs the worker's own command line again, "
                f"{self.command[0]} in the folder {self.folder}: both must still be there."
            ) from error


def worker_program(start_number: int, launch: Launch = LAUNCH) -> WorkerProgram:
    """
    Say how this process is started again. Called from the call of ``start()`` that it should come to.

    Args:
        start_number: Which call that is, counted from 1.
        launch: How this process was started.

    Raises:
        HostError: It cannot be started again; says why.
    """
    if reason := _why_not_again(launch):
        raise HostError(
            f"The worker's command line cannot be run again: {reason}. Start the worker as a program of its own "
            "(python worker.py, python -m my_worker), or set MCAI_ISOLATION=thread."
        )
    arguments, compiled_script = launch.command_line[1:], None
    script = _outermost_code()
    if script.co_filename == _STANDARD_INPUT:
        # Its text is consumed.
        arguments, compiled_script = _to_run_compiled(arguments), marshal.dumps(script)
    return WorkerProgram(
        command=(launch.executable, *arguments),
        folder=launch.folder,
        environment=launch.environment_for_again(),
        start_number=start_number,
        compiled_script=compiled_script,
    )


def _why_not_again(launch: Launch) -> str | None:
    # Not imported for this: a child of multiprocessing has it loaded.
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        return "this process is a child of multiprocessing, whose parent's command line it would be"
    if os.getpid() != launch.pid:
        return "this process was forked from the one that has it"
    if not launch.executable or not launch.command_line:
        return "Python is embedded in another program"
    has_script = hasattr(sys.modules.get("__main__"), "__file__") or _outermost_code().co_filename == _COMMAND_LINE
    if hasattr(sys, "ps1") or not has_script:
        return "start() was called in an interactive session"
    return None


def _outermost_code() -> CodeType:
    """The code that Python runs first: of a script without a file, the script itself."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code


def _to_run_compiled(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """Arguments that run the compiled script instead of reading its text (``python - a b < script.py``)."""
    options = arguments[: arguments.index("-")] if "-" in arguments else arguments
    rest = arguments[len(options) + 1 :]
    return (*options, "-c", _RUN_COMPILED.format(first_argument="-" if "-" in arguments else ""), *rest)

"""Real worker processes: the scripts under ``tests/support/worker``, started as a user starts them."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
import tempfile
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from mcai_worker_sdk.testing.guard import Guard
from tests.support.rabbitmq import VirtualHost
from tests.support.tap import Tap

__all__ = ["QUEUE", "WorkerProcess", "code_order", "job_process_of"]

FOLDER = Path(__file__).parent / "worker"
QUEUE = "job_test"
#: A port of loopback where nothing listens: the worker must live without its backend.
NO_BACKEND = "http://127.0.0.1:9/api"


def code_order(job_id: int, code: str, **order: Any) -> dict[str, Any]:
    """An order for the worker that runs the code in it."""
    parameters = [{"id": "code", "type": "string", "value": code}]
    return {"job_id": job_id, "parameters": parameters, **order}


def job_process_of(supervisor: psutil.Process) -> psutil.Process:
    """The job process of a worker: its only child that is Python."""
    return next(child for child in supervisor.children() if "python" in child.name())


class WorkerProcess:
    """
    One worker, in a process group of its own. Use it as an async context manager; it is killed at the end.

    Its standard streams are a terminal's where one is given, and it is the leader of that terminal's session.

    Args:
        host: Its virtual host.
        script: A file under ``tests/support/worker``.
        arguments: The whole command line behind the interpreter, instead of a script.
        folder: Where it is started.
        text: What it reads from its standard input; nothing by default.
        terminal: The descriptor of a terminal that its standard streams are, instead of files.
        python: The interpreter; the reference's own, for the contract suite.
        environment: More variables, or others.
    """

    def __init__(
        self,
        host: VirtualHost,
        *,
        script: str = "worker.py",
        arguments: Sequence[str] | None = None,
        folder: Path = FOLDER,
        text: str | None = None,
        terminal: int | None = None,
        python: str = sys.executable,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._arguments = [script] if arguments is None else arguments
        self._folder = folder
        self._text = text
        self._terminal = terminal
        self._python = python
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AMQP_", "MCAI_"))},
            "AMQP_HOSTNAME": "127.0.0.1",
            "AMQP_PORT": str(host.port),
            "AMQP_USERNAME": host.username,
            "AMQP_PASSWORD": host.password,
            "AMQP_VHOST": host.name,
            "AMQP_QUEUE": QUEUE,
            "AMQP_TLS": "false",
            "BACKEND_HOSTNAME": NO_BACKEND,
            **(environment or {}),
        }
        self._process: asyncio.subprocess.Process | None = None
        self._guard: Guard | None = None
        self._kept_log = ""
        self._log = tempfile.NamedTemporaryFile(prefix="worker-", suffix=".log", mode="rb")  # noqa: SIM115

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """Everything it wrote so far; kept after its end."""
        if not self._log.closed:
            self._kept_log = Path(self._log.name).read_text(encoding="utf-8", errors="replace")
        return self._kept_log

    @property
    def job_process(self) -> psutil.Process:
        """Its job process."""
        return job_process_of(psutil.Process(self.pid))

    async def __aenter__(self) -> Self:
        piped, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        with Path(self._log.name).open("wb") as log:  # noqa: ASYNC230 - a local file, opened in microseconds
            self._process = await asyncio.create_subprocess_exec(
                self._python,
                *self._arguments,
                cwd=self._folder,
                env=self._environment,
                stdin=self._terminal or (nothing if self._text is None else piped),
                stdout=self._terminal or log,
                stderr=self._terminal or log,
                start_new_session=True,
                preexec_fn=None if self._terminal is None else _take_terminal,
            )
        self._guard = Guard(self._process.pid)
        if self._text is not None:
            assert self._process.stdin is not None
            self._process.stdin.write(self._text.encode())
            self._process.stdin.close()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._guard is not None
        self._guard.dismiss()
        if self._process.returncode is None:
            # One that a test killed may be gone before the loop was told.
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in [*psutil.Process(self.pid).children(recursive=True), psutil.Process(self.pid)]:
                    process.kill()
            await self._process.wait()
        log = self.log
        if error is not None:
            print(f"--- log of the worker\n{log}---")
        self._log.close()

    async def created(self, tap: Tap) -> str:
        """Wait until the worker says that it takes jobs; its instance id."""
        before = len(tap.out("worker_created"))
        waiting = asyncio.create_task(tap.wait_for("worker_created", count=max(1, before)))
        ended = asyncio.create_task(self.ended())
        done, pending = await asyncio.wait({waiting, ended}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        assert waiting in done, f"The worker ended before it was created:\n{self.log}"
        return str(waiting.result()[-1]["body"]["instance_id"])

    def send_signal(self, number: signal.Signals) -> None:
        """Signal the supervisor."""
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self, timeout_seconds: float = 60.0) -> int:
        """Wait for its end; the exit code."""
        assert self._process is not None
        async with asyncio.timeout(timeout_seconds):
            return await self._process.wait()


def _take_terminal() -> None:
    """In the new process, the leader of its session: have its standard input be the session's terminal."""
    # The suite may have been started by nohup, and what is ignored is inherited.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)

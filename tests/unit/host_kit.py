"""What the hosts' tests share: workers that do what an order says, and a driver that holds a host and its events."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import mcai_worker_sdk as mcai
from mcai_worker_sdk.host.port import Host
from mcai_worker_sdk.host.process.job_process import ProcessPlan, run_job_process
from mcai_worker_sdk.host.process.program import WorkerProgram
from mcai_worker_sdk.job.definition import WorkerDefinition
from mcai_worker_sdk.launch import LAUNCH
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.parameters import ParametersModel
from mcai_worker_sdk.protocol.orders import OrderParameter
from mcai_worker_sdk.protocol.responses import JobResult
from mcai_worker_sdk.settings import Settings

__all__ = [
    "CodeParameters",
    "CodeWorker",
    "HostDriver",
    "be_job_process",
    "code",
    "drive",
    "failure_of",
    "program_of",
    "refusal_of",
    "result_of",
    "setup_of",
]

ROOT = Path(__file__).parents[2]
DESCRIPTION = mcai.WorkerDescription("mcai_worker_sdk")


class CodeParameters(mcai.WorkerParameters):
    """The work, as Python statements."""

    code: str = ""


class CodeWorker:
    """Runs the code of its order; ``update_process`` keeps what it is given."""

    def __init__(self, setup_code: str = "") -> None:
        self.setup_code = setup_code
        self.updates: list[Any] = []

    def setup(self) -> None:
        exec(self.setup_code, {"self": self, "os": os, "time": time, "threading": threading})

    def process(self, channel: mcai.McaiChannel, parameters: CodeParameters, job_id: int) -> Any:
        names = {"self": self, "ch": channel, "p": parameters, "job_id": job_id, "ret": None, "mcai": mcai}
        exec(parameters.code, {**globals(), **names}, names)
        return names["ret"]

    def update_process(self, parameters: CodeParameters) -> None:
        if parameters.code == "refuse":
            raise ValueError("not now")
        self.updates.append(parameters.code)

    def init_process(self, context: Any, parameters: Any) -> Any:
        raise NotImplementedError

    def process_frames(self, job_id: str, stream_index: int, frames: Any) -> Any:
        raise NotImplementedError

    def ending_process(self) -> None:
        raise NotImplementedError


def setup_of(
    worker: Any, parameters_class: type = CodeParameters, environ: dict[str, str] | None = None, **limits: float
) -> tuple[WorkerDefinition, Settings]:
    """What a host is made of; ``limits`` are settings of jobs."""
    settings = Settings.load(environ or {})
    settings = settings.model_copy(update={"job": settings.job.model_copy(update=limits)})
    return WorkerDefinition(worker, ParametersModel(parameters_class), DESCRIPTION), settings


def code(statements: str) -> tuple[OrderParameter, ...]:
    """Parameters of an order for :class:`CodeWorker`."""
    return (OrderParameter(id="code", type="string", value=statements),)


def result_of(event: object) -> JobResult:
    """How a job ended."""
    assert isinstance(event, ev.JobEnded)
    return event.result


def failure_of(event: object) -> JobResult | None:
    """How a job ended that was to be prepared; ``None`` when it is."""
    return None if isinstance(event, ev.JobInitialised) else result_of(event)


def refusal_of(event: object) -> str | None:
    """Why an update was not taken; ``None`` when it was."""
    assert isinstance(event, ev.JobUpdated)
    return event.refusal


def program_of(setup_code: str = "", before: str = "") -> WorkerProgram:
    """What ``start()`` would take down of a script that makes a :class:`CodeWorker` after it did ``before``."""
    script = f"{before}\nfrom tests.unit.host_kit import be_job_process\nbe_job_process({setup_code!r})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return WorkerProgram((sys.executable, "-c", script), str(ROOT), environment, start_number=1)


def be_job_process(setup_code: str) -> None:
    """What ``start()`` does where the supervisor has the script run again."""
    given = LAUNCH.given_link
    assert given is not None
    plan = ProcessPlan(*setup_of(CodeWorker(setup_code)), given.supervisor_pid)
    run_job_process(plan, socket.socket(fileno=given.descriptor), is_fork=False)


class HostDriver:
    """One host with its events, in order."""

    def __init__(self) -> None:
        self.events: list[ev.Event] = []
        self.host: Host
        self.on_result: Callable[[JobResult], None] = lambda _result: None
        """Called from within the host, as the supervisor never is."""
        self._changed = asyncio.Event()

    def on_event(self, event: ev.Event) -> None:
        """Where the host reports to."""
        self.events.append(event)
        self._changed.set()
        if isinstance(event, ev.JobEnded):
            self.on_result(event.result)

    async def until(self, condition: Callable[[], bool], timeout_seconds: float = 40.0) -> None:
        """Wait until a condition holds; it is asked after each event."""
        async with asyncio.timeout(timeout_seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def ended(self, count: int = 1) -> JobResult:
        """Wait for the result of the ``count``-th job."""
        await self.until(lambda: len(self.results) >= count or self.failed is not None)
        assert len(self.results) >= count, self.events
        return self.results[count - 1]

    async def ready(self, count: int = 1) -> None:
        """Wait until ``setup`` has come to its end ``count`` times."""
        await self.until(lambda: self.events.count(ev.HostReady()) >= count or self.failed is not None)
        assert self.failed is None, self.failed

    async def progressed(self, percent: int) -> None:
        """Wait for a progression."""
        await self.until(lambda: percent in self.progressions)

    async def failure(self) -> str:
        """Wait for the host's failure."""
        await self.until(lambda: self.failed is not None)
        assert self.failed is not None
        return self.failed

    @property
    def results(self) -> list[JobResult]:
        """Results so far."""
        return [event.result for event in self.events if isinstance(event, ev.JobEnded)]

    @property
    def progressions(self) -> list[int]:
        """Progressions so far."""
        return [event.progression for event in self.events if isinstance(event, ev.ProgressionReported)]

    @property
    def failed(self) -> str | None:
        """What the host failed with."""
        return next((event.message for event in self.events if isinstance(event, ev.HostFailed)), None)


def drive(host: Host, scene: Callable[[HostDriver], Awaitable[None]]) -> HostDriver:
    """Launch a host, as the supervisor does it before there is a loop, play a scene on it, close it."""
    driver = HostDriver()
    driver.host = host
    driver.host.launch()

    async def play() -> None:
        driver.host.attach(driver.on_event)
        try:
            await scene(driver)
        finally:
            await driver.host.close()

    asyncio.run(play())
    # A thread that stayed would be in the way of every fork of the tests behind this one.
    for thread in threading.enumerate():
        if thread.name.startswith("mcai-"):
            thread.join(30)
    return driver

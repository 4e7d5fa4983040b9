"""User code in the calling thread: for ``SOURCE_ORDERS`` and tests, where a debugger and ``print`` must work."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

from mcai_worker_sdk.host.port import JobUsage
from mcai_worker_sdk.job.definition import WorkerDefinition
from mcai_worker_sdk.job.failures import describe_failure
from mcai_worker_sdk.job.runner import Runner
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.protocol import commands as cmd
from mcai_worker_sdk.protocol.responses import JobResult
from mcai_worker_sdk.settings import Settings

__all__ = ["InlineHost"]


class InlineHost:
    """
    Runs each job to its end before the call returns.

    Args:
        definition: The worker.
        settings: Where its jobs' credentials and media options come from.
    """

    _on_event: Callable[[ev.Event], None]

    def __init__(self, definition: WorkerDefinition, settings: Settings) -> None:
        self._runner = Runner(definition, settings, self._progressed)
        self._wall_started = time.monotonic()
        self._cpu_started = time.process_time()

    def launch(self) -> None:
        """Nothing is started apart."""

    def attach(self, on_event: Callable[[ev.Event], None]) -> None:
        """Call the worker's ``setup`` here and now; ``on_event`` is also called from within a running job."""
        self._on_event = on_event
        try:
            self._runner.setup()
        except BaseException as error:  # noqa: BLE001 - SystemExit in setup() must be told like any other failure
            self._on_event(ev.HostFailed(describe_failure(error)))
        else:
            self._on_event(ev.HostReady())

    def abandon(self) -> None:
        """Nothing was started apart."""

    async def close(self) -> None:
        """Nothing to end."""

    def leave(self, exit_code: int) -> None:
        """Nothing of a job is left."""

    def command(self, command: cmd.Command) -> None:
        """Obey a command before the call returns. A ``StopJob`` may come from a signal handler or another thread."""
        if isinstance(command, cmd.RunJob | cmd.InitialiseJob):
            self._wall_started, self._cpu_started = time.monotonic(), time.process_time()
        event = self._runner.obey(command)
        if event is not None:
            self._on_event(event)

    def kill(self, verdict: JobResult, reason: str) -> None:
        """Nothing can be killed here: the job is told to stop."""
        del reason
        self._runner.obey(cmd.StopJob(verdict.job_id))

    def resident_memory_bytes(self) -> int:
        """Memory of this process, in bytes."""
        return int(psutil.Process().memory_info().rss)

    def usage(self) -> JobUsage:
        """What the job in hand used so far."""
        cpu_seconds = time.process_time() - self._cpu_started
        return JobUsage(time.monotonic() - self._wall_started, cpu_seconds)

    def _progressed(self, job_id: int, progression: int) -> None:
        self._on_event(ev.ProgressionReported(job_id, progression))

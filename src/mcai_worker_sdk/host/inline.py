"""User code in the calling thread: for ``SOURCE_ORDERS`` and tests, where a debugger and ``print`` must work."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import psutil

from mcai_worker_sdk.host.base import JobUsage, WorkerSetup
from mcai_worker_sdk.host.failures import describe_failure
from mcai_worker_sdk.host.runner import Runner
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.protocol.orders import OrderParameter
from mcai_worker_sdk.protocol.responses import JobResult

__all__ = ["InlineHost"]


class InlineHost:
    """
    Runs each job to its end before the call returns.

    Args:
        setup: The worker and what belongs to it.
    """

    _on_event: Callable[[ev.Event], None]

    def __init__(self, setup: WorkerSetup) -> None:
        self._runner = Runner(setup, self._progressed)
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

    def run(self, job_id: int, parameters: Sequence[OrderParameter]) -> None:
        """Run a job; ends in ``JobEnded``."""
        self._wall_started, self._cpu_started = time.monotonic(), time.process_time()
        self._on_event(ev.JobEnded(self._runner.run(job_id, parameters)))

    def initialise(self, job_id: int, parameters: Sequence[OrderParameter]) -> None:
        """Prepare a job; ends in ``JobInitialised`` or ``JobEnded``."""
        self._wall_started, self._cpu_started = time.monotonic(), time.process_time()
        failure = self._runner.initialise(job_id, parameters)
        self._on_event(ev.JobInitialised(job_id) if failure is None else ev.JobEnded(failure))

    def start(self, job_id: int, parameters: Sequence[OrderParameter]) -> None:
        """Run the prepared job; ends in ``JobEnded``."""
        self._on_event(ev.JobEnded(self._runner.start(job_id, parameters)))

    def stop(self, job_id: int) -> None:
        """Let the job see ``is_stopped()``. May be called from a signal handler or another thread."""
        self._runner.stop(job_id)

    def discard(self, job_id: int) -> None:
        """Give up the prepared job; ends in ``JobEnded``, state stopped."""
        self._on_event(ev.JobEnded(self._runner.discard(job_id)))

    def update(self, job_id: int, parameters: Sequence[OrderParameter]) -> None:
        """Give the job new parameters; ends in ``JobUpdated``."""
        self._on_event(ev.JobUpdated(job_id, self._runner.update(job_id, parameters)))

    def kill(self, verdict: JobResult, reason: str) -> None:
        """Nothing can be killed here: the job is told to stop."""
        del reason
        self._runner.stop(verdict.job_id)

    def resident_memory_bytes(self) -> int:
        """Memory of this process, in bytes."""
        return int(psutil.Process().memory_info().rss)

    def usage(self) -> JobUsage:
        """What the job in hand used so far."""
        return JobUsage(time.monotonic() - self._wall_started, time.process_time() - self._cpu_started)

    def _progressed(self, job_id: int, progression: int) -> None:
        self._on_event(ev.ProgressionReported(job_id, progression))

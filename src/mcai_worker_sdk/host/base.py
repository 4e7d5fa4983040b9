"""The port: what the supervisor needs of a host, wherever user code runs, and what a host needs of a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mcai_worker_sdk.channel import McaiChannel
from mcai_worker_sdk.lifecycle.events import Event
from mcai_worker_sdk.protocol.orders import OrderParameter
from mcai_worker_sdk.protocol.responses import JobResult
from mcai_worker_sdk.settings import Settings

__all__ = ["Host", "HostLimits", "JobUsage", "RunnableWorker", "WorkerSetup"]


class RunnableWorker(Protocol):
    """What the runner needs of a Worker."""

    def setup(self) -> None:
        """Prepare the worker, once."""

    def process(self, channel: McaiChannel, parameters: Any, job_id: int) -> Any:
        """Do one job."""

    def init_process(self, context: Any, parameters: Any) -> Any:
        """Choose the streams of one media job."""

    def process_frames(self, job_id: str, stream_index: int, frames: Any) -> Any:
        """Work on one batch of frames."""

    def ending_process(self) -> Any:
        """Clean up after one media job; what is returned joins its result."""


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What a runner is made of. A job process that is forked has it, one that is a program of its own makes it anew."""

    worker: RunnableWorker
    parameters_class: type
    settings: Settings
    """Where credential stores and media options are read from."""
    is_media: bool = False
    """Whether jobs go through the worker's media methods instead of ``process``."""


@dataclass(frozen=True, slots=True)
class HostLimits:
    """What a job process may use before it is ended. ``None`` means no limit."""

    job_timeout_seconds: float | None = None
    """``MCAI_JOB_TIMEOUT_SECONDS``: a job that runs longer is killed and reported as an error."""
    stop_grace_seconds: float | None = None
    """``MCAI_STOP_GRACE_SECONDS``: a job told to stop that goes on longer is killed and reported as stopped."""
    max_jobs_per_process: int | None = None
    """``MCAI_MAX_JOBS_PER_PROCESS``: the process is replaced after so many jobs, between two of them."""
    max_rss_mb: int | None = None
    """``MCAI_MAX_RSS_MB_PER_PROCESS``: the process is replaced between two jobs once it holds more memory."""


@dataclass(frozen=True, slots=True)
class JobUsage:
    """What the running job used so far."""

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0


class Host(Protocol):
    """Runs one job at a time. Answers come as lifecycle events, in the order they happen."""

    def launch(self) -> None:
        """Start what must be started before there is an event loop."""

    def attach(self, on_event: Callable[[Event], None]) -> None:
        """Go on on the running event loop; ``on_event`` hears what happens, ``HostReady`` or ``HostFailed`` first."""

    def abandon(self) -> None:
        """End what :meth:`launch` started, at once and without an event loop: there will be none."""

    async def close(self) -> None:
        """End it, with the job it may still run."""

    def leave(self, exit_code: int) -> None:
        """After :meth:`close`: end this very process when user code that nothing can end still runs in it."""

    def run(self, job_id: int, parameters: Sequence[OrderParameter]) -> None:
        """Run a job; ends in ``JobEnded``."""

    def initialise(self, job_id: int, parameters: Sequence[OrderParameter]) -> None:
        """Prepare a job; ends in ``JobInitialised`` or ``JobEnded``."""

    def start(self, job_id: int, parameters: Sequence[OrderParameter]) -> None:
        """Run the prepared job; ends in ``JobEnded``."""

    def stop(self, job_id: int) -> None:
        """Let the job see ``is_stopped()``."""

    def discard(self, job_id: int) -> None:
        """Give up the prepared job; ends in ``JobEnded``, state stopped."""

    def update(self, job_id: int, parameters: Sequence[OrderParameter]) -> None:
        """Give the job new parameters; ends in ``JobUpdated``."""

    def kill(self, verdict: JobResult, reason: str) -> None:
        """End the job from outside, if that can be done here; it ends in ``verdict``."""

    def resident_memory_bytes(self) -> int:
        """Memory that the process of user code holds, in bytes; 0 when it is not known."""

    def usage(self) -> JobUsage:
        """What the job in hand used so far."""

"""The one place where effects become calls: the same for local orders and for the broker."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from mcai_worker_sdk.addresses import local_path
from mcai_worker_sdk.host.port import Host
from mcai_worker_sdk.lifecycle import effects as fx
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.lifecycle.engine import Lifecycle
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.protocol import commands as cmd
from mcai_worker_sdk.protocol.delivery import Count, Delivery
from mcai_worker_sdk.protocol.responses import (
    BlackListReport,
    JobResult,
    JobState,
    Progression,
    Response,
    UnknownJobError,
    UpdateRefusal,
    WorkerAnnouncement,
    WorkerStatusReport,
)

__all__ = ["BlackListKeeper", "Dispatcher", "ResponseExchange", "SystemInformation", "missing_paths"]

_logger = get_logger(__name__)


class ResponseExchange(Protocol):
    """The part of an exchange that effects speak to."""

    async def publish(self, response: Response) -> None:
        """Publish, and return once it is confirmed."""

    def publish_progression(self, response: Response) -> None:
        """Publish without waiting."""

    async def delay(self, delivery: Delivery, job_id: int, count: Count) -> None:
        """Publish a copy of the job's order to the delay exchange, one of its counts raised."""

    async def settle(self, delivery: Delivery) -> None:
        """Acknowledge a delivery."""

    async def consume_jobs(self) -> None:
        """Take orders."""

    async def pause_jobs(self) -> None:
        """Take no more orders."""


class SystemInformation(Protocol):
    """Figures of this machine, sampled beside the jobs."""

    def progression_info(self) -> Mapping[str, Any]:
        """What a progression carries."""

    def status_info(self, instance_id: str) -> Mapping[str, Any]:
        """What ``worker_status`` carries."""


class BlackListKeeper(Protocol):
    """The backend's black list; a failure is its own to log."""

    def fetch(self) -> None:
        """Ask for the list; ``BlackListFetched`` follows."""

    def delete(self, job_id: int) -> None:
        """Tell that a listed job was dropped; ``BlackListFetched`` may follow."""


def missing_paths(paths: Sequence[str]) -> list[str]:
    """Those of the paths, which may be ``file:`` URLs, that do not exist. May block on a slow file system."""
    return [path for path in paths if not os.path.exists(local_path(path) or path)]  # noqa: PTH110 - a path may hold what Path refuses


class Dispatcher:
    """
    Feeds the lifecycle and does what it answers, one effect after the other.

    Args:
        lifecycle: Decides.
        exchange: Publishes and settles.
        host: Runs user code.
        identity: The worker's announcement.
        system_information: Figures for progressions and status.
        black_list: The backend's side.
        check_requirements: Begins to look for a job's paths; ``RequirementsChecked`` follows.
        drain: Called when the worker ends as soon as its job has.
        terminate: Called with the exit code when the worker must end.
        stay: Called when that is taken back.
        await_return: Called with number and ``brief`` when orders may come back; ``ReturnOverdue`` follows.
        on_result: Called with each terminal message before it is published.
    """

    def __init__(
        self,
        *,
        lifecycle: Lifecycle,
        exchange: ResponseExchange,
        host: Host,
        identity: Mapping[str, Any],
        system_information: SystemInformation,
        black_list: BlackListKeeper,
        check_requirements: Callable[[int, Sequence[str]], None],
        drain: Callable[[], None],
        terminate: Callable[[int], None],
        stay: Callable[[], None] = lambda: None,
        await_return: Callable[[int, bool], None] = lambda _number, _brief: None,
        on_result: Callable[[JobResult], None] = lambda _result: None,
    ) -> None:
        self._lifecycle = lifecycle
        self._exchange = exchange
        self._host = host
        self._identity = identity
        self._instance_id: str = identity["instance_id"]
        self._system_information = system_information
        self._black_list = black_list
        self._check_requirements = check_requirements
        self._drain = drain
        self._terminate = terminate
        self._stay = stay
        self._await_return = await_return
        self._on_result = on_result

    async def handle(self, event: ev.Event) -> None:
        """Feed one event and do what follows, in order. Not re-entrant on an event loop."""
        for effect in self._lifecycle.feed(event):
            await self._apply(effect)

    async def announce(self, name: str) -> None:
        """Publish the worker's description as ``worker_discovery``, ``worker_created`` or ``worker_terminated``."""
        await self._exchange.publish(WorkerAnnouncement(name, self._identity))

    async def _apply(self, effect: fx.Effect) -> None:
        match effect:
            case fx.ReportProgression():
                self._exchange.publish_progression(self._progression(effect))
            case fx.PublishResult():
                await self._publish_result(effect)
            case fx.Settle():
                await self._exchange.settle(effect.delivery)
            case fx.CheckRequirements():
                self._check_requirements(effect.job_id, effect.paths)
            case fx.ConsumeJobs() | fx.PauseJobs():
                await self._switch_consuming(effect)
            case fx.Delay():
                await self._exchange.delay(effect.delivery, effect.job_id, effect.count)
            case fx.Warn():
                _logger.warning("%s", effect.message, extra={"job_id": effect.job_id})
            case fx.Drain() | fx.Terminate() | fx.Stay() | fx.AwaitReturn():
                self._tell_supervisor(effect)
            case fx.FetchBlackList() | fx.DeleteBlackListed():
                self._ask_backend(effect)
            case (
                cmd.RunJob() | cmd.InitialiseJob() | cmd.StartJob() | cmd.StopJob() | cmd.DiscardJob() | cmd.UpdateJob()
            ):
                self._host.command(effect)
            case _:
                await self._exchange.publish(self._answer(effect))

    async def _publish_result(self, effect: fx.PublishResult) -> None:
        result = effect.result
        if not effect.has_run:
            _logger.error("The job failed: %s", result.message, extra={"job_id": result.job_id})
        self._on_result(result)
        await self._exchange.publish(result)

    async def _switch_consuming(self, effect: fx.ConsumeJobs | fx.PauseJobs) -> None:
        if isinstance(effect, fx.ConsumeJobs):
            await self._exchange.consume_jobs()
        else:
            await self._exchange.pause_jobs()

    def _tell_supervisor(self, effect: fx.Drain | fx.Terminate | fx.Stay | fx.AwaitReturn) -> None:
        match effect:
            case fx.Drain():
                self._drain()
            case fx.Terminate():
                self._terminate(effect.exit_code)
            case fx.Stay():
                self._stay()
            case fx.AwaitReturn():
                self._await_return(effect.number, effect.brief)

    def _ask_backend(self, effect: fx.FetchBlackList | fx.DeleteBlackListed) -> None:
        if isinstance(effect, fx.FetchBlackList):
            self._black_list.fetch()
        else:
            self._black_list.delete(effect.job_id)

    def _answer(
        self,
        effect: fx.PublishUnknownError
        | fx.ReportJob
        | fx.RefuseUpdate
        | fx.ReportStatus
        | fx.ReportBlackList
        | fx.AnnounceCreated,
    ) -> Response:
        match effect:
            case fx.PublishUnknownError():
                return UnknownJobError(effect.message)
            case fx.ReportJob():
                return self._job_so_far(effect.job_id, effect.state)
            case fx.RefuseUpdate():
                return UpdateRefusal(effect.job_id, effect.message)
            case fx.ReportStatus():
                return self._status(effect)
            case fx.ReportBlackList():
                return BlackListReport(effect.job_ids, self._identity)
            case fx.AnnounceCreated():
                return WorkerAnnouncement("worker_created", self._identity)

    def _progression(self, effect: fx.ReportProgression) -> Progression:
        return Progression(
            effect.job_id, effect.progression, self._instance_id, self._system_information.progression_info()
        )

    def _job_so_far(self, job_id: int, state: JobState) -> JobResult:
        usage = self._host.usage()
        return JobResult(
            job_id, state, execution_duration_seconds=usage.wall_seconds, cpu_time_seconds=usage.cpu_seconds
        )

    def _status(self, effect: fx.ReportStatus) -> WorkerStatusReport:
        job = None
        if effect.job_id is not None and effect.state is not None:
            job = self._job_so_far(effect.job_id, effect.state)
        information = self._system_information.status_info(self._instance_id)
        return WorkerStatusReport(effect.activity, self._identity, information, job)

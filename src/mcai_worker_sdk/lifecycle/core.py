"""What every part of the lifecycle stands on: the job in hand, the switches, and the steps that all parts take."""

from __future__ import annotations

from mcai_worker_sdk.lifecycle import effects as fx
from mcai_worker_sdk.lifecycle.black_list import BlackList
from mcai_worker_sdk.lifecycle.controls import Controls
from mcai_worker_sdk.lifecycle.effects import Effect
from mcai_worker_sdk.lifecycle.refusals import (
    EXPIRED_MESSAGE,
    refused,
)
from mcai_worker_sdk.lifecycle.reported import ReportedOrders, ReturnWatch
from mcai_worker_sdk.lifecycle.settlement import CASE_OF_STATE, Case
from mcai_worker_sdk.lifecycle.state import STATE_OF_PHASE, CurrentJob, Phase
from mcai_worker_sdk.protocol import commands as cmd
from mcai_worker_sdk.protocol.delivery import Count, Delivery
from mcai_worker_sdk.protocol.responses import JobResult, JobState, failed_result
from mcai_worker_sdk.settings import JobSettings

__all__ = ["LifecycleCore"]


class LifecycleCore:
    """
    What a worker has in hand, and how a job is run, ended, settled and put back.

    Args:
        limits: How often an order may come, and after how many jobs the worker ends.
        announces_start: Whether ``worker_started`` is published for queued jobs too, as the reference's media variant
            does.
    """

    def __init__(self, limits: JobSettings, *, announces_start: bool = False) -> None:
        self._limits = limits
        self._announces_start = announces_start
        self._current: CurrentJob | None = None
        self._reported = ReportedOrders()
        self._watch = ReturnWatch()
        self._controls = Controls()
        self._black_list = BlackList()
        self._jobs_ended = 0
        self._terminated = False

    @property
    def current_job_id(self) -> int | None:
        """The job in hand, whatever its phase."""
        return None if self._current is None else self._current.job_id

    @property
    def is_taking_jobs(self) -> bool:
        """Whether orders are consumed: ready, not suspended, not ending. A running job does not matter."""
        return self._controls.takes_jobs(engaged=self._is_engaged)

    def _run(self, job: CurrentJob) -> list[Effect]:
        job.phase = Phase.RUNNING
        announcement: list[Effect] = [fx.ReportJob(job.job_id, JobState.PROCESSING)] if self._announces_start else []
        return [*announcement, fx.ReportProgression(job.job_id, 0), cmd.RunJob(job.job_id, job.parameters)]

    def _job_ended(self, result: JobResult) -> list[Effect]:
        job = self._current
        if job is None or job.job_id != result.job_id:
            return [fx.Warn("A job ended that is not in hand: its result is ignored.", result.job_id)]
        if job.expired:
            result = failed_result(
                job.job_id,
                EXPIRED_MESSAGE,
                execution_duration_seconds=result.execution_duration_seconds,
                cpu_time_seconds=result.cpu_time_seconds,
            )
        settlement = self._conclude(job, result)
        self._let_go()
        self._jobs_ended += 1
        if self._jobs_ended == self._limits.max_jobs:
            self._controls.shutting_down = True
        if self._controls.shutting_down:
            # Paused before the acknowledgement, which would bring the next order.
            return [*self._adjust_consuming(), *settlement, *self._end_if_done()]
        return [*settlement, *self._adjust_consuming()]

    def _conclude(self, job: CurrentJob, result: JobResult) -> list[Effect]:
        publication = fx.PublishResult(result)
        # What the orchestrator itself asked to end is reported: given back, it would run again elsewhere.
        told_to_end = job.stop_requested or job.expired
        if job.abandoned and job.queued and result.state is not JobState.COMPLETED and not told_to_end:
            if job.delivery is None:
                return []
            return self._send_back(job.delivery, job.job_id, Case.SHUTTING_DOWN, Count.PUT_BACKS)
        if job.delivery is not None:
            return [publication, self._settle_job(job.delivery, job.job_id, CASE_OF_STATE[result.state])]
        if job.queued:
            self._reported.reported_without_link(job.job_id, job.origin, overtaken=self._controls.holding_off)
        return [publication]

    def _wind_down(self, job: CurrentJob) -> list[Effect]:
        match job.phase:
            case Phase.CHECKING:
                # Nothing ran yet, and the look for its requirements may take long: the job ends here and now.
                return self._job_ended(JobResult(job.job_id, JobState.STOPPED))
            case Phase.READY:
                return [cmd.DiscardJob(job.job_id)]
            case Phase.INITIALISING | Phase.RUNNING:
                return [cmd.StopJob(job.job_id)]

    def _settle_job(self, delivery: Delivery, job_id: int, case: Case, *, counted: bool = False) -> Effect:
        """Settle a queued job's order, and remember it while the broker may not know that it is done with."""
        self._reported.acknowledged(job_id, delivery, counted=counted)
        return fx.Settle(delivery, case)

    def _send_back(self, delivery: Delivery, job_id: int, case: Case, count: Count) -> list[Effect]:
        """Have a copy of an order take its place: it comes back after 5 s, here or elsewhere."""
        settle = self._settle_job(delivery, job_id, case, counted=count is Count.ATTEMPTS)
        return [fx.Delay(delivery, job_id, count), settle]

    def _fail(self, delivery: Delivery, job_id: int, message: str, case: Case) -> list[Effect]:
        return [refused(job_id, message), self._settle_job(delivery, job_id, case)]

    def _let_go(self) -> None:
        """No job is in hand any more, so nothing keeps other orders away."""
        self._current = None
        self._controls.holding_off = False

    def _adjust_consuming(self) -> list[Effect]:
        job = self._current
        owed = self._reported.awaits or (job is not None and job.misses_order)
        held = job is not None and job.holds_order
        return self._controls.adjust_consuming(engaged=self._is_engaged, owed=owed, held=held)

    @property
    def _is_engaged(self) -> bool:
        return self._current is not None and not self._current.queued

    def _end_if_done(self) -> list[Effect]:
        """The worker's end, once it was asked for and nothing keeps it: no job, and no order on its way back."""
        if not self._controls.shutting_down or self._terminated or self._current or self._reported.awaits:
            return []
        self._terminated = True
        return [fx.Terminate()]

    def _status(self) -> Effect:
        job = self._current
        activity = self._controls.activity(busy=job is not None)
        if job is None:
            return fx.ReportStatus(activity)
        return fx.ReportStatus(activity, job.job_id, STATE_OF_PHASE[job.phase])

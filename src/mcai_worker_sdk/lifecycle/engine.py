"""
The lifecycle engine: events in, effects out, no I/O, no clock, no logging.

It keeps three promises: every delivery is settled exactly once (:mod:`.settlement`), never are two jobs in hand at
once, and a job is reported by exactly one terminal message after which no progression of it is published.
"""

from __future__ import annotations

from typing import assert_never

from mcai_worker_sdk.errors import ParameterError
from mcai_worker_sdk.lifecycle import effects as fx
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.lifecycle.black_list import BlackList
from mcai_worker_sdk.lifecycle.controls import Controls
from mcai_worker_sdk.lifecycle.effects import Effect
from mcai_worker_sdk.lifecycle.refusals import (
    BUSY_MESSAGE,
    EXPIRED_MESSAGE,
    already_obeyed,
    attempts_message,
    refused,
)
from mcai_worker_sdk.lifecycle.reported import ReportedOrders, ReturnWatch
from mcai_worker_sdk.lifecycle.settlement import CASE_OF_STATE, Case
from mcai_worker_sdk.lifecycle.state import MOST_RETURNS, STATE_OF_PHASE, CurrentJob, Phase
from mcai_worker_sdk.protocol import commands as cmd
from mcai_worker_sdk.protocol import orders
from mcai_worker_sdk.protocol.delivery import Count, Delivery, Lane
from mcai_worker_sdk.protocol.responses import JobResult, JobState, failed_result
from mcai_worker_sdk.protocol.texts import cut_text
from mcai_worker_sdk.settings import JobSettings

__all__ = ["Lifecycle"]


class Lifecycle:
    """
    One worker's job state machine. Not thread-safe: one caller feeds it.

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

    def feed(self, event: ev.Event) -> list[Effect]:
        """
        Take one event.

        Returns:
            What to do, in this order. A ``Settle`` comes after the publications it depends on.
        """
        effects = self._answer(event)
        waiting = self._controls.consuming and self._current is None and self._reported.expects_any
        brief = self._controls.suspended or self._controls.shutting_down
        return [*effects, *self._watch.look(waiting=waiting, brief=brief)]

    def _answer(self, event: ev.Event) -> list[Effect]:  # noqa: C901, PLR0912 - one branch an event, and none is more
        match event:
            case ev.OrderReceived():
                self._delivered(event.delivery)
                return self._receive(event.delivery, event.order)
            case ev.OrderUnreadable():
                self._delivered(event.delivery)
                return self._refuse_unreadable(event)
            case ev.RequirementsChecked():
                return self._requirements_checked(event)
            case ev.JobInitialised():
                return self._job_initialised(event.job_id)
            case ev.ProgressionReported():
                return self._progression_reported(event)
            case ev.JobUpdated():
                return self._job_updated(event)
            case ev.JobEnded():
                return self._job_ended(event.result)
            case ev.LinkLost():
                return self._link_lost()
            case ev.LinkRestored():
                self._watch.linked = True
                return [self._black_list.fetch()]
            case ev.ReturnOverdue():
                return self._return_overdue(event.number)
            case ev.HostReady():
                return self._host_ready()
            case ev.HostFailed():
                return self._host_failed(event.message)
            case ev.BlackListFetched():
                self._black_list.fetched(event.job_ids)
                return []
            case ev.ShutdownRequested():
                return self._shutdown_requested()
            case ev.GraceExpired():
                return self._grace_expired()
            case _:
                assert_never(event)

    # Orders

    def _delivered(self, delivery: Delivery) -> None:
        if delivery.lane is Lane.JOBS:
            self._watch.restart()
        self._reported.delivered(delivery)

    def _receive(self, delivery: Delivery, order: orders.Order) -> list[Effect]:
        if isinstance(order, orders.JobOrder):
            return self._receive_job(delivery, order)
        match order:
            case orders.InitProcess():
                answer = self._initialise(delivery, order)
            case orders.StartProcess():
                answer = self._start(delivery, order)
            case orders.StopProcess():
                answer = self._stop(order.job_id)
            case orders.UpdateProcess():
                answer = self._update(order)
            case orders.ReachedExpiration():
                answer = self._expire(order.job_id)
            case orders.StopWorker():
                return [fx.Settle(delivery, Case.CONTROLLED), *self._shutdown_requested()]
            case orders.Status():
                answer = [self._status()]
            case orders.StopConsumingJobs():
                self._controls.suspended = True
                answer = [*self._adjust_consuming(), self._status()]
            case orders.ResumeConsumingJobs():
                self._controls.suspended = False
                answer = [*self._adjust_consuming(), self._status()]
            case _:
                answer = self._black_list.obey(order)
        # A stop may end the worker's last job, and nothing is settled after the worker's own end.
        last: list[Effect] = [answer.pop()] if answer and isinstance(answer[-1], fx.Terminate) else []
        return [*answer, fx.Settle(delivery, Case.CONTROLLED), *last]

    def _receive_job(self, delivery: Delivery, order: orders.JobOrder) -> list[Effect]:
        if delivery.lane is Lane.DIRECT:
            return [*self._accept_direct_job(delivery, order), fx.Settle(delivery, Case.CONTROLLED)]
        job = self._current
        if job is not None and job.is_redelivered_by(delivery, order.job_id):
            return self._adopt(delivery, job)
        if self._reported.take(order.job_id, delivery):
            # Paused before the acknowledgement, which would bring the next order.
            paused = self._adjust_consuming()
            return [*paused, self._settle_job(delivery, order.job_id, Case.REPORTED), *self._end_if_done()]
        self._reported.overtake()
        refusal = self._controls.refusal(busy=job is not None)
        if refusal is not None:
            # No second one is asked for: the same would come, over and over.
            self._controls.holding_off = job is not None
            # That somebody lost it before would not show in a copy any more: then that is counted.
            count = Count.ATTEMPTS if delivery.was_lost else Count.PUT_BACKS
            put_back = self._send_back(delivery, order.job_id, refusal, count)
            return [*self._adjust_consuming(), *put_back, *self._end_if_done()]
        if order.job_id in self._black_list:
            return [
                fx.Warn("The job is on the black list: its order is dropped.", order.job_id),
                self._black_list.drop(order.job_id),
                self._settle_job(delivery, order.job_id, Case.BLACK_LISTED),
            ]
        if delivery.was_lost:
            return [
                fx.Warn("The order was delivered before: it goes through the delay queue once.", order.job_id),
                *self._send_back(delivery, order.job_id, Case.REDELIVERED, Count.ATTEMPTS),
            ]
        if delivery.attempts > self._limits.ttl_limit:
            return self._fail(
                delivery,
                order.job_id,
                attempts_message(delivery.attempts, self._limits.ttl_limit),
                Case.ATTEMPTS_LIMIT,
            )
        return self._accept(delivery, order)

    def _adopt(self, delivery: Delivery, job: CurrentJob) -> list[Effect]:
        """The order of the job in hand is back: it waits here for the job's end again."""
        if delivery.returns >= MOST_RETURNS:
            # One more may be one too many for the queue's delivery limit. A copy begins at none.
            return self._send_back(delivery, job.job_id, Case.REDELIVERED, Count.ATTEMPTS)
        job.delivery = delivery
        return self._adjust_consuming()

    def _accept(self, delivery: Delivery, order: orders.JobOrder) -> list[Effect]:
        try:
            paths = orders.required_paths(order.parameters)
        except ParameterError as error:
            return self._fail(delivery, order.job_id, str(error), Case.FAILED)
        self._current = CurrentJob(order.job_id, Phase.CHECKING, order.parameters, delivery, delivery, queued=True)
        return [fx.CheckRequirements(order.job_id, paths)] if paths else self._run(self._current)

    def _accept_direct_job(self, delivery: Delivery, order: orders.JobOrder) -> list[Effect]:
        # A direct message is acknowledged at once: holding it would block the orders that control the job.
        if self.current_job_id == order.job_id:
            return [fx.Warn("The job is already in hand: its order by direct message is ignored.", order.job_id)]
        if delivery.redelivered:
            return [already_obeyed(order.job_id)]
        if self._current is not None or self._controls.shutting_down:
            return [refused(order.job_id, BUSY_MESSAGE)]
        try:
            paths = orders.required_paths(order.parameters)
        except ParameterError as error:
            return [refused(order.job_id, str(error))]
        self._current = CurrentJob(order.job_id, Phase.CHECKING, order.parameters, delivery, None, queued=False)
        started: list[Effect] = [fx.CheckRequirements(order.job_id, paths)] if paths else self._run(self._current)
        return [*self._adjust_consuming(), *started]

    def _run(self, job: CurrentJob) -> list[Effect]:
        job.phase = Phase.RUNNING
        announcement: list[Effect] = [fx.ReportJob(job.job_id, JobState.PROCESSING)] if self._announces_start else []
        return [*announcement, fx.ReportProgression(job.job_id, 0), cmd.RunJob(job.job_id, job.parameters)]

    def _fail(self, delivery: Delivery, job_id: int, message: str, case: Case) -> list[Effect]:
        return [refused(job_id, message), self._settle_job(delivery, job_id, case)]

    def _settle_job(self, delivery: Delivery, job_id: int, case: Case, *, counted: bool = False) -> Effect:
        """Settle a queued job's order, and remember it while the broker may not know that it is done with."""
        self._reported.acknowledged(job_id, delivery, counted=counted)
        return fx.Settle(delivery, case)

    def _send_back(self, delivery: Delivery, job_id: int, case: Case, count: Count) -> list[Effect]:
        """Have a copy of an order take its place: it comes back after 5 s, here or elsewhere."""
        settle = self._settle_job(delivery, job_id, case, counted=count is Count.ATTEMPTS)
        return [fx.Delay(delivery, job_id, count), settle]

    def _let_go(self) -> None:
        """No job is in hand any more, so nothing keeps other orders away."""
        self._current = None
        self._controls.holding_off = False

    def _refuse_unreadable(self, event: ev.OrderUnreadable) -> list[Effect]:
        job = self._current
        if event.job_id is None or (job is not None and job.job_id == event.job_id):
            # An unreadable message about the job in hand must not end that job at the orchestrator's.
            publication: Effect = fx.PublishUnknownError(event.message)
        else:
            publication = fx.PublishResult(failed_result(event.job_id, event.message))
        return [fx.Warn(event.message, event.job_id), publication, fx.Settle(event.delivery, Case.UNREADABLE)]

    def _requirements_checked(self, event: ev.RequirementsChecked) -> list[Effect]:
        job = self._current
        if job is None or job.phase is not Phase.CHECKING or job.job_id != event.job_id:
            return []
        if not event.missing:
            return self._run(job)
        self._let_go()
        return [
            *self._requirements_missing(job.job_id, job.delivery, cut_text(", ".join(event.missing))),
            *self._adjust_consuming(),
        ]

    def _requirements_missing(self, job_id: int, delivery: Delivery | None, missing: str) -> list[Effect]:
        message = f"The job's requirements do not exist: {missing}."
        if delivery is None:
            return [refused(job_id, message)]
        if delivery.soft_rejects >= self._limits.soft_limit:
            return self._fail(delivery, job_id, message, Case.REQUIREMENTS_LIMIT)
        return [
            fx.Warn(f"Required paths do not exist yet: {missing}. The order comes back in 5 s.", job_id),
            *self._send_back(delivery, job_id, Case.REQUIREMENTS_MISSING, Count.SOFT_REJECTS),
        ]

    # Direct orders about one job

    def _initialise(self, delivery: Delivery, order: orders.InitProcess) -> list[Effect]:
        job = self._current
        if job is not None and job.job_id == order.job_id:
            return [fx.Warn("The job is already in hand: init_process is ignored.", order.job_id)]
        if delivery.redelivered:
            return [already_obeyed(order.job_id)]
        if job is not None or self._controls.shutting_down:
            return [refused(order.job_id, BUSY_MESSAGE)]
        self._current = CurrentJob(order.job_id, Phase.INITIALISING, order.parameters, delivery, None, queued=False)
        return [*self._adjust_consuming(), cmd.InitialiseJob(order.job_id, order.parameters)]

    def _start(self, delivery: Delivery, order: orders.StartProcess) -> list[Effect]:
        job = self._current
        if delivery.redelivered and self.current_job_id != order.job_id:
            return [already_obeyed(order.job_id)]
        if job is None:
            return [refused(order.job_id, "Cannot start a not initialized job.")]
        if job.job_id != order.job_id:
            message = f"The Job ID is not the same as the initialized job ({job.job_id} is in hand)."
            return [refused(order.job_id, message)]
        if job.stop_requested or job.expired or self._controls.shutting_down:
            return [fx.Warn("The job was told to end: start_process is ignored.", order.job_id)]
        if order.parameters:
            job.parameters = order.parameters
        if job.phase is Phase.READY:
            return self._start_ready(job)
        if job.phase is Phase.INITIALISING:
            job.start_requested = True
            return []
        return [fx.Warn("The job is already running: start_process is ignored.", order.job_id)]

    def _start_ready(self, job: CurrentJob) -> list[Effect]:
        job.phase = Phase.RUNNING
        return [
            fx.ReportJob(job.job_id, JobState.PROCESSING),
            fx.ReportProgression(job.job_id, 0),
            cmd.StartJob(job.job_id, job.parameters),
        ]

    def _stop(self, job_id: int) -> list[Effect]:
        job = self._current
        if job is None or job.job_id != job_id:
            return [fx.Warn("stop_process names a job that is not in hand: it is ignored.", job_id)]
        job.stop_requested = True
        return self._wind_down(job)

    def _wind_down(self, job: CurrentJob) -> list[Effect]:
        match job.phase:
            case Phase.CHECKING:
                # Nothing ran yet, and the look for its requirements may take long: the job ends here and now.
                return self._job_ended(JobResult(job.job_id, JobState.STOPPED))
            case Phase.READY:
                return [cmd.DiscardJob(job.job_id)]
            case Phase.INITIALISING | Phase.RUNNING:
                return [cmd.StopJob(job.job_id)]

    def _update(self, order: orders.UpdateProcess) -> list[Effect]:
        job = self._current
        if job is None or job.job_id != order.job_id:
            return [fx.Warn("update_process names a job that is not in hand: it is ignored.", order.job_id)]
        if job.phase not in (Phase.READY, Phase.RUNNING):
            refusal = "The job is still being prepared: the update is refused."
            return [fx.Warn(refusal, order.job_id), fx.RefuseUpdate(order.job_id, refusal)]
        return [cmd.UpdateJob(order.job_id, order.parameters)]

    def _expire(self, job_id: int) -> list[Effect]:
        job = self._current
        if job is None or job.job_id != job_id:
            return [refused(job_id, EXPIRED_MESSAGE)]
        job.expired = True
        return self._wind_down(job)

    # What the host reports

    def _host_ready(self) -> list[Effect]:
        if self._controls.host_ready or self._controls.shutting_down:
            return []
        self._controls.host_ready = True
        return [*self._adjust_consuming(), fx.AnnounceCreated()]

    def _host_failed(self, message: str) -> list[Effect]:
        job, self._current = self._current, None
        self._controls.shutting_down = self._terminated = True
        # Whatever comes back is for a worker that can run it; nothing holds this one up.
        self._reported = ReportedOrders()
        given_back: list[Effect] = []
        if job is not None and job.delivery is not None:
            given_back = [
                fx.Delay(job.delivery, job.job_id, Count.PUT_BACKS),
                fx.Settle(job.delivery, Case.SHUTTING_DOWN),
            ]
        elif job is not None and not job.queued:
            given_back = [fx.PublishResult(failed_result(job.job_id, message))]
        return [*self._adjust_consuming(), *given_back, fx.Terminate(exit_code=1)]

    def _job_initialised(self, job_id: int) -> list[Effect]:
        job = self._current
        if job is None or job.job_id != job_id or job.phase is not Phase.INITIALISING:
            return []
        job.phase = Phase.READY
        ready: list[Effect] = [fx.ReportJob(job_id, JobState.READY_TO_START)]
        if job.stop_requested or job.expired or self._controls.shutting_down:
            return [*ready, cmd.DiscardJob(job_id)]
        return [*ready, *self._start_ready(job)] if job.start_requested else ready

    def _progression_reported(self, event: ev.ProgressionReported) -> list[Effect]:
        job = self._current
        if job is None or job.job_id != event.job_id or job.phase is not Phase.RUNNING:
            return []
        return [fx.ReportProgression(event.job_id, event.progression)]

    def _job_updated(self, event: ev.JobUpdated) -> list[Effect]:
        if self.current_job_id != event.job_id:
            return []
        if event.refusal is not None:
            return [fx.Warn(event.refusal, event.job_id), fx.RefuseUpdate(event.job_id, event.refusal)]
        return [fx.ReportJob(event.job_id, JobState.UPDATED)]

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

    # Link, shutdown, status

    def _link_lost(self) -> list[Effect]:
        self._watch.linked = False
        # Nobody hears of a loss after the worker's end but while a result, and what follows from it, is not through.
        ended_too_early = self._reported.link_lost(unsettled=self._terminated and self._controls.host_ready)
        stay: list[Effect] = [fx.Stay()] if ended_too_early else []
        self._terminated &= not ended_too_early
        job = self._current
        if job is not None and job.queued:
            job.delivery = None
            if job.phase is Phase.CHECKING:
                # Nothing ran yet: the order comes back and starts anew.
                self._let_go()
        return [*stay, *self._adjust_consuming()]

    def _return_overdue(self, number: int) -> list[Effect]:
        if not self._watch.is_over(number):
            return []
        if self._watch.is_brief:
            self._reported.give_up()
        else:
            self._reported.lapse()
        return [*self._adjust_consuming(), *self._end_if_done()]

    def _end_if_done(self) -> list[Effect]:
        """The worker's end, once it was asked for and nothing keeps it: no job, and no order on its way back."""
        if not self._controls.shutting_down or self._terminated or self._current or self._reported.awaits:
            return []
        self._terminated = True
        return [fx.Terminate()]

    def _shutdown_requested(self) -> list[Effect]:
        if self._controls.shutting_down:
            return []
        self._controls.shutting_down = True
        job = self._current
        if job is None:
            return [*self._adjust_consuming(), *self._end_if_done()]
        if job.phase is Phase.CHECKING:
            job.abandoned = True
            return [*self._adjust_consuming(), *self._wind_down(job)]
        if job.phase is Phase.READY:
            return [*self._adjust_consuming(), cmd.DiscardJob(job.job_id), fx.Drain()]
        return [*self._adjust_consuming(), fx.Drain()]

    def _grace_expired(self) -> list[Effect]:
        job = self._current
        if job is None:
            self._reported.give_up()
            return [*self._adjust_consuming(), *self._end_if_done()]
        job.abandoned = True
        return self._wind_down(job)

    def _status(self) -> Effect:
        job = self._current
        activity = self._controls.activity(busy=job is not None)
        if job is None:
            return fx.ReportStatus(activity)
        return fx.ReportStatus(activity, job.job_id, STATE_OF_PHASE[job.phase])

    def _adjust_consuming(self) -> list[Effect]:
        job = self._current
        owed = self._reported.awaits or (job is not None and job.misses_order)
        held = job is not None and job.holds_order
        return self._controls.adjust_consuming(engaged=self._is_engaged, owed=owed, held=held)

    @property
    def _is_engaged(self) -> bool:
        return self._current is not None and not self._current.queued

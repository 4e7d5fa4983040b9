"""
The lifecycle engine: events in, effects out, no I/O, no clock, no logging.

It keeps three promises: every delivery is settled exactly once (:mod:`.settlement`), never are two jobs in hand at
once, and a job is reported by exactly one terminal message after which no progression of it is published.
"""

from __future__ import annotations

from typing import assert_never

from mcai_worker_sdk.lifecycle import effects as fx
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.lifecycle.direct_orders import DirectOrders
from mcai_worker_sdk.lifecycle.effects import Effect
from mcai_worker_sdk.lifecycle.queue_orders import QueueOrders
from mcai_worker_sdk.lifecycle.reported import ReportedOrders
from mcai_worker_sdk.lifecycle.settlement import Case
from mcai_worker_sdk.lifecycle.state import Phase
from mcai_worker_sdk.protocol import commands as cmd
from mcai_worker_sdk.protocol import orders
from mcai_worker_sdk.protocol.delivery import Count, Delivery, Lane
from mcai_worker_sdk.protocol.responses import JobState, failed_result

__all__ = ["Lifecycle"]


class Lifecycle(QueueOrders, DirectOrders):
    """One worker's job state machine: which event is whose. Not thread-safe: one caller feeds it."""

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

    def _delivered(self, delivery: Delivery) -> None:
        if delivery.lane is Lane.JOBS:
            self._watch.restart()
        self._reported.delivered(delivery)

    def _receive(self, delivery: Delivery, order: orders.Order) -> list[Effect]:
        if isinstance(order, orders.JobOrder) and delivery.lane is Lane.JOBS:
            return self._receive_queued(delivery, order)
        match order:
            case orders.JobOrder():
                answer = self._accept_direct_job(delivery, order)
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

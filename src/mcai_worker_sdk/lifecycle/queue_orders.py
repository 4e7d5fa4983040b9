"""What the lifecycle does about an order of the job queue."""

from __future__ import annotations

from mcai_worker_sdk.errors import ParameterError
from mcai_worker_sdk.lifecycle import effects as fx
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.lifecycle.core import LifecycleCore
from mcai_worker_sdk.lifecycle.effects import Effect
from mcai_worker_sdk.lifecycle.refusals import (
    attempts_message,
    refused,
)
from mcai_worker_sdk.lifecycle.settlement import Case
from mcai_worker_sdk.lifecycle.state import MOST_RETURNS, CurrentJob, Phase
from mcai_worker_sdk.protocol import orders
from mcai_worker_sdk.protocol.delivery import Count, Delivery
from mcai_worker_sdk.protocol.responses import failed_result
from mcai_worker_sdk.protocol.texts import cut_text

__all__ = ["QueueOrders"]


class QueueOrders(LifecycleCore):
    """Runs, adopts, puts back or refuses what the job queue delivers; each is settled once, when its job has ended."""

    def _receive_queued(self, delivery: Delivery, order: orders.JobOrder) -> list[Effect]:
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

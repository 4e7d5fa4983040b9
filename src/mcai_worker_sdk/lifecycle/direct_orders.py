"""What the lifecycle does about an order about one job that came as a direct message."""

from __future__ import annotations

from mcai_worker_sdk.errors import ParameterError
from mcai_worker_sdk.lifecycle import effects as fx
from mcai_worker_sdk.lifecycle.core import LifecycleCore
from mcai_worker_sdk.lifecycle.effects import Effect
from mcai_worker_sdk.lifecycle.refusals import (
    BUSY_MESSAGE,
    EXPIRED_MESSAGE,
    already_obeyed,
    refused,
)
from mcai_worker_sdk.lifecycle.state import CurrentJob, Phase
from mcai_worker_sdk.protocol import commands as cmd
from mcai_worker_sdk.protocol import orders
from mcai_worker_sdk.protocol.delivery import Delivery
from mcai_worker_sdk.protocol.responses import JobState

__all__ = ["DirectOrders"]


class DirectOrders(LifecycleCore):
    """
    Prepares, starts, stops and updates the job in hand.

    A direct message is acknowledged at once: holding it would block the orders that control the job.
    """

    def _accept_direct_job(self, delivery: Delivery, order: orders.JobOrder) -> list[Effect]:
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

    def _job_initialised(self, job_id: int) -> list[Effect]:
        job = self._current
        if job is None or job.job_id != job_id or job.phase is not Phase.INITIALISING:
            return []
        job.phase = Phase.READY
        ready: list[Effect] = [fx.ReportJob(job_id, JobState.READY_TO_START)]
        if job.stop_requested or job.expired or self._controls.shutting_down:
            return [*ready, cmd.DiscardJob(job_id)]
        return [*ready, *self._start_ready(job)] if job.start_requested else ready

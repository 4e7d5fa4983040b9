"""The worker's switches: suspension, shutdown, and what they mean for consuming."""

from __future__ import annotations

from dataclasses import dataclass

from mcai_worker_sdk.lifecycle import effects as fx
from mcai_worker_sdk.lifecycle.effects import Effect
from mcai_worker_sdk.lifecycle.settlement import Case
from mcai_worker_sdk.protocol.responses import Activity

__all__ = ["Controls"]


@dataclass(slots=True)
class Controls:
    """Everything that is not about one job."""

    host_ready: bool = False
    suspended: bool = False
    """``stop_consuming_jobs`` was received last."""
    shutting_down: bool = False
    holding_off: bool = False
    """A foreign order came while a job ran on without its link: taking more would spin them through the queue."""
    consuming: bool = False
    """What was asked of the exchange last."""

    def activity(self, *, busy: bool) -> Activity:
        """The word for ``worker_status``. A suspended worker says so even while its last job runs, as recorded."""
        if self.suspended:
            return Activity.SUSPENDED
        return Activity.BUSY if busy else Activity.IDLE

    def takes_jobs(self, *, engaged: bool) -> bool:
        """Whether orders are to be taken, and run. A running job does not matter: its successor waits in the queue."""
        return self._may_consume(engaged=engaged) and not (self.suspended or self.shutting_down)

    def adjust_consuming(self, *, engaged: bool, owed: bool, held: bool) -> list[Effect]:
        """
        Start or pause the job queue's consumer where the switches ask for a change.

        Args:
            engaged: A job by direct message is in hand, so queued orders are left to other workers.
            owed: An order of this worker's own is on its way back. No other worker knows it, so it is waited for,
                whatever the switches say.
            held: An order waits here for its settlement. One at a time holds for one consumer only: one that is
                started now would be given another order, so a paused one waits for the settlement.
        """
        wanted = self.takes_jobs(engaged=engaged) or (owed and self._may_consume(engaged=engaged))
        if wanted == self.consuming or (wanted and held):
            return []
        self.consuming = wanted
        return [fx.ConsumeJobs() if wanted else fx.PauseJobs()]

    def refusal(self, *, busy: bool) -> Case | None:
        """Why a job's order from the queue is put back at once, if it is."""
        if self.shutting_down:
            return Case.SHUTTING_DOWN
        if busy:
            return Case.ENGAGED
        # One that was on its way when the queue was paused is run all the same.
        return Case.SUSPENDED if self.suspended and self.consuming else None

    def _may_consume(self, *, engaged: bool) -> bool:
        return self.host_ready and not (self.holding_off or engaged)

"""The worker's switches: black list, suspension, shutdown, and what they mean for consuming."""

from __future__ import annotations

from dataclasses import dataclass

from mcai_worker_sdk.lifecycle import effects as fx
from mcai_worker_sdk.lifecycle.effects import Effect
from mcai_worker_sdk.protocol import orders
from mcai_worker_sdk.protocol.responses import Activity

__all__ = ["Controls"]


@dataclass(slots=True)
class Controls:
    """Everything that is not about one job."""

    black_list: frozenset[int] = frozenset()
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

    def adjust_consuming(self, *, engaged: bool) -> list[Effect]:
        """
        Start or pause the job queue's consumer where the switches ask for a change.

        Args:
            engaged: A job by direct message is in hand, so queued orders are left to other workers.
        """
        wanted = self.host_ready and not (self.suspended or self.shutting_down or self.holding_off or engaged)
        if wanted == self.consuming:
            return []
        self.consuming = wanted
        return [fx.ConsumeJobs() if wanted else fx.PauseJobs()]

    def obey(
        self,
        order: orders.AddToBlackList | orders.DeleteFromBlackList | orders.SyncBlackList | orders.GetBlackList,
    ) -> list[Effect]:
        """Handle the orders about the black list."""
        match order:
            case orders.AddToBlackList():
                self.black_list |= {order.job_id}
            case orders.DeleteFromBlackList():
                self.black_list -= {order.job_id}
            case orders.SyncBlackList():
                return [fx.FetchBlackList()]
            case orders.GetBlackList():
                return [fx.ReportBlackList(sorted(self.black_list))]
        return []

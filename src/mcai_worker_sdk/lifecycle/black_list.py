"""The jobs that must not run: the backend's list, and what direct messages say in the meantime."""

from __future__ import annotations

from mcai_worker_sdk.lifecycle import effects as fx
from mcai_worker_sdk.lifecycle.effects import Effect
from mcai_worker_sdk.protocol import orders

__all__ = ["BlackList"]


class BlackList:
    """
    The black list.

    The backend's answer takes its time and is as old as the question. What direct messages changed since it was asked
    is newer, and is applied again to the answer: otherwise a job that was listed meanwhile would run.
    """

    def __init__(self) -> None:
        self._job_ids: frozenset[int] = frozenset()
        #: Jobs that direct messages listed (true) or took off: since the last question, and before it but since an
        #: earlier one that may still be under way.
        self._changes: dict[int, bool] = {}
        self._earlier_changes: dict[int, bool] = {}
        #: Questions under way, as far as is known: one that fails is not answered. The worker asks before its first
        #: event.
        self._asked = 1

    def __contains__(self, job_id: int) -> bool:
        return job_id in self._job_ids

    def obey(
        self,
        order: orders.AddToBlackList | orders.DeleteFromBlackList | orders.SyncBlackList | orders.GetBlackList,
    ) -> list[Effect]:
        """Handle the orders about the black list."""
        match order:
            case orders.AddToBlackList():
                self._changes[order.job_id] = True
                self._job_ids |= {order.job_id}
            case orders.DeleteFromBlackList():
                self._changes[order.job_id] = False
                self._job_ids -= {order.job_id}
            case orders.SyncBlackList():
                return [self.fetch()]
            case orders.GetBlackList():
                return [fx.ReportBlackList(sorted(self._job_ids))]
        return []

    def fetch(self) -> Effect:
        """Ask for the list."""
        self._ask()
        return fx.FetchBlackList()

    def drop(self, job_id: int) -> Effect:
        """A listed job's order came and is dropped; the backend's answer to that has the last word about the job."""
        self._ask()
        self._earlier_changes.pop(job_id, None)
        return fx.DeleteBlackListed(job_id)

    def fetched(self, job_ids: frozenset[int]) -> None:
        """The backend answered."""
        changes = {**self._earlier_changes, **self._changes}
        listed = {job_id for job_id, is_listed in changes.items() if is_listed}
        self._job_ids = (job_ids - changes.keys()) | listed
        # Of many questions at a time the backend is asked one, and after its answer one more, which knows all that was
        # said before it.
        self._earlier_changes.clear()
        self._asked = min(max(self._asked - 1, 0), 1)

    def _ask(self) -> None:
        # Without a question under way, the backend knows all that was said by now.
        self._earlier_changes = {**self._earlier_changes, **self._changes} if self._asked else {}
        self._changes.clear()
        self._asked += 1

"""Orders that are done with and may come back all the same: what is remembered of them, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from mcai_worker_sdk.lifecycle import effects as fx
from mcai_worker_sdk.lifecycle.effects import Effect
from mcai_worker_sdk.lifecycle.state import came_back
from mcai_worker_sdk.protocol.delivery import Delivery, Lane

__all__ = ["ReportedOrders", "ReturnWatch"]

_OrderKey: TypeAlias = tuple[int, bytes, int, int]


@dataclass(slots=True)
class _Expected:
    """One order that may come back."""

    attempts: int
    """What it had when it was done with."""
    counted: bool
    """A copy with one attempt more took its place, so what comes with more attempts is not the order itself."""
    overtaken: int = 0
    """How many other orders came since."""

    def is_still(self, delivery: Delivery) -> bool:
        """Whether a delivery that came back is the order, and not the copy that took its place."""
        return not self.counted or delivery.attempts == self.attempts


class ReportedOrders:
    """
    The orders that are done with while the broker may not know it.

    An acknowledgement has no answer in AMQP: it is proven by the next delivery of the same consumer. Until then, and
    whenever the link is lost before, the order can come back and must not run again. An order is known by
    its job id, its body and the counts that a copy by this worker raises (the copy is not the order itself). Only one
    that came back is recognised: a fresh order with the same id is a new run, and what was remembered of it is over.

    Nor is it remembered for ever. StepFlow may order a failed job again with the same id and body; if another worker
    has that order first and gives it back, nothing tells it from the old one, and acknowledging it would lose the job.
    So a memory lapses once the order cannot be the old one any more:

    - :meth:`lapse`: this worker has waited at the job queue, idle, and nothing came. The broker gives an idle consumer
      whatever is ready, so the old order is not in the queue. That another order came first would prove less: it may
      have a higher priority, the broker may not have noticed yet that the old link is dead, and another worker may have
      sent the old order through the delay queue.
    - :attr:`OVERTAKERS`: a worker that is never idle has been given so many others that the old order must be gone.

    Forgotten too early, a job runs twice; remembered too long, a job is lost. The first is what every lost link risks
    where workers share a queue, and comes about in the moments after it; the second takes a retry, another worker that
    gives it back, and a memory that is still there.
    """

    #: More cannot be in flight with a prefetch of one; the rest is room for repeated losses.
    CAPACITY = 16
    #: On an empty queue none overtakes; a backlog of higher priority may bring many, and each takes as long as a job.
    OVERTAKERS = 100

    def __init__(self) -> None:
        self._unproven: tuple[_OrderKey, _Expected] | None = None
        self._expected: dict[_OrderKey, _Expected] = {}
        self._awaited = False

    @property
    def expects_any(self) -> bool:
        """Whether an order that is done with may come back."""
        return bool(self._expected)

    @property
    def awaits(self) -> bool:
        """Whether one is certain to come back, and likely to be the next: worth waiting for, even at the end."""
        return self._awaited and self.expects_any

    def acknowledged(self, job_id: int, delivery: Delivery, *, counted: bool = False) -> None:
        """
        The order is being acknowledged.

        Args:
            job_id: The job.
            delivery: Its order.
            counted: A copy with one attempt more takes its place.
        """
        self._unproven = _key(job_id, delivery), _Expected(delivery.attempts, counted)

    def reported_without_link(self, job_id: int, delivery: Delivery, *, overtaken: bool) -> None:
        """
        A job ended whose order the broker has taken back.

        Args:
            job_id: The job.
            delivery: Its order.
            overtaken: Another order came while it was expected: it is with another worker, or far behind.
        """
        self._expect(_key(job_id, delivery), _Expected(delivery.attempts, counted=False))
        self._awaited = not overtaken

    def link_lost(self, *, unsettled: bool) -> bool:
        """
        The last acknowledgement may not have arrived.

        Args:
            unsettled: It had not even been sent: it waited for the confirmation of the job's result.

        Returns:
            Whether an order comes back for that.
        """
        if self._unproven is None:
            return False
        self._expect(*self._unproven)
        self._unproven = None
        self._awaited |= unsettled
        return unsettled

    def delivered(self, delivery: Delivery) -> None:
        """A delivery of the job queue, whatever it holds, proves the acknowledgement before it."""
        if delivery.lane is Lane.JOBS:
            self._unproven = None

    def take(self, job_id: int, delivery: Delivery) -> bool:
        """Whether this delivery is an order that is done with; it is forgotten then."""
        key = _key(job_id, delivery)
        expected = self._expected.get(key)
        if expected is None:
            return False
        returned = came_back(delivery, expected.attempts)
        if returned and not expected.is_still(delivery):
            return False
        del self._expected[key]
        return returned

    def overtake(self) -> None:
        """Another order came first."""
        self._awaited = False
        for expected in self._expected.values():
            expected.overtaken += 1
        self._expected = {key: one for key, one in self._expected.items() if one.overtaken < self.OVERTAKERS}

    def lapse(self) -> None:
        """None of them came although nothing kept it away: whatever comes now is new."""
        self._expected.clear()

    def give_up(self) -> None:
        """The worker cannot wait any longer."""
        self._awaited = False

    def _expect(self, key: _OrderKey, expected: _Expected) -> None:
        self._expected[key] = expected
        if len(self._expected) > self.CAPACITY:
            del self._expected[next(iter(self._expected))]


class ReturnWatch:
    """When to ask the clock whether the orders that may come back are overdue: only idle at the queue, one by one."""

    def __init__(self) -> None:
        self.linked = True
        """Whether the exchange is connected: without, nothing can come."""
        self._number = 0
        self._brief: bool | None = None

    @property
    def is_brief(self) -> bool:
        """Whether the clock was asked for a short wait, which is enough to give up and too little to forget."""
        return self._brief is True

    def look(self, *, waiting: bool, brief: bool) -> list[Effect]:
        """
        Begin to wait, go on, or break off, after an event.

        Args:
            waiting: The worker is idle, consumes, and some order may come back.
            brief: It takes no other orders meanwhile, so it does not wait long.
        """
        if not (waiting and self.linked):
            self.restart()
            return []
        if self._brief is brief:
            return []
        self._brief = brief
        self._number += 1
        return [fx.AwaitReturn(self._number, brief)]

    def restart(self) -> None:
        """Something came: the waiting begins anew."""
        self._brief = None

    def is_over(self, number: int) -> bool:
        """Whether this answer of the clock is about the waiting of now."""
        return self._brief is not None and number == self._number


def _key(job_id: int, delivery: Delivery) -> _OrderKey:
    return job_id, delivery.body, delivery.soft_rejects, delivery.put_backs

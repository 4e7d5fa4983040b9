"""What the lifecycle remembers: the current job, the orders already reported, and whether jobs are consumed."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from mcai_worker_sdk.protocol.delivery import Delivery, Lane
from mcai_worker_sdk.protocol.orders import OrderParameter
from mcai_worker_sdk.protocol.responses import JobState

__all__ = ["CurrentJob", "Phase", "ReportedOrders"]


class Phase(enum.Enum):
    """How far the current job is."""

    CHECKING = "its requirements are looked for"
    INITIALISING = "init_process was received, the host prepares the job"
    READY = "initialised, waiting for start_process"
    RUNNING = "user code runs"


#: What ``worker_status`` says of the current job, by phase.
STATE_OF_PHASE = {
    Phase.CHECKING: JobState.PROCESSING,
    Phase.INITIALISING: JobState.READY_TO_START,
    Phase.READY: JobState.READY_TO_START,
    Phase.RUNNING: JobState.PROCESSING,
}


@dataclass(slots=True)
class CurrentJob:
    """The one job this worker has in hand."""

    job_id: int
    phase: Phase
    parameters: Sequence[OrderParameter]
    origin: Delivery
    """The order as it came first: what a redelivery is recognised by."""
    delivery: Delivery | None
    """Settled when the job ends. ``None`` for a job by direct message, and after the link was lost."""
    queued: bool
    """Whether it came from the job queue."""
    start_requested: bool = False
    """``start_process`` came while the job was still being initialised."""
    stop_requested: bool = False
    expired: bool = False
    """``reached_expiration``: whatever comes of it, it ends in ``job_error``."""
    abandoned: bool = False
    """The shutdown's grace is over: unless it completes or was told to end, its order goes back to the queue."""

    def is_redelivered_by(self, delivery: Delivery, job_id: int) -> bool:
        """Whether this delivery is the order of this very job, given back by the broker after the link was lost."""
        return (
            self.queued
            and self.delivery is None
            and _came_back(delivery, self.origin.attempts)
            and self.job_id == job_id
            and self.origin.body == delivery.body
        )


_OrderKey: TypeAlias = tuple[int, bytes, int]


def _came_back(delivery: Delivery, attempts_before: int) -> bool:
    """
    Whether a delivery is one the broker took back, not a new order of the same body.

    Another worker may have had it meanwhile and sent it through the delay queue, which clears ``redelivered`` and
    counts an attempt; an order that StepFlow sends anew carries no attempts.
    """
    return delivery.redelivered or delivery.attempts > attempts_before


class ReportedOrders:
    """
    The orders that are done with while the broker may not know it.

    An acknowledgement has no answer in AMQP: it is proven by the next delivery of the same consumer. Until then, and
    whenever the link is lost before, the order can come back and must not run again. An order is known by
    its job id, its body and its soft rejects (the delayed copy is not the order itself), and only one that came back is
    recognised: a fresh order with the same id is a new run, and what was remembered of it is over.
    """

    #: More cannot be in flight with a prefetch of one; the rest is room for repeated losses.
    CAPACITY = 16

    def __init__(self) -> None:
        self._unproven: tuple[_OrderKey, int] | None = None
        self._expected: dict[_OrderKey, int] = {}

    def acknowledged(self, job_id: int, delivery: Delivery) -> None:
        """The order is being acknowledged."""
        self._unproven = _key(job_id, delivery), delivery.attempts

    def reported_without_link(self, job_id: int, delivery: Delivery) -> None:
        """A job ended whose order the broker has taken back."""
        self._expect(_key(job_id, delivery), delivery.attempts)

    def link_lost(self) -> None:
        """The last acknowledgement may not have arrived."""
        if self._unproven is not None:
            self._expect(*self._unproven)
            self._unproven = None

    def delivered(self, delivery: Delivery) -> None:
        """A delivery of the job queue, whatever it holds, proves the acknowledgement before it."""
        if delivery.lane is Lane.JOBS:
            self._unproven = None

    def take(self, job_id: int, delivery: Delivery) -> bool:
        """Whether this delivery is an order that is done with; it is forgotten then."""
        attempts = self._expected.pop(_key(job_id, delivery), None)
        return attempts is not None and _came_back(delivery, attempts)

    def _expect(self, key: _OrderKey, attempts: int) -> None:
        self._expected[key] = attempts
        if len(self._expected) > self.CAPACITY:
            del self._expected[next(iter(self._expected))]


def _key(job_id: int, delivery: Delivery) -> _OrderKey:
    return job_id, delivery.body, delivery.soft_rejects

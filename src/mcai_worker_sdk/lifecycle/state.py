"""What the lifecycle remembers of the job in hand."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from mcai_worker_sdk.protocol.delivery import Delivery
from mcai_worker_sdk.protocol.orders import OrderParameter
from mcai_worker_sdk.protocol.responses import JobState

__all__ = ["MOST_RETURNS", "STATE_OF_PHASE", "CurrentJob", "Phase", "came_back"]

#: How often the broker may have taken the order of a running job back before a copy takes its place. A worker cannot
#: ask for a queue's delivery limit, beyond which orders are lost: RabbitMQ's own is 20, and a policy may set any.
MOST_RETURNS = 3


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

    @property
    def holds_order(self) -> bool:
        """Whether its order waits here for its settlement: another one would be a second at a time."""
        return self.delivery is not None

    @property
    def misses_order(self) -> bool:
        """Whether the broker has taken its order back: it comes again, and is recognised."""
        return self.queued and self.delivery is None

    def is_redelivered_by(self, delivery: Delivery, job_id: int) -> bool:
        """Whether this delivery is the order of this very job, given back by the broker after the link was lost."""
        return (
            self.misses_order
            and came_back(delivery, self.origin.attempts)
            and self.job_id == job_id
            and self.origin.body == delivery.body
        )


def came_back(delivery: Delivery, attempts_before: int) -> bool:
    """
    Whether a delivery is one the broker took back, not a new order of the same body.

    Another worker may have had it meanwhile and sent it through the delay queue, which clears ``redelivered`` and
    counts an attempt; an order that StepFlow sends anew carries no attempts.
    """
    return delivery.redelivered or delivery.attempts > attempts_before

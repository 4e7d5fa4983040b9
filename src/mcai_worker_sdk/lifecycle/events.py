"""Events: what happened, as the lifecycle hears it; made by the supervisor from exchange, host, backend and clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from mcai_worker_sdk.errors import ProtocolError
from mcai_worker_sdk.protocol.delivery import Delivery
from mcai_worker_sdk.protocol.orders import Order, parse_order
from mcai_worker_sdk.protocol.responses import JobResult

__all__ = [
    "BlackListFetched",
    "Event",
    "GraceExpired",
    "HostFailed",
    "HostReady",
    "JobEnded",
    "JobInitialised",
    "JobUpdated",
    "LinkLost",
    "LinkRestored",
    "OrderReceived",
    "OrderUnreadable",
    "ProgressionReported",
    "RequirementsChecked",
    "ReturnOverdue",
    "ShutdownRequested",
    "read_delivery",
]


@dataclass(frozen=True, slots=True)
class OrderReceived:
    """The exchange delivered an order."""

    delivery: Delivery
    order: Order


@dataclass(frozen=True, slots=True)
class OrderUnreadable:
    """The exchange delivered bytes that are no order."""

    delivery: Delivery
    message: str
    job_id: int | None = None


@dataclass(frozen=True, slots=True)
class RequirementsChecked:
    """The paths a job requires were looked for."""

    job_id: int
    missing: Sequence[str]


@dataclass(frozen=True, slots=True)
class HostReady:
    """The job process finished ``setup()`` and waits for jobs."""


@dataclass(frozen=True, slots=True)
class HostFailed:
    """``setup()`` failed, or the job process cannot be started: this worker will never run a job."""

    message: str


@dataclass(frozen=True, slots=True)
class JobInitialised:
    """The job of an ``init_process`` is prepared and waits for its ``start_process``."""

    job_id: int


@dataclass(frozen=True, slots=True)
class ProgressionReported:
    """User code reported its progression."""

    job_id: int
    progression: int


@dataclass(frozen=True, slots=True)
class JobUpdated:
    """The worker took, or refused, an ``update_process``."""

    job_id: int
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class JobEnded:
    """The job ended: by return, by exception, by a refused parameter, by the death of its process."""

    result: JobResult


@dataclass(frozen=True, slots=True)
class LinkLost:
    """The link to the broker is gone, which takes every unsettled order back."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class LinkRestored:
    """The broker delivers again, first of all what it took back."""


@dataclass(frozen=True, slots=True)
class ReturnOverdue:
    """An ``AwaitReturn`` has waited long enough."""

    number: int


@dataclass(frozen=True, slots=True)
class BlackListFetched:
    """The backend's black list, whole."""

    job_ids: frozenset[int]


@dataclass(frozen=True, slots=True)
class ShutdownRequested:
    """A signal or the operator asked the worker to end; the running job may finish within its grace."""


@dataclass(frozen=True, slots=True)
class GraceExpired:
    """The running job used up its grace: it must stop now, and its order goes back to the queue."""


Event: TypeAlias = (
    OrderReceived
    | OrderUnreadable
    | RequirementsChecked
    | HostReady
    | HostFailed
    | JobInitialised
    | ProgressionReported
    | JobUpdated
    | JobEnded
    | LinkLost
    | LinkRestored
    | ReturnOverdue
    | BlackListFetched
    | ShutdownRequested
    | GraceExpired
)


def read_delivery(delivery: Delivery) -> OrderReceived | OrderUnreadable:
    """What a delivered message is to the lifecycle."""
    try:
        return OrderReceived(delivery, parse_order(delivery.body))
    except ProtocolError as error:
        return OrderUnreadable(delivery, str(error), error.job_id)

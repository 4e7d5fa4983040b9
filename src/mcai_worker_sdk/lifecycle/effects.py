"""Effects: what the lifecycle wants done, in this order, by the supervisor. An effect is a wish without I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from mcai_worker_sdk.lifecycle.settlement import Case
from mcai_worker_sdk.protocol.commands import Command
from mcai_worker_sdk.protocol.delivery import Count, Delivery
from mcai_worker_sdk.protocol.responses import Activity, JobResult, JobState

__all__ = [
    "AnnounceCreated",
    "AwaitReturn",
    "CheckRequirements",
    "ConsumeJobs",
    "Delay",
    "DeleteBlackListed",
    "Drain",
    "Effect",
    "FetchBlackList",
    "PauseJobs",
    "PublishResult",
    "PublishUnknownError",
    "RefuseUpdate",
    "ReportBlackList",
    "ReportJob",
    "ReportProgression",
    "ReportStatus",
    "Settle",
    "Stay",
    "Terminate",
    "Warn",
]


@dataclass(frozen=True, slots=True)
class Settle:
    """Acknowledge a delivery. Comes after the publications it depends on; those must be confirmed before."""

    delivery: Delivery
    case: Case


@dataclass(frozen=True, slots=True)
class Delay:
    """Publish a copy of the order to the delay exchange, one of its counts raised, and have it confirmed."""

    delivery: Delivery
    job_id: int
    count: Count


@dataclass(frozen=True, slots=True)
class PublishResult:
    """Publish how a job ended, and have it confirmed."""

    result: JobResult
    has_run: bool = True
    """False when the job failed without running: nobody has logged why yet."""


@dataclass(frozen=True, slots=True)
class PublishUnknownError:
    """Publish a ``job_error`` without job id, and have it confirmed."""

    message: str


@dataclass(frozen=True, slots=True)
class ReportJob:
    """Publish how the current job stands (``worker_initialized``, ``worker_started``, ``worker_updated``)."""

    job_id: int
    state: JobState


@dataclass(frozen=True, slots=True)
class RefuseUpdate:
    """Answer an ``update_process`` that the worker did not take, in words."""

    job_id: int
    message: str


@dataclass(frozen=True, slots=True)
class ReportProgression:
    """Publish a progression; no need to wait for its confirmation."""

    job_id: int
    progression: int


@dataclass(frozen=True, slots=True)
class ReportStatus:
    """Publish ``worker_status``."""

    activity: Activity
    job_id: int | None = None
    state: JobState | None = None


@dataclass(frozen=True, slots=True)
class ReportBlackList:
    """Publish ``worker_black_list``."""

    job_ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class AnnounceCreated:
    """Publish ``worker_created``: the worker takes jobs from now on."""


@dataclass(frozen=True, slots=True)
class CheckRequirements:
    """Look whether these paths exist, and feed ``RequirementsChecked``."""

    job_id: int
    paths: Sequence[str]


@dataclass(frozen=True, slots=True)
class ConsumeJobs:
    """Take orders from the job queue."""


@dataclass(frozen=True, slots=True)
class PauseJobs:
    """Take no more orders from the job queue."""


@dataclass(frozen=True, slots=True)
class AwaitReturn:
    """Orders that are done with may come back: feed ``ReturnOverdue`` when one would have come by then."""

    number: int
    """Given back in the event. A later one replaces this."""
    brief: bool
    """The worker takes no other orders, or is about to end: wait no longer than a healthy broker takes."""


@dataclass(frozen=True, slots=True)
class FetchBlackList:
    """Ask the backend for its black list, and feed ``BlackListFetched``."""


@dataclass(frozen=True, slots=True)
class DeleteBlackListed:
    """Tell the backend that a black-listed job was dropped; it may answer with a new list."""

    job_id: int


@dataclass(frozen=True, slots=True)
class Warn:
    """Log a warning."""

    message: str
    job_id: int | None = None


@dataclass(frozen=True, slots=True)
class Drain:
    """The worker ends once its job has: give the job its grace, then feed ``GraceExpired``."""


@dataclass(frozen=True, slots=True)
class Terminate:
    """End the worker: ``worker_terminated``, close, exit."""

    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class Stay:
    """Take a ``Terminate`` back that still waits for its publications: the link was lost before the settlement."""


Effect: TypeAlias = (
    Command
    | Settle
    | Delay
    | PublishResult
    | PublishUnknownError
    | ReportJob
    | RefuseUpdate
    | ReportProgression
    | ReportStatus
    | ReportBlackList
    | AnnounceCreated
    | CheckRequirements
    | ConsumeJobs
    | PauseJobs
    | AwaitReturn
    | FetchBlackList
    | DeleteBlackListed
    | Warn
    | Drain
    | Terminate
    | Stay
)

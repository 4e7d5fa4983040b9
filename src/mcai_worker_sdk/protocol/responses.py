"""
Responses: what a worker publishes, and where.

Source: ``docs/reference/protocol.md``, and the recordings in ``tests/contract/recordings``. A response is a frozen
value; :func:`dump` makes its bytes. Times are UTC, durations are seconds.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mcai_worker_sdk.protocol.texts import cut_text

__all__ = [
    "Activity",
    "BlackListReport",
    "JobResult",
    "JobState",
    "Progression",
    "Response",
    "ResultParameter",
    "UnknownJobError",
    "UpdateRefusal",
    "WorkerAnnouncement",
    "WorkerStatusReport",
    "dump",
    "failed_result",
]

JOB_RESPONSE = "job_response"
WORKER_RESPONSE = "worker_response"


class JobState(enum.StrEnum):
    """State of a job as StepFlow names it in a result's ``status``."""

    READY_TO_START = "ready_to_start"
    PROCESSING = "processing"
    UPDATED = "updated"
    COMPLETED = "completed"
    STOPPED = "stopped"
    ERROR = "error"


class Activity(enum.StrEnum):
    """What a worker is doing, in ``worker_status``."""

    IDLE = "Idle"
    BUSY = "Busy"
    SUSPENDED = "Suspended"


@dataclass(frozen=True, slots=True)
class ResultParameter:
    """One parameter of a result: StepFlow appends it to the workflow's parameters."""

    id: str
    type: str
    value: Any
    store: str | None = None
    default: Any = None

    def as_json(self) -> dict[str, Any]:
        """The published form."""
        return {
            "id": self.id,
            "type": self.type,
            "value": self.value,
            "store": self.store,
            "default": self.default,
        }


#: Routing key of a job's response, by its state. The key and the body's ``status`` always agree.
_JOB_ROUTES: Mapping[JobState, tuple[str, str]] = {
    JobState.READY_TO_START: (WORKER_RESPONSE, "worker_initialized"),
    JobState.PROCESSING: (WORKER_RESPONSE, "worker_started"),
    JobState.UPDATED: (WORKER_RESPONSE, "worker_updated"),
    JobState.COMPLETED: (JOB_RESPONSE, "job_completed"),
    JobState.STOPPED: (JOB_RESPONSE, "job_stopped"),
    JobState.ERROR: (JOB_RESPONSE, "job_error"),
}


@dataclass(frozen=True, slots=True)
class JobResult:
    """How a job stands or ended: the body of every response that names a job's state."""

    job_id: int
    state: JobState
    destination_paths: Sequence[str] = ()
    parameters: Sequence[ResultParameter] = ()
    execution_duration_seconds: float = 0.0
    """Wall time since the job started here, seconds."""
    cpu_time_seconds: float = 0.0
    """User plus system time of the job, its children included, seconds."""
    gpu_time_seconds: float = 0.0
    """Always 0.0: neither the reference nor this SDK measures it."""

    @property
    def route(self) -> tuple[str, str]:
        """Exchange and routing key."""
        return _JOB_ROUTES[self.state]

    @property
    def message(self) -> str | None:
        """The error's text, or ``None`` when the job did not fail."""
        if self.state is not JobState.ERROR:
            return None
        return next((str(parameter.value) for parameter in self.parameters if parameter.id == "message"), None)

    def as_json(self, now: str) -> dict[str, Any]:
        """The published form; ``now`` is the ``datetime``."""
        return {
            "job_id": self.job_id,
            "status": str(self.state),
            "destination_paths": list(self.destination_paths),
            "parameters": [parameter.as_json() for parameter in self.parameters],
            "execution_duration": self.execution_duration_seconds,
            "cpu_time": self.cpu_time_seconds,
            "gpu_time": self.gpu_time_seconds,
            "datetime": now,
        }


def failed_result(
    job_id: int, message: str, *, execution_duration_seconds: float = 0.0, cpu_time_seconds: float = 0.0
) -> JobResult:
    """
    The one shape of ``job_error`` that StepFlow's consumer accepts.

    Args:
        job_id: The failed job.
        message: What the orchestrator shows; cut to 4 KiB.
        execution_duration_seconds: Wall time the job ran, seconds.
        cpu_time_seconds: Processor time the job used, seconds.
    """
    return JobResult(
        job_id=job_id,
        state=JobState.ERROR,
        parameters=(ResultParameter("message", "string", cut_text(message)),),
        execution_duration_seconds=execution_duration_seconds,
        cpu_time_seconds=cpu_time_seconds,
    )


@dataclass(frozen=True, slots=True)
class Progression:
    """How far a job is, in whole percents."""

    job_id: int
    progression: int
    instance_id: str
    system_info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def route(self) -> tuple[str, str]:
        """Exchange and routing key."""
        return JOB_RESPONSE, "job_progression"

    def as_json(self, now: str) -> dict[str, Any]:
        """The published form; ``now`` is the ``datetime``."""
        return {
            "datetime": now,
            "docker_container_id": self.instance_id,
            "job_id": self.job_id,
            "progression": self.progression,
            "system_info": dict(self.system_info),
        }


@dataclass(frozen=True, slots=True)
class UnknownJobError:
    """A ``job_error`` about an order whose job id could not be read."""

    message: str

    @property
    def route(self) -> tuple[str, str]:
        """Exchange and routing key."""
        return JOB_RESPONSE, "job_error"

    def as_json(self, now: str) -> dict[str, Any]:
        """The published form; it carries no time, as recorded."""
        del now
        return {"status": "error", "message": cut_text(self.message)}


@dataclass(frozen=True, slots=True)
class UpdateRefusal:
    """Answer to an ``update_process`` that the worker did not take; the job goes on as it was."""

    job_id: int
    message: str

    @property
    def route(self) -> tuple[str, str]:
        """Exchange and routing key."""
        return WORKER_RESPONSE, "worker_updated"

    def as_json(self, now: str) -> dict[str, Any]:
        """The published form; ``now`` is the ``datetime``."""
        return {
            "job_id": self.job_id,
            "status": str(JobState.PROCESSING),
            "destination_paths": [],
            "parameters": [ResultParameter("message", "string", cut_text(self.message)).as_json()],
            "datetime": now,
        }


#: Exchange of each announcement, by routing key.
_ANNOUNCEMENT_EXCHANGES: Mapping[str, str] = {
    "worker_discovery": JOB_RESPONSE,
    "worker_created": WORKER_RESPONSE,
    "worker_terminated": WORKER_RESPONSE,
}


@dataclass(frozen=True, slots=True)
class WorkerAnnouncement:
    """The worker's description, published when it comes (``worker_discovery``, ``worker_created``) and goes."""

    name: str
    """``worker_discovery``, ``worker_created`` or ``worker_terminated``: also the routing key."""
    identity: Mapping[str, Any]
    """The worker's description with its parameters' JSON Schema."""

    @property
    def route(self) -> tuple[str, str]:
        """Exchange and routing key."""
        return _ANNOUNCEMENT_EXCHANGES[self.name], self.name

    def as_json(self, now: str) -> dict[str, Any]:
        """The published form; it carries no time, as recorded."""
        del now
        return dict(self.identity)


@dataclass(frozen=True, slots=True)
class WorkerStatusReport:
    """Answer to ``status``, ``stop_consuming_jobs`` and ``resume_consuming_jobs``."""

    activity: Activity
    identity: Mapping[str, Any]
    """The worker's description, without its parameters."""
    system_info: Mapping[str, Any]
    job: JobResult | None = None
    """The current job so far, ``None`` when there is none."""

    @property
    def route(self) -> tuple[str, str]:
        """Exchange and routing key."""
        return WORKER_RESPONSE, "worker_status"

    def as_json(self, now: str) -> dict[str, Any]:
        """The published form; ``now`` is the job's ``datetime``."""
        return {
            "type": "status",
            "job": None if self.job is None else self.job.as_json(now),
            "worker": {
                **_without_parameters(self.identity),
                "activity": str(self.activity),
                "system_info": dict(self.system_info),
            },
        }


@dataclass(frozen=True, slots=True)
class BlackListReport:
    """Answer to ``get_black_list``."""

    job_ids: Sequence[int]
    identity: Mapping[str, Any]

    @property
    def route(self) -> tuple[str, str]:
        """Exchange and routing key."""
        return WORKER_RESPONSE, "worker_black_list"

    def as_json(self, now: str) -> dict[str, Any]:
        """The published form; it carries no time, as recorded."""
        del now
        return {"black_list": {"job_ids": list(self.job_ids)}, "worker_description": _without_parameters(self.identity)}


Response: TypeAlias = (
    JobResult
    | Progression
    | UnknownJobError
    | UpdateRefusal
    | WorkerAnnouncement
    | WorkerStatusReport
    | BlackListReport
)


def dump(response: Response, now: str) -> bytes:
    """
    Make the bytes of a response: compact UTF-8 JSON with sorted keys.

    Args:
        response: What to publish.
        now: The ``datetime``, ISO 8601 in UTC with a ``Z`` (``2026-11-22T22:18:16.343911Z``).
    """
    text = json.dumps(response.as_json(now), ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
    return text.encode("utf-8", errors="replace")


def _without_parameters(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in identity.items() if key != "parameters"}

"""
The shape of every message that a worker publishes, as StepFlow's consumers take it.

Source: the recordings in ``tests/contract/recordings``, and ``docs/reference/protocol.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from mcai_worker_sdk.protocol.orders import JobId

__all__ = ["EXCHANGES", "SYSTEM_LISTS", "MessageShapeError", "check_message", "is_utc_time"]


class MessageShapeError(AssertionError):
    """A message that StepFlow would not take: names its routing key and each place that is wrong."""


def is_utc_time(value: object) -> bool:
    """Whether it is a time as responses have it: ISO 8601, UTC, with a ``Z``."""
    if not isinstance(value, str) or not value.endswith("Z"):
        return False
    try:
        # The reference writes nanoseconds; what follows the microseconds is cut by the parser.
        return datetime.fromisoformat(value).utcoffset() == timedelta(0)
    except ValueError:
        return False


def _utc_time(value: str) -> str:
    if not is_utc_time(value):
        raise ValueError("expected a time by ISO 8601, in UTC with a Z")
    return value


_Time = Annotated[str, AfterValidator(_utc_time)]
_Count = Annotated[int, Field(ge=0)]
_Figure = Annotated[float, Field(ge=0)]


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", defer_build=True)


class _Parameter(_Shape):
    id: str
    type: str
    value: JsonValue
    store: str | None
    default: JsonValue


class _Message(_Parameter):
    id: Literal["message"]
    type: Literal["string"]
    value: str


class _Job(_Shape):
    job_id: JobId
    destination_paths: list[str]
    parameters: list[_Parameter]
    execution_duration: _Figure
    cpu_time: _Figure
    gpu_time: _Figure
    datetime: _Time


class _Completed(_Job):
    status: Literal["completed"]


class _Stopped(_Job):
    status: Literal["stopped"]


class _Failed(_Job):
    """The consumer takes exactly one parameter."""

    status: Literal["error"]
    parameters: Annotated[list[_Message], Field(min_length=1, max_length=1)]  # type: ignore[assignment]  # narrower


class _FailedWithoutId(_Shape):
    status: Literal["error"]
    message: str


class _Initialised(_Job):
    status: Literal["ready_to_start"]


class _Processing(_Job):
    status: Literal["processing"]


class _Updated(_Job):
    status: Literal["updated"]


class _UpdateRefused(_Shape):
    job_id: JobId
    status: Literal["processing"]
    destination_paths: list[str]
    parameters: list[_Message]
    datetime: _Time


class _CoreUsage(_Shape):
    name: str
    usage: _Count


class _Core(_Shape):
    name: str
    brand: str
    frequency: _Count
    vendor_id: str


class _Disk(_Shape):
    disk_type: str
    format: str
    mountpoint: str
    size: _Count


class _Network(_Shape):
    name: str
    total_bytes_received: _Count
    total_bytes_transmitted: _Count
    total_packets_received: _Count
    total_packets_transmitted: _Count


class _Gpu(BaseModel):
    """The reference's machine had none: only the two keys that StepFlow shows are held."""

    model_config = ConfigDict(strict=True, extra="allow")

    name: str
    memory: JsonValue


class _Load(_Shape):
    one_minute: _Figure
    five_minute: _Figure
    fifteen_minute: _Figure


class _ProgressionInfo(_Shape):
    cores: list[_CoreUsage]
    gpus: list[_Gpu]
    load_average: _Load
    memory: _Count
    networks: list[_Network]
    swap: _Count


class _Memory(_Shape):
    total_memory: _Count
    total_swap: _Count
    used_memory: _Count
    used_swap: _Count


class _StatusInfo(_Shape):
    cores: list[_Core]
    disks: list[_Disk]
    docker_container_id: str
    gpus: list[_Gpu]
    memory: _Memory
    os_version: str


class _Progression(_Shape):
    job_id: JobId
    datetime: _Time
    docker_container_id: str
    progression: Annotated[int, Field(ge=0, le=100)]
    system_info: _ProgressionInfo


class _Worker(_Shape):
    name: str
    label: str
    description: str
    version: str
    license: str
    sdk_version: str
    instance_id: str
    queue_name: str
    direct_messaging_queue_name: str


class _Announcement(_Worker):
    parameters: dict[str, JsonValue]


class _WorkerStatus(_Worker):
    activity: Literal["Idle", "Busy", "Suspended"]
    system_info: _StatusInfo


class _JobSoFar(_Job):
    status: Literal["ready_to_start", "processing"]


class _Status(_Shape):
    type: Literal["status"]
    job: _JobSoFar | None
    worker: _WorkerStatus


class _JobIds(_Shape):
    job_ids: list[JobId]


class _BlackList(_Shape):
    black_list: _JobIds
    worker_description: _Worker


#: The lists of system information: the keys of their entries, in a progression and in a ``worker_status``.
SYSTEM_LISTS: Mapping[str, tuple[frozenset[str], ...]] = {
    "cores": (frozenset(_CoreUsage.model_fields), frozenset(_Core.model_fields)),
    "disks": (frozenset(_Disk.model_fields),),
    "networks": (frozenset(_Network.model_fields),),
}

_JOB_RESPONSE = "job_response"
_WORKER_RESPONSE = "worker_response"

_Kind: TypeAlias = tuple[str, TypeAdapter[Any]]
#: Exchange and body of each kind of message, by routing key.
_KINDS: Mapping[str, _Kind] = {
    "job_progression": (_JOB_RESPONSE, TypeAdapter(_Progression)),
    "job_completed": (_JOB_RESPONSE, TypeAdapter(_Completed)),
    "job_stopped": (_JOB_RESPONSE, TypeAdapter(_Stopped)),
    "job_error": (_JOB_RESPONSE, TypeAdapter(_Failed | _FailedWithoutId)),
    "worker_discovery": (_JOB_RESPONSE, TypeAdapter(_Announcement)),
    "worker_created": (_WORKER_RESPONSE, TypeAdapter(_Announcement)),
    "worker_terminated": (_WORKER_RESPONSE, TypeAdapter(_Announcement)),
    "worker_initialized": (_WORKER_RESPONSE, TypeAdapter(_Initialised)),
    "worker_started": (_WORKER_RESPONSE, TypeAdapter(_Processing)),
    "worker_updated": (_WORKER_RESPONSE, TypeAdapter(_Updated | _UpdateRefused)),
    "worker_status": (_WORKER_RESPONSE, TypeAdapter(_Status)),
    "worker_black_list": (_WORKER_RESPONSE, TypeAdapter(_BlackList)),
}

#: The exchange that each kind of message is published to, by routing key.
EXCHANGES: Mapping[str, str] = {routing_key: exchange for routing_key, (exchange, _) in _KINDS.items()}


def check_message(exchange: str, routing_key: str, body: object) -> None:
    """
    Hold one message against the shape of its kind.

    Args:
        exchange: Where it was published.
        routing_key: With which key.
        body: What its JSON says.

    Raises:
        MessageShapeError: StepFlow would not take it.
    """
    if routing_key not in _KINDS:
        raise MessageShapeError(f"The routing key is {routing_key!r}; expected one of {', '.join(_KINDS)}.")
    expected, adapter = _KINDS[routing_key]
    if exchange != expected:
        raise MessageShapeError(f"The exchange of {routing_key} is {exchange!r}; expected {expected!r}.")
    try:
        adapter.validate_python(body)
    except ValidationError as error:
        places = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'the body'}: {fault['msg']}"
            for fault in error.errors(include_url=False)
        )
        raise MessageShapeError(f"The message {routing_key} has not the shape that StepFlow takes: {places}.") from None

"""
Orders: what StepFlow sends to a worker, on the job queue or as a direct message.

Source: ``docs/reference/protocol.md``, "A job" and "Direct messages". One body is one JSON object; its ``type`` selects
the order, and an absent ``type`` means ``job``. Keys this module does not know are ignored.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from mcai_worker_sdk.errors import ParameterError, ProtocolError
from mcai_worker_sdk.protocol.reading import NumberRangeError, read_json
from mcai_worker_sdk.protocol.texts import cut_text

__all__ = [
    "AddToBlackList",
    "DeleteFromBlackList",
    "GetBlackList",
    "InitProcess",
    "JobOrder",
    "Order",
    "OrderParameter",
    "ReachedExpiration",
    "ResumeConsumingJobs",
    "StartProcess",
    "Status",
    "StopConsumingJobs",
    "StopProcess",
    "StopWorker",
    "SyncBlackList",
    "UpdateProcess",
    "parse_order",
    "required_paths",
]

#: How many parameters are validated at a time. Faults are found all or none, and those of a million parameters take
#: seconds, and gigabytes; nobody reads more than those of the first few hundred that have any.
PARAMETERS_AT_A_TIME = 500
#: Job ids are unsigned 64-bit integers on the wire.
MAX_JOB_ID = 2**64 - 1

JobId: TypeAlias = Annotated[int, Field(strict=True, ge=0, le=MAX_JOB_ID)]


class _Message(BaseModel):
    # Built on first use: of the fourteen a worker meets two or three, and none before it has started.
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class OrderParameter(_Message):
    """One parameter of an order, as it came: not yet resolved, not yet checked against the worker's class."""

    id: str
    """Name of the parameter."""
    type: str
    """StepFlow's type word (``string``, ``integer``, ``requirements``, ...). Never used to convert the value."""
    value: JsonValue = None
    """The value, or the key to look up when ``store`` is set."""
    default: JsonValue = None
    """Used when ``value`` is absent or null."""
    store: str | None = None
    """Name of the credential store that holds the value, or ``None`` for a plain value."""

    @property
    def effective_value(self) -> JsonValue:
        """``value``, else ``default``; ``None`` when the order gives neither."""
        return self.default if self.value is None else self.value


class _JobMessage(_Message):
    job_id: JobId
    parameters: tuple[OrderParameter, ...]


class JobOrder(_JobMessage):
    """Run one job: the only order that normally arrives on the job queue."""

    type: Literal["job"] = "job"


class InitProcess(_JobMessage):
    """Prepare a job and answer ``worker_initialized``; the job waits for its ``start_process``."""

    type: Literal["init_process"]


class StartProcess(_JobMessage):
    """Run the initialised job. Empty parameters mean those of the ``init_process``."""

    type: Literal["start_process"]


class StopProcess(_JobMessage):
    """Ask the running or initialised job to stop."""

    type: Literal["stop_process"]
    parameters: tuple[OrderParameter, ...] = ()


class UpdateProcess(_JobMessage):
    """Give the running job new parameters."""

    type: Literal["update_process"]
    parameters: tuple[OrderParameter, ...] = ()


class ReachedExpiration(_JobMessage):
    """The orchestrator gave the job up: end it in ``job_error``."""

    type: Literal["reached_expiration"]
    parameters: tuple[OrderParameter, ...] = ()


class StopWorker(_Message):
    """End this worker."""

    type: Literal["stop_worker"]


class Status(_Message):
    """Answer with ``worker_status``."""

    type: Literal["status"]


class StopConsumingJobs(_Message):
    """Take no new job (activity ``Suspended``); the running one goes on."""

    type: Literal["stop_consuming_jobs"]


class ResumeConsumingJobs(_Message):
    """Take jobs again."""

    type: Literal["resume_consuming_jobs"]


class AddToBlackList(_Message):
    """Drop this job when its order arrives."""

    type: Literal["add_to_black_list"]
    job_id: JobId


class DeleteFromBlackList(_Message):
    """Accept this job again."""

    type: Literal["delete_from_black_list"]
    job_id: JobId


class SyncBlackList(_Message):
    """Fetch the black list from the backend again."""

    type: Literal["sync_black_list"]


class GetBlackList(_Message):
    """Answer with ``worker_black_list``."""

    type: Literal["get_black_list"]


Order: TypeAlias = (
    JobOrder
    | InitProcess
    | StartProcess
    | StopProcess
    | UpdateProcess
    | ReachedExpiration
    | StopWorker
    | Status
    | StopConsumingJobs
    | ResumeConsumingJobs
    | AddToBlackList
    | DeleteFromBlackList
    | SyncBlackList
    | GetBlackList
)

_ORDER_TYPES: dict[str, TypeAdapter[Any]] = {
    name: TypeAdapter(order)
    for name, order in {
        "job": JobOrder,
        "init_process": InitProcess,
        "start_process": StartProcess,
        "stop_process": StopProcess,
        "update_process": UpdateProcess,
        "reached_expiration": ReachedExpiration,
        "stop_worker": StopWorker,
        "status": Status,
        "stop_consuming_jobs": StopConsumingJobs,
        "resume_consuming_jobs": ResumeConsumingJobs,
        "add_to_black_list": AddToBlackList,
        "delete_from_black_list": DeleteFromBlackList,
        "sync_black_list": SyncBlackList,
        "get_black_list": GetBlackList,
    }.items()
}

_JSON_KINDS: dict[type, str] = {
    list: "array",
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
}


def parse_order(body: bytes) -> Order:
    """
    Read one order.

    Args:
        body: The message's bytes: UTF-8 JSON of any size, nested at most 200 deep.

    Returns:
        The order named by the ``type`` key.

    Raises:
        ProtocolError: The bytes are not JSON, not an object, of an unknown type, or lack a field; every fault is
            named, and ``job_id`` is set when the id itself could be read.
    """
    if not body.strip():
        raise ProtocolError("The order is empty; expected one JSON object.")
    try:
        content = read_json(body)
    except NumberRangeError as error:
        job_id = _readable_job_id(error.content) if isinstance(error.content, dict) else None
        raise ProtocolError(
            f"The order holds a {error}; expected numbers that a float has room for, up to 1.8e308. Correct it.",
            job_id=job_id,
        ) from None
    except ValueError as error:
        raise ProtocolError(f"The order is not JSON: {error}; expected one JSON object.") from None
    if not isinstance(content, dict):
        # The value itself could be a secret on its own: only its kind is named.
        raise ProtocolError(f"The order is a JSON {_JSON_KINDS[type(content)]}; expected one JSON object.")
    return _build_order(content)


def _build_order(content: dict[str, Any]) -> Order:
    job_id = _readable_job_id(content)
    name = content.get("type", "job")
    adapter = _ORDER_TYPES.get(name) if isinstance(name, str) else None
    if adapter is None:
        raise ProtocolError(
            f"The order's type is {_shorten(name)}; expected one of {', '.join(_ORDER_TYPES)}.", job_id=job_id
        )
    parameters = content.get("parameters")
    if not isinstance(parameters, list) or len(parameters) <= PARAMETERS_AT_A_TIME:
        return _validated(adapter, content, 0)
    parts = [
        _validated(adapter, {**content, "parameters": parameters[start : start + PARAMETERS_AT_A_TIME]}, start)
        for start in range(0, len(parameters), PARAMETERS_AT_A_TIME)
    ]
    # An order that is about no job has none, whatever its message holds.
    together = tuple(parameter for part in parts if isinstance(part, _JobMessage) for parameter in part.parameters)
    return parts[0].model_copy(update={"parameters": together}) if isinstance(parts[0], _JobMessage) else parts[0]


def _validated(adapter: TypeAdapter[Any], content: dict[str, Any], start: int) -> Order:
    """
    Validate an order, or a part of it.

    Args:
        adapter: Of the order's type.
        content: The order.
        start: Which of the whole order's parameters is the first of these.
    """
    try:
        order: Order = adapter.validate_python(content)
    except ValidationError as error:
        faults = "; ".join(_describe_fault(fault, start) for fault in error.errors(include_url=False))
        text = cut_text(f"The order of type {content.get('type', 'job')!r} is not valid: {faults}.")
        raise ProtocolError(text, job_id=_readable_job_id(content)) from None
    return order


def _readable_job_id(content: dict[str, Any]) -> int | None:
    job_id = content.get("job_id")
    readable = isinstance(job_id, int) and not isinstance(job_id, bool) and 0 <= job_id <= MAX_JOB_ID
    return job_id if readable else None


def _describe_fault(fault: Any, start: int) -> str:
    # The one place of an order that has a number is that of a parameter.
    where = ".".join(str(start + step if isinstance(step, int) else step) for step in fault["loc"]) or "order"
    if fault["type"] == "missing":
        return f"{where} is missing"
    if fault["type"] == "tuple_type":
        return f"{where}: Input should be a valid array"
    # Parameter values can be secrets: only the job id is ever quoted.
    quoted = f" (got {_shorten(fault['input'])})" if where == "job_id" else ""
    return f"{where}: {fault['msg']}{quoted}"


def _shorten(value: object, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def required_paths(parameters: Iterable[OrderParameter]) -> tuple[str, ...]:
    """
    The paths that must exist before a job may run.

    Args:
        parameters: Those of the order.

    Returns:
        ``requirements.paths``; empty when the order requires nothing.

    Raises:
        ParameterError: ``requirements`` is not an object, or its ``paths`` are not a list of strings.
    """
    # Of several parameters with one id the last counts, here as for every other parameter.
    values = [parameter.effective_value for parameter in parameters if parameter.id == "requirements"]
    value = values[-1] if values else None
    paths = value.get("paths") if isinstance(value, dict) else value
    if paths is None:
        return ()
    if not isinstance(value, dict) or not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise ParameterError(
            f'Parameter \'requirements\' is {_shorten(value)}; expected an object such as {{"paths": ["/a/file"]}}.'
        )
    return tuple(str(path) for path in paths)

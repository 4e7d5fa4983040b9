"""
The link between supervisor and job process: small typed messages as JSON over a socket pair.

A message is a frame (``host/frames.py``) of UTF-8 JSON. No pickle: an order's data never names code to run.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from mcai_worker_sdk.errors import HostError
from mcai_worker_sdk.host import frames
from mcai_worker_sdk.protocol.orders import OrderParameter
from mcai_worker_sdk.protocol.responses import JobResult, JobState, ResultParameter

__all__ = [
    "Arrived",
    "Began",
    "Command",
    "Discard",
    "Ended",
    "Exit",
    "Initialise",
    "Initialised",
    "Log",
    "Progressed",
    "Ready",
    "Report",
    "Run",
    "SetupFailed",
    "Start",
    "Stop",
    "Update",
    "Updated",
    "decode_command",
    "decode_report",
    "encode",
    "order_parameters",
    "socket_pair",
    "wire_parameters",
]

#: Keeps packets whole and apart. macOS lacks it: there, a process that user code forks and kills may tear one.
_SOCKET_TYPE = socket.SOCK_STREAM if sys.platform == "darwin" else socket.SOCK_SEQPACKET

#: Parameters as they cross the link: the order's own form.
WireParameters: TypeAlias = list[dict[str, Any]]


# Commands: supervisor to job process


@dataclass(frozen=True, slots=True)
class Run:
    """Run a job."""

    job_id: int
    parameters: WireParameters


@dataclass(frozen=True, slots=True)
class Initialise:
    """Prepare a job."""

    job_id: int
    parameters: WireParameters


@dataclass(frozen=True, slots=True)
class Start:
    """Run the prepared job."""

    job_id: int
    parameters: WireParameters


@dataclass(frozen=True, slots=True)
class Stop:
    """Let the job see ``is_stopped()``."""

    job_id: int


@dataclass(frozen=True, slots=True)
class Discard:
    """Give up the prepared job."""

    job_id: int


@dataclass(frozen=True, slots=True)
class Update:
    """Give the running job new parameters."""

    job_id: int
    parameters: WireParameters


@dataclass(frozen=True, slots=True)
class Exit:
    """End the job process."""


# Reports: job process to supervisor


@dataclass(frozen=True, slots=True)
class Arrived:
    """The script came to ``start()``."""


@dataclass(frozen=True, slots=True)
class Ready:
    """``setup()`` is done."""


@dataclass(frozen=True, slots=True)
class SetupFailed:
    """``setup()`` raised."""

    message: str


@dataclass(frozen=True, slots=True)
class Began:
    """The job's order was taken up: from here on the process's end is the job's."""

    job_id: int


@dataclass(frozen=True, slots=True)
class Initialised:
    """The job is prepared."""

    job_id: int


@dataclass(frozen=True, slots=True)
class Progressed:
    """User code reported its progression, in whole percents."""

    job_id: int
    progression: int


@dataclass(frozen=True, slots=True)
class Updated:
    """The update was taken, or refused."""

    job_id: int
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """The job ended."""

    result: JobResult


@dataclass(frozen=True, slots=True)
class Log:
    """A log record, made in the job process."""

    record: dict[str, Any] = field(default_factory=dict)


Command: TypeAlias = Run | Initialise | Start | Stop | Discard | Update | Exit
Report: TypeAlias = Arrived | Ready | SetupFailed | Began | Initialised | Progressed | Updated | Ended | Log

_COMMANDS: dict[str, type[Command]] = {
    kind.__name__: kind for kind in (Run, Initialise, Start, Stop, Discard, Update, Exit)
}
_REPORTS: dict[str, type[Report]] = {
    kind.__name__: kind for kind in (Arrived, Ready, SetupFailed, Began, Initialised, Progressed, Updated, Ended, Log)
}


def wire_parameters(parameters: Sequence[OrderParameter]) -> WireParameters:
    """Parameters in the form that crosses the link."""
    return [parameter.model_dump() for parameter in parameters]


def order_parameters(parameters: WireParameters) -> tuple[OrderParameter, ...]:
    """Parameters as they were before they crossed the link."""
    return tuple(OrderParameter(**parameter) for parameter in parameters)


def encode(message: Command | Report) -> bytes:
    """
    Make the frame of a message.

    Raises:
        HostError: It is longer than a frame may be.
    """
    # Field by field: ``asdict`` would copy a large result once more.
    fields = {name: getattr(message, name) for name in message.__slots__}
    if isinstance(message, Ended):
        fields["result"] = asdict(message.result)
    frame = json.dumps([type(message).__name__, fields], ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", errors="surrogatepass"
    )
    if len(frame) > frames.LIMIT_BYTES:
        raise HostError(
            f"The message {type(message).__name__} of the job process has {len(frame)} bytes; expected at most "
            f"{frames.LIMIT_BYTES}. Write large data to a file, and return its path."
        )
    return frame


def decode_command(frame: bytes) -> Command:
    """Read a command from its frame."""
    name, fields = _decode(frame)
    return _COMMANDS[name](**fields)


def decode_report(frame: bytes) -> Report:
    """
    Read a report from its frame.

    Raises:
        HostError: It is none.
    """
    try:
        name, fields = _decode(frame)
        if name == Ended.__name__:
            return Ended(_result(fields["result"]))
        return _REPORTS[name](**fields)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise frames.unreadable(frame) from error


def _decode(frame: bytes) -> tuple[str, dict[str, Any]]:
    name, fields = json.loads(frame.decode("utf-8", errors="surrogatepass"))
    return name, fields


def _result(fields: dict[str, Any]) -> JobResult:
    return JobResult(
        **{
            **fields,
            "state": JobState(fields["state"]),
            "destination_paths": tuple(fields["destination_paths"]),
            "parameters": tuple(ResultParameter(**parameter) for parameter in fields["parameters"]),
        }
    )


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """
    Make the two ends of a link.

    Raises:
        HostError: The system has no socket left to give.
    """
    try:
        return socket.socketpair(type=_SOCKET_TYPE)
    except OSError as error:
        raise HostError(f"The link to the job process cannot be made: {error}.") from error

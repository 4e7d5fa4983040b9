"""
What the link between supervisor and job process carries: small typed messages as JSON over a socket pair.

Commands of ``protocol/commands.py`` go to the job process, events of ``lifecycle/events.py`` come back. The few others
are about the process itself. A message is a frame (``host/link/frames.py``) of UTF-8 JSON. No pickle: an order's
data never names code to run.
"""

from __future__ import annotations

import json
import socket
import sys
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from mcai_worker_sdk.errors import HostError
from mcai_worker_sdk.host.link import frames
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.protocol import commands as cmd
from mcai_worker_sdk.protocol.orders import OrderParameter
from mcai_worker_sdk.protocol.responses import JobResult, JobState, ResultParameter

__all__ = [
    "Arrived",
    "Began",
    "Exit",
    "Log",
    "Report",
    "ToJobProcess",
    "decode_command",
    "decode_report",
    "encode",
    "socket_pair",
]

#: Keeps packets whole and apart. macOS lacks it: there, a process that user code forks and kills may tear one.
_SOCKET_TYPE = socket.SOCK_STREAM if sys.platform == "darwin" else socket.SOCK_SEQPACKET


@dataclass(frozen=True, slots=True)
class Exit:
    """To the job process: end."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """The script came to ``start()``."""


@dataclass(frozen=True, slots=True)
class Began:
    """The job's order was taken up: from here on the process's end is the job's."""

    job_id: int


@dataclass(frozen=True, slots=True)
class Log:
    """A log record, made in the job process."""

    record: dict[str, Any] = field(default_factory=dict)


ToJobProcess: TypeAlias = cmd.Command | Exit
Report: TypeAlias = (
    Arrived
    | Began
    | Log
    | ev.HostReady
    | ev.HostFailed
    | ev.JobInitialised
    | ev.ProgressionReported
    | ev.JobUpdated
    | ev.JobEnded
)

_TO_JOB_PROCESS: dict[str, type[ToJobProcess]] = {
    kind.__name__: kind
    for kind in (cmd.RunJob, cmd.InitialiseJob, cmd.StartJob, cmd.StopJob, cmd.DiscardJob, cmd.UpdateJob, Exit)
}
_REPORTS: dict[str, type[Report]] = {
    kind.__name__: kind
    for kind in (
        Arrived,
        Began,
        Log,
        ev.HostReady,
        ev.HostFailed,
        ev.JobInitialised,
        ev.ProgressionReported,
        ev.JobUpdated,
        ev.JobEnded,
    )
}


def encode(message: ToJobProcess | Report) -> bytes:
    """
    Make the frame of a message.

    Raises:
        HostError: It is longer than a frame may be.
    """
    # Field by field: ``asdict`` would copy a large result once more.
    fields = {name: getattr(message, name) for name in message.__slots__}
    if isinstance(message, ev.JobEnded):
        fields["result"] = asdict(message.result)
    if "parameters" in fields:
        fields["parameters"] = [parameter.model_dump() for parameter in fields["parameters"]]
    frame = json.dumps([type(message).__name__, fields], ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", errors="surrogatepass"
    )
    if len(frame) > frames.LIMIT_BYTES:
        raise HostError(
            f"The message {type(message).__name__} of the job process has {len(frame)} bytes; expected at most "
            f"{frames.LIMIT_BYTES}. Write large data to a file, and return its path."
        )
    return frame


def decode_command(frame: bytes) -> ToJobProcess:
    """Read what the supervisor says from its frame."""
    name, fields = _decode(frame)
    if "parameters" in fields:
        # The supervisor has checked the order.
        fields["parameters"] = tuple(OrderParameter.model_construct(**parameter) for parameter in fields["parameters"])
    return _TO_JOB_PROCESS[name](**fields)


def decode_report(frame: bytes) -> Report:
    """
    Read a report from its frame.

    Raises:
        HostError: It is none.
    """
    try:
        name, fields = _decode(frame)
        if name == ev.JobEnded.__name__:
            return ev.JobEnded(_result(fields["result"]))
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

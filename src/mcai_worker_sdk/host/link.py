"""
The link between supervisor and job process: small typed messages as JSON over a socket pair.

A frame is four bytes of length, big-endian, and that many bytes of UTF-8 JSON. No pickle: an order's data never names
code to run.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from mcai_worker_sdk.errors import HostError
from mcai_worker_sdk.protocol.orders import OrderParameter
from mcai_worker_sdk.protocol.responses import JobResult, JobState, ResultParameter

__all__ = [
    "Began",
    "Command",
    "Discard",
    "Ended",
    "Exit",
    "FrameBuffer",
    "Initialise",
    "Initialised",
    "JobLink",
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
]

_LENGTH = struct.Struct(">I")

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
Report: TypeAlias = Ready | SetupFailed | Began | Initialised | Progressed | Updated | Ended | Log

_COMMANDS: dict[str, type[Command]] = {
    kind.__name__: kind for kind in (Run, Initialise, Start, Stop, Discard, Update, Exit)
}
_REPORTS: dict[str, type[Report]] = {
    kind.__name__: kind for kind in (Ready, SetupFailed, Began, Initialised, Progressed, Updated, Ended, Log)
}


def wire_parameters(parameters: Sequence[OrderParameter]) -> WireParameters:
    """Parameters in the form that crosses the link."""
    return [parameter.model_dump() for parameter in parameters]


def order_parameters(parameters: WireParameters) -> tuple[OrderParameter, ...]:
    """Parameters as they were before they crossed the link."""
    return tuple(OrderParameter(**parameter) for parameter in parameters)


def encode(message: Command | Report) -> bytes:
    """Make the frame of a message."""
    # Field by field: ``asdict`` would copy a large result once more.
    fields = {name: getattr(message, name) for name in message.__slots__}
    if isinstance(message, Ended):
        fields["result"] = asdict(message.result)
    body = json.dumps([type(message).__name__, fields], ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", errors="surrogatepass"
    )
    return _LENGTH.pack(len(body)) + body


def decode_command(body: bytes) -> Command:
    """Read a command from a frame's body."""
    name, fields = _decode(body)
    return _COMMANDS[name](**fields)


def decode_report(body: bytes) -> Report:
    """Read a report from a frame's body."""
    name, fields = _decode(body)
    if name == Ended.__name__:
        return Ended(_result(fields["result"]))
    return _REPORTS[name](**fields)


def _decode(body: bytes) -> tuple[str, dict[str, Any]]:
    name, fields = json.loads(body.decode("utf-8", errors="surrogatepass"))
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


class FrameBuffer:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take what the socket gave; return the bodies of the frames that are whole now."""
        self._bytes += data
        bodies: list[bytes] = []
        start = 0
        while len(self._bytes) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._bytes, start)
            end = start + _LENGTH.size + length
            if len(self._bytes) < end:
                break
            bodies.append(bytes(self._bytes[start + _LENGTH.size : end]))
            start = end
        del self._bytes[:start]
        return bodies


class _Turn:
    """
    Whose turn it is to write, once user code forked the job process: the process's, or a copy's (a pool, a loader).

    All have the same socket, which keeps only small frames whole. A record lock belongs to a process, not to the file
    that a copy inherits, and ends with the process.
    """

    def __init__(self) -> None:
        self._file: int | None = None

    def share(self) -> None:
        """From now on there may be copies. Idempotent."""
        if self._file is None:
            self._file = _nameless_file()
            weakref.finalize(self, os.close, self._file)

    def take(self, *, wait: bool) -> None:
        """
        Take the turn; :meth:`give` must follow.

        Raises:
            BlockingIOError: It is another process's, and this one does not wait.
            OSError: User code closed the file.
        """
        if self._file is None:
            return
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except PermissionError as error:  # What some systems say instead.
            raise BlockingIOError(*error.args) from error

    def give(self) -> None:
        """Let the next one write."""
        if self._file is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN)


def _nameless_file() -> int:
    """A descriptor to lock by; of memory where the system has that, since a container may have no place to write."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("mcai-link")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class JobLink:
    """
    The job process's end: usable from any thread, and from a copy of the process that user code forked.

    A progression never waits, neither for a supervisor that is slow nor for a thread that waits for one: the newest
    one of a job replaces those that could not be sent, and the last one is sent before anything else that follows.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        # Reentrant: a signal handler of user code may log, or report, while this thread holds it.
        self._lock = threading.RLock()
        self._turn = _Turn()
        # Any thread sets the newest, only a holder of the lock the sent: so none is lost, and none needs to wait.
        self._newest_progression = self._sent_progression = b""
        self._begun = b""
        """What is left of a progression that the socket took in part: it goes before anything else."""

    def send(self, report: Report) -> bool:
        """Send a report, waiting for the supervisor if need be; False once the supervisor or the link is gone."""
        frame = encode(report)
        with self._lock:
            waiting = self._take_waiting()
            try:
                self._turn.take(wait=True)
                try:
                    self._socket.sendall(waiting + frame)
                finally:
                    self._turn.give()
            except OSError:
                return False
        self._send_waiting()
        return True

    def send_progression(self, job_id: int, progression: int) -> None:
        """Send a progression without waiting."""
        self._newest_progression = encode(Progressed(job_id, progression))
        self._send_waiting()

    def share_with_forks(self) -> None:
        """Stay usable in copies of the process that user code forks from now on."""
        os.register_at_fork(
            before=self._before_fork, after_in_parent=self._after_fork, after_in_child=self._begin_as_copy
        )

    def _before_fork(self) -> None:
        # Nobody else is in the middle of a frame then.
        self._lock.acquire()
        self._turn.share()

    def _after_fork(self) -> None:
        self._lock.release()

    def _begin_as_copy(self) -> None:
        self._lock = threading.RLock()
        self._sent_progression, self._begun = self._newest_progression, b""

    def _send_waiting(self) -> None:
        """Send the newest progression unless that means waiting. Who holds the lock comes here after giving it back."""
        while self._newest_progression is not self._sent_progression and self._lock.acquire(blocking=False):
            before = self._sent_progression, self._begun
            try:
                waiting = self._take_waiting()
                self._turn.take(wait=False)
                try:
                    self._begun = waiting[self._socket.send(waiting, socket.MSG_DONTWAIT) :]
                finally:
                    self._turn.give()
            except BlockingIOError:
                # The next report, or the next progression, takes it along.
                self._sent_progression, self._begun = before
                return
            except OSError:
                return
            finally:
                self._lock.release()

    def _take_waiting(self) -> bytes:
        """What has to be sent before anything else. Called with the lock held."""
        newest = self._newest_progression
        waiting = self._begun if newest is self._sent_progression else self._begun + newest
        self._sent_progression, self._begun = newest, b""
        return waiting

    def commands(self) -> Iterator[Command]:
        """Yield commands until the supervisor closes the link or dies."""
        buffer = FrameBuffer()
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except OSError:
                return
            if not data:
                return
            # Without a name for each: an order may hold megabytes, and this waits for the next one.
            yield from map(decode_command, buffer.feed(data))

    def close(self) -> None:
        """Close the link; the supervisor sees its end."""
        self._socket.close()


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """
    Make the two ends of a link.

    Raises:
        HostError: The system has no socket left to give.
    """
    try:
        return socket.socketpair()
    except OSError as error:
        raise HostError(f"The link to the job process cannot be made: {error}.") from error

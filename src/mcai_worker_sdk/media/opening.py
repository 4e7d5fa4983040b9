"""Opening a job's source and destination, whatever they are, without becoming deaf to a stop."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from mcai_worker_sdk.addresses import local_path
from mcai_worker_sdk.errors import MediaDestinationError
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.media.own_source import reads_file
from mcai_worker_sdk.media.results import FileResultWriter, ResultWriter, written_paths
from mcai_worker_sdk.media.source import MediaSource, open_file_source
from mcai_worker_sdk.media.stops import Stoppable
from mcai_worker_sdk.media.text_source import open_document_source
from mcai_worker_sdk.media.urls import is_live_url, is_srt_url

__all__ = ["Opening", "open_destination", "open_source"]

_LOGGER = get_logger(__name__)

_T = TypeVar("_T")

#: How often a wait looks whether the job shall stop, in seconds.
STOP_CHECK_SECONDS = 0.1


class Opening(Generic[_T]):
    """
    A call that opens something, in a thread of its own; the owner of what it opened, until it is closed.

    :meth:`close` gives back whatever there is or will be, wherever :meth:`open` was interrupted.

    Args:
        channel: The job's channel; its stop ends the wait.
    """

    def __init__(self, channel: Stoppable) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._release: Callable[[_T], None] = _nothing
        self._interrupt: Callable[[], None] = _nothing
        self._opened: _T | None = None
        self._failure: BaseException | None = None
        self._is_closed = False

    def open(
        self,
        call: Callable[[Stoppable], _T | None],
        release: Callable[[_T], None],
        interrupt: Callable[[], None] | None = None,
    ) -> _T | None:
        """
        Begin, and wait for what the call gives; once.

        Args:
            call: Opens something; is told whether to give up. ``None`` stands for nothing.
            release: Gives back what was opened; may be called for what is closed already.
            interrupt: Makes a call end that waits and does not look whether it shall.

        Returns:
            What was opened; ``None`` when the job was stopped before it came back.

        Raises:
            BaseException: What the call raised.
        """
        self._release = release
        self._interrupt = interrupt or _nothing
        self._thread = threading.Thread(target=self._run, args=(call,), name="media-opening", daemon=True)
        self._thread.start()
        while not self._done.wait(STOP_CHECK_SECONDS):
            if self._channel.is_stopped():
                self.close()
                return None
        if self._failure is not None:
            raise self._failure
        return self._opened

    def is_stopped(self) -> bool:
        """True once the job was stopped, or nobody wants what is opened here."""
        return self._is_closed or self._channel.is_stopped()

    def close(self) -> None:
        """Give back what was opened, be it only later; may be called again."""
        with self._lock:
            self._is_closed = True
        # Kept until it is released: an interrupted close may be called again.
        if self._opened is not None:
            self._release(self._opened)
            self._opened = None
        elif self._thread is not None and self._thread.is_alive():
            self._interrupt()

    def _run(self, call: Callable[[Stoppable], _T | None]) -> None:
        try:
            if self._is_closed:
                return
            opened = call(self)
            with self._lock:
                is_wanted = not self._is_closed
                if is_wanted:
                    self._opened = opened
            if not is_wanted and opened is not None:
                self._release(opened)
        except BaseException as error:  # noqa: BLE001 - carried to the thread that waits
            self._failure = error
            if self._is_closed:
                _LOGGER.info("What was given up failed meanwhile: %s", error)
        finally:
            self._done.set()


def open_destination(address: str, source: str, opening: Opening[ResultWriter]) -> ResultWriter | None:
    """
    Open where results go: a file, or who takes them over SRT.

    Args:
        address: The destination.
        source: What the job reads.
        opening: Owns the writer.

    Returns:
        The writer; ``None`` when the job was stopped while waiting for the peer.

    Raises:
        MediaDestinationError: It cannot be written to, or is the source.
        MediaTimeoutError: Nobody is there to take the results.
    """
    if is_srt_url(address):
        from mcai_worker_sdk.media.live import open_live_destination

        return opening.open(lambda stops: open_live_destination(address, channel=stops), _discard)
    # A named pipe that nobody reads holds its opening up. It is not interrupted: who reads the pipe later shall find
    # its end.
    return opening.open(lambda _: _open_file_destination(address, source), _discard)


def open_source(url: str, hwaccel: str | None, opening: Opening[MediaSource]) -> MediaSource | None:
    """
    Open what a job reads.

    Args:
        url: The source.
        hwaccel: Device type that shall decode, ``None`` for the CPU.
        opening: Owns the source.

    Returns:
        The source; ``None`` when the job was stopped meanwhile. What still hangs in the network then is closed as soon
        as it comes back.

    Raises:
        MediaSourceError: The source cannot be opened.
        MediaTimeoutError: It did not answer in time.
    """
    if is_live_url(url) and local_path(url) is None:
        from mcai_worker_sdk.media.live import open_live_source

        return opening.open(lambda stops: open_live_source(url, channel=stops, hwaccel=hwaccel), _close)
    pipes: list[str] = []

    def call(_: object) -> MediaSource:
        # Looked for here: a file system that hangs holds up this thread, and no stop.
        pipes.extend(_named_pipes(url))
        return open_document_source(url) or open_file_source(url, hwaccel=hwaccel)

    return opening.open(call, _close, lambda: _wake_readers(pipes))


def _open_file_destination(address: str, source: str) -> ResultWriter:
    if address and any(reads_file(source, path) for path in written_paths(address)):
        raise MediaDestinationError(
            f"The destination {address!r} is the source itself; expected another file for the results. "
            "Correct destination_path in the order."
        )
    return FileResultWriter(address)


def _nothing(*_: object) -> None:
    """Do nothing."""


def _discard(writer: ResultWriter) -> None:
    writer.discard()


def _close(source: MediaSource) -> None:
    source.close()


def _named_pipes(url: str) -> list[str]:
    path = local_path(url)
    with suppress(OSError, ValueError):
        if path is not None and stat.S_ISFIFO(os.stat(path).st_mode):  # noqa: PTH116 - a path may hold what Path refuses
            return [path]
    return []


def _wake_readers(pipes: list[str]) -> None:
    """End the opening of a named pipe that nobody writes: it would take the begin of what the next job waits for."""
    for path in pipes:
        with suppress(OSError):
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))

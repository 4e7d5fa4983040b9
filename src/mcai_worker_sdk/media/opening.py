"""Opening a job's source and destination, whatever they are, without becoming deaf to a stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from mcai_worker_sdk.addresses import local_path
from mcai_worker_sdk.channel import McaiChannel
from mcai_worker_sdk.errors import MediaDestinationError
from mcai_worker_sdk.media.own_source import reads_file
from mcai_worker_sdk.media.results import FileResultWriter, ResultWriter, written_paths
from mcai_worker_sdk.media.source import MediaSource, open_file_source
from mcai_worker_sdk.media.text_source import open_document_source
from mcai_worker_sdk.media.urls import is_live_url, is_srt_url

__all__ = ["open_destination", "open_source"]

_T = TypeVar("_T")

#: How often a wait looks whether the job shall stop, in seconds.
STOP_CHECK_SECONDS = 0.1


def open_destination(address: str, source: str, channel: McaiChannel) -> ResultWriter | None:
    """
    Open where results go: a file, or who takes them over SRT.

    Args:
        address: The destination.
        source: What the job reads.
        channel: The job's channel.

    Returns:
        The writer; ``None`` when the job was stopped while waiting for the peer.

    Raises:
        MediaDestinationError: It cannot be written to, or is the source.
        MediaTimeoutError: Nobody is there to take the results.
    """
    if is_srt_url(address):
        from mcai_worker_sdk.media.live import open_live_destination

        return open_live_destination(address, channel=channel)
    if address and any(reads_file(source, path) for path in written_paths(address)):
        raise MediaDestinationError(
            f"The destination {address!r} is the source itself; expected another file for the results. "
            "Correct destination_path in the order."
        )
    # A named pipe that nobody reads holds its opening up.
    return _Opening[ResultWriter](lambda: FileResultWriter(address), lambda writer: writer.discard()).wait(channel)


def open_source(url: str, hwaccel: str | None, channel: McaiChannel) -> MediaSource | None:
    """
    Open what a job reads.

    Returns:
        The source; ``None`` when the job was stopped meanwhile. What still hangs in the network then is closed as soon
        as it comes back.

    Raises:
        MediaSourceError: The source cannot be opened.
        MediaTimeoutError: It did not answer in time.
    """
    opening: _Opening[MediaSource | None]
    if local_path(url) is None and is_live_url(url):
        from mcai_worker_sdk.media.live import open_live_source

        opening = _Opening(lambda: open_live_source(url, channel=channel, hwaccel=hwaccel), _close)
    else:
        opening = _Opening(lambda: open_document_source(url) or open_file_source(url, hwaccel=hwaccel), _close)
    return opening.wait(channel)


def _close(source: MediaSource | None) -> None:
    if source is not None:
        source.close()


class _Opening(Generic[_T]):
    """
    A call in a thread of its own, which can be left behind.

    Args:
        call: Opens something.
        release: Gives back what was opened when nobody waits for it any more.
    """

    def __init__(self, call: Callable[[], _T], release: Callable[[_T], None]) -> None:
        self._call = call
        self._release = release
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._opened: _T | None = None
        self._failure: BaseException | None = None
        self._is_abandoned = False
        threading.Thread(target=self._run, name="media-opening", daemon=True).start()

    def wait(self, channel: McaiChannel) -> _T | None:
        """What the call gave; ``None`` when the job was stopped before it came back."""
        while not self._done.wait(STOP_CHECK_SECONDS):
            if channel.is_stopped():
                with self._lock:
                    self._is_abandoned = True
                    return None
        if self._failure is not None:
            raise self._failure
        return self._opened

    def _run(self) -> None:
        try:
            opened = self._call()
        except BaseException as error:  # noqa: BLE001 - carried to the thread that waits
            self._failure = error
        else:
            with self._lock:
                if self._is_abandoned:
                    self._release(opened)
                else:
                    self._opened = opened
        self._done.set()

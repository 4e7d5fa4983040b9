"""Opening a job's source, whatever it is."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from mcai_worker_sdk.addresses import local_path
from mcai_worker_sdk.media.addresses import is_live_url
from mcai_worker_sdk.media.sources.file import open_file_source
from mcai_worker_sdk.media.sources.source import MediaSource
from mcai_worker_sdk.media.sources.ttml_file import open_document_source
from mcai_worker_sdk.media.waiting import Opening

__all__ = ["open_source"]


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
        from mcai_worker_sdk.media.sources.live import open_live_source

        return opening.open(lambda stops: open_live_source(url, channel=stops, hwaccel=hwaccel), _close)
    pipes: list[str] = []

    def call(_: object) -> MediaSource:
        # Looked for here: a file system that hangs holds up this thread, and no stop.
        pipes.extend(_named_pipes(url))
        return open_document_source(url) or open_file_source(url, hwaccel=hwaccel)

    return opening.open(call, _close, lambda: _wake_readers(pipes))


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

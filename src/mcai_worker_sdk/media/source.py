"""Opening what a job reads: files and everything FFmpeg opens by URL."""

from __future__ import annotations

from typing import Protocol

import av
import av.error
from av.container import InputContainer

from mcai_worker_sdk.errors import MediaSourceError, MediaTimeoutError
from mcai_worker_sdk.media.format_context import FormatContext
from mcai_worker_sdk.media.hwaccel import usable_hwaccel
from mcai_worker_sdk.media.probe import probe
from mcai_worker_sdk.media.urls import is_network_url, shown_url

__all__ = ["FileSource", "MediaSource", "open_file_source"]

#: How long a network source may take to open, and then to deliver the next bytes, in seconds.
NETWORK_TIMEOUT_SECONDS = 30.0


class MediaSource(Protocol):
    """
    An opened source: what the pipeline reads from.

    Opened, read and closed in the reading thread; :meth:`interrupt` may be called from any.
    """

    @property
    def container(self) -> InputContainer:
        """PyAV's container, opened for reading."""

    @property
    def context(self) -> FormatContext:
        """What ``init_process`` is told."""

    @property
    def is_live(self) -> bool:
        """True when the source has no known end: frames are passed on one by one, no progression is reported."""

    def interrupt(self) -> None:
        """Make a read that waits end soon, if the source can; the read then fails or finds the end."""

    def close(self) -> None:
        """Free the source; may be called again."""


class FileSource:
    """A file, or a network source, opened by FFmpeg itself."""

    def __init__(self, container: InputContainer, *, is_network: bool) -> None:
        self._container = container
        self._context = probe(container)
        self._is_live = is_network and self._context.duration is None

    @property
    def container(self) -> InputContainer:
        """PyAV's container, opened for reading."""
        return self._container

    @property
    def context(self) -> FormatContext:
        """What ``init_process`` is told."""
        return self._context

    @property
    def is_live(self) -> bool:
        """True for a network source that does not say how long it is."""
        return self._is_live

    def interrupt(self) -> None:
        """Nothing: a file answers at once, and FFmpeg ends a network read at its time-out."""

    def close(self) -> None:
        """Free the container; may be called again."""
        self._container.close()


def open_file_source(url: str, *, hwaccel: str | None = None) -> FileSource:
    """
    Open a path or URL with FFmpeg.

    Args:
        url: A path, or a URL of a protocol FFmpeg knows (``file:``, ``http:``, ``https:``, ``concat:``, ...).
        hwaccel: Device type that shall decode (``cuda``); without such a device the CPU decodes, with a warning.

    Raises:
        MediaSourceError: FFmpeg cannot open the source; the text says why.
        MediaTimeoutError: A network source did not answer in time.
    """
    try:
        return FileSource(_open_container(url, hwaccel), is_network=is_network_url(url))
    except av.error.ExitError as error:
        raise MediaTimeoutError(
            f"Source {shown_url(url)!r} did not answer for {NETWORK_TIMEOUT_SECONDS:.0f} s; expected it to open. "
            "Check that the server is reachable."
        ) from error
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise MediaSourceError(
            f"Source {shown_url(url)!r} cannot be opened: {reason}; expected a file or URL that FFmpeg can read. "
            "Check the parameter 'source_path'."
        ) from error


def _open_container(url: str, hwaccel: str | None) -> InputContainer:
    timeout = NETWORK_TIMEOUT_SECONDS if is_network_url(url) else None
    device = usable_hwaccel(hwaccel)
    container: InputContainer = av.open(url, mode="r", metadata_errors="replace", timeout=timeout, hwaccel=device)
    return container

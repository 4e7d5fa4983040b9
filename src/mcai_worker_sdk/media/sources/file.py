"""Opening what a job reads: files and everything FFmpeg opens by URL."""

from __future__ import annotations

import os
from errno import EINVAL, EPERM

import av.error
from av.container import InputContainer

from mcai_worker_sdk.addresses import url_scheme
from mcai_worker_sdk.errors import MediaError, MediaSourceError, MediaTimeoutError
from mcai_worker_sdk.media.addresses import ffmpeg_name, is_network_url, shown_url, source_path
from mcai_worker_sdk.media.model.format_context import FormatContext
from mcai_worker_sdk.media.pyav import open_input, size_bytes
from mcai_worker_sdk.media.sources.ffmpeg_log import logged_lines, reason_of
from mcai_worker_sdk.media.sources.hwaccel import usable_hwaccel
from mcai_worker_sdk.media.sources.playlists import may_grow, warn_of_stalled_playlist
from mcai_worker_sdk.media.sources.probe import probe
from mcai_worker_sdk.media.sources.source import MediaSource

__all__ = ["FileSource", "open_file_source"]

#: How long a source that may have to be waited for may take to open, and then to deliver the next bytes, in seconds.
NETWORK_TIMEOUT_SECONDS = 30.0
#: FFmpeg asks again over the connection of the last answer. A server that closed it without announcing that would
#: otherwise count as the end of the source; connecting again is tried once, without delay.
_HTTP_OPTIONS = {"reconnect_on_network_error": "1", "reconnect_delay_max": "0"}


class FileSource(MediaSource):
    """A source that FFmpeg opened by a path or a URL."""

    def note_end(self) -> None:
        """Warn when the source is a live playlist that only gave no more."""
        if self.context.format_name == "hls" and self.context.duration is None:
            warn_of_stalled_playlist(self.container.name)


def open_file_source(url: str, *, hwaccel: str | None = None) -> MediaSource:
    """
    Open a path or URL with FFmpeg.

    Args:
        url: A path, or a URL of a protocol FFmpeg knows (``file:``, ``http:``, ``https:``, ``concat:``, ...).
        hwaccel: Device type that shall decode (``cuda``); without such a device the CPU decodes, with a warning.

    Raises:
        MediaSourceError: FFmpeg cannot open the source; the text says why.
        MediaTimeoutError: A network source did not answer in time.
    """
    name = ffmpeg_name(url)
    try:
        timeout = NETWORK_TIMEOUT_SECONDS if is_network_url(name) or may_grow(name) else None
        container, context = _open(name, hwaccel, timeout)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if not _may_open_again(name, error):
            raise _open_error(url, error) from error
        with logged_lines() as logged:
            try:
                container, context = _open(name, hwaccel, timeout)
            except (av.error.FFmpegError, OSError, ValueError):
                raise _open_error(url, error, reason_of(logged)) from error
    # What comes over a network, or may grow, has no known end unless it says how long it is.
    may_go_on = timeout is not None or context.format_name == "hls"
    return FileSource(
        container,
        context,
        is_live=may_go_on and context.duration is None,
        ends_by_closing=is_network_url(name) and size_bytes(container) is None,
    )


def _open(name: str, hwaccel: str | None, timeout: float | None) -> tuple[InputContainer, FormatContext]:
    container = _open_container(name, hwaccel, timeout)
    try:
        return container, probe(container)
    except BaseException:
        container.close()
        raise


def _may_open_again(name: str, error: Exception) -> bool:
    """
    Whether to try once more, with FFmpeg's log: only there it says what is wrong with what it found.

    What can be read once only is not tried again, nor is what FFmpeg did not find or reach.
    """
    if is_network_url(name):
        return isinstance(error, av.error.InvalidDataError) or getattr(error, "errno", None) in {EINVAL, EPERM}
    path = source_path(name)
    return path is not None and os.path.isfile(path)  # noqa: PTH113 - a name may hold what Path refuses


def _open_error(url: str, error: Exception, said: str = "") -> MediaError:
    if isinstance(error, av.error.ExitError):
        return MediaTimeoutError(
            f"Source {shown_url(url)!r} did not answer for {NETWORK_TIMEOUT_SECONDS:.0f} s; expected it to open. "
            "Check that the server is reachable."
        )
    reason = getattr(error, "strerror", None) or type(error).__name__
    if said:
        reason += f" (FFmpeg says: {said})"
    return MediaSourceError(
        f"Source {shown_url(url)!r} cannot be opened: {reason}; expected a file or URL that FFmpeg can read. "
        "Check the parameter 'source_path'."
    )


def _open_container(name: str, hwaccel: str | None, timeout: float | None) -> InputContainer:
    options = {}
    if url_scheme(name) in {"http", "https"}:
        options = _HTTP_OPTIONS
    elif "%" in name and os.path.exists(name):  # noqa: PTH110 - a name may hold what Path refuses
        # The name is that of one image, though it may read like that of a numbered sequence.
        options = {"pattern_type": "none"}
    container: InputContainer = open_input(name, timeout=timeout, hwaccel=usable_hwaccel(hwaccel), options=options)
    return container

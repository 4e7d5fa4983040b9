"""HLS playlists to which a sender adds segments: which they are, and whether one that gives no more says so."""

from __future__ import annotations

import os
import re
from pathlib import PurePath
from urllib.parse import urljoin

import av.error

from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.media.addresses import is_network_url, shown_url, source_path
from mcai_worker_sdk.media.raw_bytes import read_beginning

__all__ = ["may_grow", "warn_of_stalled_playlist"]

_logger = get_logger(__name__)

_HEAD = b"#EXTM3U"
_MAX_BYTES = 16 * 2**20
_END_MARK = re.compile(rb"^#EXT-X-ENDLIST", re.MULTILINE)
#: The first playlist that a master playlist names.
_VARIANT = re.compile(rb"^#EXT-X-STREAM-INF:.*\n(?:#.*\n|\s*\n)*([^#\s].*)$", re.MULTILINE)


def may_grow(name: str) -> bool:
    """True for a playlist on this machine that does not say that it is at its end: FFmpeg waits for more segments."""
    path = source_path(name)
    if path is None or not os.path.isfile(path):  # noqa: PTH113 - a name may hold what Path refuses
        return False
    with open(path, "rb") as file:  # noqa: PTH123 - as above
        if file.read(len(_HEAD)) != _HEAD:
            return False
    try:
        return not _is_finished(name)
    except (av.error.FFmpegError, OSError, ValueError):
        return True


def warn_of_stalled_playlist(url: str) -> None:
    """Warn when a live playlist that was read as far as it goes does not say that it is at its end."""
    try:
        is_finished = _is_finished(url)
    except (av.error.FFmpegError, OSError, ValueError):
        is_finished = False
    if not is_finished:
        _logger.warning(
            "The playlist %s gives no more segments and does not say that it is at its end (EXT-X-ENDLIST); this is "
            "taken for its end. Check the sender",
            shown_url(url),
        )


def _is_finished(url: str) -> bool:
    text = read_beginning(url, _MAX_BYTES).replace(b"\r\n", b"\n")
    variant = _VARIANT.search(text)
    if variant is not None:
        name = variant[1].decode().strip()
        address = urljoin(url, name) if is_network_url(url) else str(PurePath(url).parent / name)
        text = read_beginning(address, _MAX_BYTES)
    return _END_MARK.search(text) is not None

"""What a source or destination address is, and how it may be shown."""

from __future__ import annotations

import os
import re

from mcai_worker_sdk.addresses import local_path, url_scheme

__all__ = ["NUMBERED", "ffmpeg_name", "is_live_url", "is_network_url", "is_srt_url", "shown_url", "source_path"]

#: The number in the names of a sequence of images: ``img%03d.png``.
NUMBERED = re.compile(r"%0?\d*d")

#: Protocols of FFmpeg that read local things: no time-out applies.
_LOCAL_SCHEMES = frozenset({"concat", "concatf", "data", "fd", "file", "pipe", "subfile"})
#: Protocols of FFmpeg that read another address, which follows.
_WRAPPERS = re.compile(r"^(?:(?:async|cache|crypto)[:+])+")

#: URL schemes of sources that have no end of their own.
_LIVE_SCHEMES = frozenset(
    {"srt", "tcp", "udp", "rtp", "rtsp", "rtsps", "rtmp", "rtmps", "rtmpt", "rtmpe", "mmsh", "mmst"}
)

#: FFmpeg, too, takes the last @ before the path: a password may hold others.
_CREDENTIALS = re.compile(r"(?<=//)[^/?\s]*@")
_QUERY_VALUES = re.compile(r"(?<==)[^&#]+")


def is_network_url(url: str) -> bool:
    """True when reading from this address goes over a network."""
    url = _WRAPPERS.sub("", url)
    scheme = url_scheme(url)
    return scheme is not None and "://" in url and scheme not in _LOCAL_SCHEMES


def is_live_url(url: str) -> bool:
    """True for the address of a source that has no end of its own."""
    return url_scheme(url) in _LIVE_SCHEMES


def is_srt_url(url: str) -> bool:
    """True for ``srt://...`` in any case."""
    return url[:6].lower() == "srt://"


def source_path(address: str) -> str | None:
    """The local path a source is read from, ``None`` for a URL of another scheme than ``file``."""
    path = local_path(address)
    if path is not None and path != address and NUMBERED.search(address) and not os.path.exists(path):  # noqa: PTH110
        # Numbered images: the "%03" of "img%03d.png" is no character that was encoded.
        return address[len("file:") :]
    return path


def ffmpeg_name(address: str) -> str:
    """
    What FFmpeg is given to open a source: a path that it cannot take for a URL, or the URL.

    FFmpeg neither decodes ``file:`` URLs nor opens a file whose name begins like a URL (``12:30.mp4``).
    """
    path = source_path(address)
    if path is None:
        return address
    return path if not path or path.startswith("/") else f"./{path}"


def shown_url(url: str) -> str:
    """The address as errors and logs may show it: without credentials, without the values of a query."""
    if "://" not in url:
        return url
    address, mark, query = url.partition("?")
    return _CREDENTIALS.sub("", address) + mark + _QUERY_VALUES.sub("...", query)

"""What a source or destination address is, and how it may be shown."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

__all__ = ["is_live_url", "is_network_url", "is_srt_url", "local_path", "shown_url", "url_scheme"]

#: Protocols of FFmpeg that read local things: no time-out applies.
_LOCAL_SCHEMES = frozenset({"concat", "concatf", "data", "fd", "file", "pipe", "subfile", "cache", "crypto"})

#: URL schemes of sources that have no end of their own.
_LIVE_SCHEMES = frozenset(
    {"srt", "tcp", "udp", "rtp", "rtsp", "rtsps", "rtmp", "rtmps", "rtmpt", "rtmpe", "mmsh", "mmst"}
)

_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*):", re.IGNORECASE)
#: FFmpeg, too, takes the last @ before the path: a password may hold others.
_CREDENTIALS = re.compile(r"(?<=//)[^/?\s]*@")
_QUERY_VALUES = re.compile(r"(?<==)[^&#]+")


def url_scheme(url: str) -> str | None:
    """The scheme of a URL in lower case; ``None`` for a plain path."""
    match = _SCHEME.match(url)
    return match.group(1).lower() if match else None


def is_network_url(url: str) -> bool:
    """True when reading from this address goes over a network."""
    scheme = url_scheme(url)
    return scheme is not None and "://" in url and scheme not in _LOCAL_SCHEMES


def is_live_url(url: str) -> bool:
    """True for the address of a source that has no end of its own."""
    return url_scheme(url) in _LIVE_SCHEMES


def is_srt_url(url: str) -> bool:
    """True for ``srt://...`` in any case."""
    return url[:6].lower() == "srt://"


def local_path(address: str) -> str:
    """The path behind a plain path or a ``file:`` URL."""
    if url_scheme(address) != "file":
        return address
    parts = urlsplit(address)
    return unquote(parts.path) if address.lower().startswith("file://") else address[len("file:") :]


def shown_url(url: str) -> str:
    """The address as errors and logs may show it: without credentials, without the values of a query."""
    if "://" not in url:
        return url
    address, mark, query = url.partition("?")
    return _CREDENTIALS.sub("", address) + mark + _QUERY_VALUES.sub("...", query)

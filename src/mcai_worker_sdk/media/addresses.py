"""The addresses of a job's source and destination: what they are, and how they may be shown."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from mcai_worker_sdk.addresses import local_path, url_scheme
from mcai_worker_sdk.errors import ParameterError

__all__ = [
    "NUMBERED",
    "ffmpeg_name",
    "is_live_url",
    "is_network_url",
    "is_srt_url",
    "read_address",
    "shown_url",
    "source_path",
]

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


def read_address(name: str, values: Mapping[str, Any], parameters: object) -> str:
    """
    An address among a job's parameters: the job's own value, else the parameters class's default.

    Raises:
        ParameterError: It is missing, or holds what no path may hold.
    """
    value = values.get(name)
    if value is None:
        value = getattr(parameters, name, None)
    if not isinstance(value, str):
        raise ParameterError(
            f"Parameter {name!r} is {value!r}; expected a path or URL as text. Add it to the media job's order."
        )
    if "\0" in value or not _is_encodable(value):
        raise ParameterError(
            f"Parameter {name!r} is {shown_url(value)!r}; expected characters that a path may hold (neither NUL "
            "nor a lone surrogate). Correct the order."
        )
    return value


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


def _is_encodable(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True

"""What an address of an order stands for on this machine: one rule for sources, destinations and required paths."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote_to_bytes

__all__ = ["local_path", "url_scheme"]

#: One letter is a drive of Windows, and no scheme.
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):|(subfile),.*:", re.IGNORECASE | re.DOTALL)
_LOCAL_HOST = re.compile(r"//(?:localhost)?(?=/)", re.IGNORECASE)


def url_scheme(address: str) -> str | None:
    """The scheme of a URL in lower case, FFmpeg's ``subfile,,options,,:`` among them; ``None`` for a plain path."""
    match = _SCHEME.match(address)
    return match[match.lastindex or 0].lower() if match else None


def local_path(address: str) -> str | None:
    """
    The local path an address stands for, ``None`` for a URL of another scheme than ``file``.

    A name that exists is taken literally, whatever is in it (``a:b.mp4``, ``100%25.mp4``). Otherwise a ``file:`` URL is
    decoded as RFC 8089 says, with an empty host or ``localhost``; ``?`` and ``#`` are taken for parts of the name,
    because a file has neither query nor fragment.
    """
    if os.path.exists(address):  # noqa: PTH110 - an address may hold what Path refuses
        return address
    scheme = url_scheme(address)
    if scheme != "file":
        return address if scheme is None else None
    name = address[len("file:") :]
    path = _LOCAL_HOST.sub("", name, count=1) if name.startswith("//") else name
    names = (name, path, _decoded(path))
    return next((each for each in names if os.path.exists(each)), names[-1])  # noqa: PTH110 - as above


def _decoded(path: str) -> str:
    try:
        decoded = os.fsdecode(unquote_to_bytes(os.fsencode(path)))
    except UnicodeEncodeError:
        return path
    # No file has a NUL in its name: what would be one stays as it is, and whoever opens it finds nothing there.
    return path if "\0" in decoded else decoded

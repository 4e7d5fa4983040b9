"""How long a source is, and how long its own headers say that it is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import av.error

from mcai_worker_sdk.media.addresses import is_network_url, source_path
from mcai_worker_sdk.media.damage.declared_sizes import ReadAt, declared_end_bytes
from mcai_worker_sdk.media.pyav import size_bytes
from mcai_worker_sdk.media.raw_bytes import read_beginning

__all__ = ["SourceSize", "source_size"]

#: How much is read of a source in the network, from its beginning: headers, and seldom all of them, lie there.
_BEGINNING_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class SourceSize:
    """How long a source is, in bytes."""

    there: int
    """What there is."""
    declared: int | None
    """What its own headers declare; ``None`` when they do not say."""

    @property
    def is_whole(self) -> bool:
        """True when all that is declared is there."""
        return self.declared is not None and self.declared <= self.there

    @property
    def is_cut(self) -> bool:
        """True when there is less than declared."""
        return self.declared is not None and self.declared > self.there


def source_size(container: Any) -> SourceSize | None:
    """
    Look at the headers of a source again.

    Args:
        container: PyAV's, opened, or what is read the same way.

    Returns:
        The size; ``None`` when the source cannot be looked at again, as a pipe.
    """
    if not hasattr(container, "format"):
        return None
    with suppress(OSError, ValueError, av.error.FFmpegError), _opened(container) as opened:
        if opened is not None:
            read, length_bytes = opened
            return SourceSize(length_bytes, declared_end_bytes(read, length_bytes, container.format.name))
    return None


@contextmanager
def _opened(container: Any) -> Iterator[tuple[ReadAt, int] | None]:
    path = source_path(container.name)
    length_bytes = size_bytes(container)
    if path is not None and os.path.isfile(path):  # noqa: PTH113 - a name may hold what Path refuses
        with open(path, "rb") as file:  # noqa: PTH123 - as above

            def read(offset: int, size: int) -> bytes:
                file.seek(offset)
                return file.read(size)

            yield read, os.fstat(file.fileno()).st_size
    elif is_network_url(container.name) and length_bytes:
        beginning = read_beginning(container.name, _BEGINNING_BYTES)
        yield lambda offset, size: beginning[offset : offset + size], length_bytes
    else:
        yield None

"""Uncompressed sound of which no header says where it ends."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from mcai_worker_sdk.media.pyav import size_bytes

__all__ = ["is_short_read"]

#: What writers put where they do not know the size, as FFmpeg reads it. A pipe cannot be written to twice.
_UNKNOWN_SIZES = frozenset({0, 0xFFFFFFFF})
_RIFF_HEADER_BYTES = 12
_CHUNK_HEADER_BYTES = 8


def is_short_read(stream: Any, packet: Any) -> bool:
    """
    True when a packet is marked as corrupt only because it is the last of a sound without a declared end.

    FFmpeg marks what it read when it wanted more. Where it reads to the end of the file because the header declares no
    size, nothing is missing: whole samples are in the packet. A header that declares more than there is, is another
    matter, and so is a source that is no file, whose header cannot be looked at again.
    """
    container = stream.container
    if not stream.codec_context.name.startswith("pcm_") or packet.pos is None:
        return False
    length = size_bytes(container)
    if length is not None and packet.pos + packet.size < length:
        return False
    if container.format.name == "wav":
        with suppress(OSError, ValueError):
            return _is_unsized_wav(Path(container.name.removeprefix("file:")))
    # The frames of a CAF file are its samples, by the size its header declares.
    return container.format.name == "caf" and not stream.frames


def _is_unsized_wav(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        if file.read(_RIFF_HEADER_BYTES)[:4] != b"RIFF":
            return False
        while len(header := file.read(_CHUNK_HEADER_BYTES)) == _CHUNK_HEADER_BYTES:
            size_bytes = int.from_bytes(header[4:], "little")
            if header[:4] == b"data":
                return size_bytes in _UNKNOWN_SIZES
            # Chunks begin at even positions.
            file.seek(size_bytes + size_bytes % 2, 1)
    return False

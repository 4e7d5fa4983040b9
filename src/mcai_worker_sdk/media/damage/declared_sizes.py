"""
How far a file reaches by its own headers, in bytes: one that is shorter was cut.

The lengths in seconds that FFmpeg tells are no such thing. It derives many of them from what it finds (the fragments of
an MP4, the size of an MP3), and some count only a part (edit lists) or something else (a tag copied from another file).

Each format has one function of a few reads. All take what any file may hold: sizes are bounded by what is there, walks
by the length of the file, and what makes no sense declares nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

__all__ = ["ReadAt", "declared_end_bytes"]

ReadAt = Callable[[int, int], bytes]
"""Read that many bytes at an offset; fewer where the file ends."""

#: What writers put where they do not know a size, give or take what a header needs, besides 0: as much as fits. A pipe
#: cannot be written to twice.
_UNKNOWN_SIZES = (0x7F00_0000, 2**31, 2**32 - 1)
_HEADER_ROOM_BYTES = 4096

#: Parts that are walked over at most: a broken file may hold nothing but empty ones.
_MAX_STEPS = 1_000_000


def declared_end_bytes(read: ReadAt, size_bytes: int, format_name: str) -> int | None:
    """
    Where the content of a file ends by its headers.

    Args:
        read: Reads the file.
        size_bytes: How long the file is.
        format_name: FFmpeg's name of its format.

    Returns:
        The offset of its end; beyond ``size_bytes`` when the file was cut. ``None`` when the headers do not say.
    """
    for name in format_name.split(","):
        if name in _FORMATS:
            return _FORMATS[name](read, size_bytes)
    return None


def _is_unknown(size: int) -> bool:
    return size == 0 or any(abs(size - unknown) <= _HEADER_ROOM_BYTES for unknown in _UNKNOWN_SIZES)


# --- chunks -------------------------------------------------------------------------------------------------------


def _chunks(
    read: ReadAt, start: int, end: int, *, id_bytes: int = 4, size_bytes: int = 4, big: bool = False, align: int = 2
) -> Iterator[tuple[bytes, int, int]]:
    """Name, offset of the content and its declared size of each chunk from ``start`` on."""
    header_bytes = id_bytes + size_bytes
    for _ in range(_MAX_STEPS):
        header = read(start, header_bytes)
        if start >= end or len(header) < header_bytes:
            return
        size = int.from_bytes(header[id_bytes:], "big" if big else "little")
        yield header[:id_bytes], start + header_bytes, size
        start += header_bytes + size + -size % align


def _wav_end(read: ReadAt, size_bytes: int) -> int | None:
    """RIFF, and RF64 and BW64, whose sizes of 64 bits stand in a chunk ``ds64``."""
    magic = read(0, 4)
    long_size = 0
    for name, start, size in _chunks(read, 12, size_bytes, big=magic == b"RIFX"):
        if name == b"ds64":
            long_size = int.from_bytes(read(start + 8, 8), "little")
        elif name == b"data":
            if magic in {b"RF64", b"BW64"} and long_size:
                return None if long_size >= 2**63 else start + long_size
            return None if _is_unknown(size) else start + size
    return None


def _avi_end(read: ReadAt, size_bytes: int) -> int | None:
    """One RIFF of at most 2 GB after the other, each with a list of packets."""
    end = None
    for name, start, size in _chunks(read, 0, size_bytes):
        if name != b"RIFF":
            break
        if _is_unknown(size):
            return None
        for inner, inner_start, inner_size in _chunks(read, start + 4, size_bytes):
            if inner == b"RIFF":
                break
            if inner == b"LIST" and read(inner_start, 4) == b"movi":
                if _is_unknown(inner_size):
                    return None
                end = inner_start + inner_size
    return end


def _aiff_end(read: ReadAt, size_bytes: int) -> int | None:
    for name, start, size in _chunks(read, 12, size_bytes, big=True):
        if name == b"SSND":
            return None if _is_unknown(size) else start + size
    return None


def _caf_end(read: ReadAt, size_bytes: int) -> int | None:
    for name, start, size in _chunks(read, 8, size_bytes, size_bytes=8, big=True, align=1):
        if name == b"data":
            return None if size >= 2**63 else start + size
    return None


def _w64_end(read: ReadAt, size_bytes: int) -> int | None:
    """Sony's Wave64: names of 16 bytes, sizes that count the chunk's header, offsets that are multiples of 8."""
    start = 40
    for _ in range(_MAX_STEPS):
        header = read(start, 24)
        size = int.from_bytes(header[16:], "little")
        if len(header) < 24 or size < 24 or start >= size_bytes:
            return None
        if header[:4] == b"data":
            return None if size >= 2**62 or size == 24 else start + size
        start += size + -size % 8
    return None


def _au_end(read: ReadAt, size_bytes: int) -> int | None:  # noqa: ARG001 - one form for all formats
    header = read(0, 12)
    start, size = int.from_bytes(header[4:8], "big"), int.from_bytes(header[8:], "big")
    return None if len(header) < 12 or _is_unknown(size) else start + size


# --- boxes --------------------------------------------------------------------------------------------------------


def _mp4_end(read: ReadAt, size_bytes: int) -> int | None:
    """MP4 and QuickTime: the boxes of the highest level that hold samples, and what an index of fragments refers to."""
    end: int | None = None
    start = 0
    name = b""
    for _ in range(_MAX_STEPS):
        header = read(start, 16)
        if len(header) < 8:
            # Behind the head of a fragment comes its data.
            return size_bytes + 1 if name == b"moof" and start + len(header) == size_bytes else end
        size, name = int.from_bytes(header[:4], "big"), header[4:8]
        if size == 1:
            size = int.from_bytes(header[8:], "big")
        if name == b"mdat" and size == 0:
            # To the end of the file, wherever that is.
            return None
        if size < 8:
            break
        if name in {b"mdat", b"moof"}:
            end = max(end or 0, start + size)
        elif name == b"sidx":
            end = max(end or 0, _sidx_end(read(start + 8, min(size - 8, 2**20)), start + size))
        start += size
    return end


def _sidx_end(box: bytes, end: int) -> int:
    """Where the last fragment of a segment index ends."""
    offset_bytes = 8 if box[:1] == b"\1" else 4
    first_offset = int.from_bytes(box[12 + offset_bytes : 12 + 2 * offset_bytes], "big")
    table = 12 + 2 * offset_bytes
    count = int.from_bytes(box[table + 2 : table + 4], "big")
    sizes = (int.from_bytes(box[at : at + 4], "big") & 0x7FFFFFFF for at in range(table + 4, len(box) - 11, 12))
    return end + first_offset + sum(size for _, size in zip(range(count), sizes, strict=False))


# --- EBML ---------------------------------------------------------------------------------------------------------

_SEGMENT, _CLUSTER = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"


def _matroska_end(read: ReadAt, size_bytes: int) -> int | None:
    """The segment's size; a live recording has none, but its clusters may have theirs."""
    end = start = 0
    for _ in range(_MAX_STEPS):
        element = _ebml_element(read(start, 12))
        if element is None or start >= size_bytes:
            break
        name, header_bytes, size = element
        if name == _SEGMENT and size is None:
            start += header_bytes
            continue
        if size is None:
            return None
        start += header_bytes + size
        if name in {_SEGMENT, _CLUSTER}:
            end = start
        if name == _SEGMENT:
            break
    return end or None


def _ebml_element(header: bytes) -> tuple[bytes, int, int | None] | None:
    """Name, length of the header and size of the content, ``None`` when that is not known."""
    if len(header) < 2 or not header[0]:
        return None
    id_bytes = 9 - header[0].bit_length()
    if id_bytes > 4 or len(header) <= id_bytes or not header[id_bytes]:
        return None
    size_bytes = 9 - header[id_bytes].bit_length()
    field = header[id_bytes : id_bytes + size_bytes]
    if len(field) < size_bytes:
        return None
    bits = 7 * size_bytes
    size = int.from_bytes(field, "big") & (2**bits - 1)
    return header[:id_bytes], id_bytes + size_bytes, None if size == 2**bits - 1 else size


# --- others -------------------------------------------------------------------------------------------------------


def _ogg_end(read: ReadAt, size_bytes: int) -> int | None:
    """Only the last page tells: how long it is."""
    largest = 27 + 255 + 255 * 255
    start = max(0, size_bytes - largest)
    tail = read(start, largest)
    at = len(tail)
    while (at := tail.rfind(b"OggS\0", 0, at)) >= 0:
        lengths = tail[at + 27 : at + 27 + tail[at + 26]] if at + 26 < len(tail) else b""
        length = 27 + len(lengths) + sum(lengths)
        if at + 26 >= len(tail) or len(lengths) < tail[at + 26]:
            # Not even its header is there.
            return size_bytes + 1
        # What is no page but only looks like one ends somewhere in the middle.
        if at + length >= len(tail) or tail[at + length :].startswith(b"OggS"):
            return start + at + length
    return None


def _asf_end(read: ReadAt, size_bytes: int) -> int | None:  # noqa: ARG001 - one form for all formats
    """The data object behind the header object; a broadcast has no size there."""
    start = int.from_bytes(read(16, 8), "little")
    data = read(start, 24) if start < 2**62 else b""
    size = int.from_bytes(data[16:], "little")
    return start + size if data[:4] == b"\x36\x26\xb2\x75" and 50 < size < 2**62 else None


def _mxf_end(read: ReadAt, size_bytes: int) -> int | None:  # noqa: ARG001 - one form for all formats
    """The header partition tells where the footer partition begins, once there is one."""
    pack = read(0, 16 + 9 + 32)
    if not pack.startswith(b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x02") or len(pack) < 57:
        return None
    length_bytes = 1 + (pack[16] & 0x7F if pack[16] & 0x80 else 0)
    start = 16 + length_bytes + 24
    footer = int.from_bytes(pack[start : start + 8], "big")
    return footer + 1 if 0 < footer < 2**62 else None


#: Writers do not agree on which tags and which frames belong to the size.
_MP3_TOLERANCE_BYTES = 4096


def _mp3_end(read: ReadAt, size_bytes: int) -> int | None:  # noqa: ARG001 - one form for all formats
    """The size in the first frame, which encoders fill with a header of their own (Xing, Info, VBRI)."""
    start = _id3_bytes(read(0, 10))
    frame = read(start, 192)
    size = _xing_size(frame) or _vbri_size(frame)
    return start + size - _MP3_TOLERANCE_BYTES if size else None


def _xing_size(frame: bytes) -> int:
    at = max(frame.find(b"Xing", 4), frame.find(b"Info", 4))
    if at < 0:
        return 0
    flags = int.from_bytes(frame[at + 4 : at + 8], "big")
    # Behind the flags: the number of frames, and the size, each where its flag is set.
    size_at = at + 8 + (4 if flags & 1 else 0)
    return int.from_bytes(frame[size_at : size_at + 4], "big") if flags & 2 else 0


def _vbri_size(frame: bytes) -> int:
    at = frame.find(b"VBRI", 4)
    return int.from_bytes(frame[at + 10 : at + 14], "big") if at >= 0 else 0


def _id3_bytes(header: bytes) -> int:
    if not header.startswith(b"ID3") or len(header) < 10:
        return 0
    size = sum((byte & 0x7F) << shift for byte, shift in zip(header[6:], (21, 14, 7, 0), strict=True))
    return 10 + size + (10 if header[5] & 0x10 else 0)


_FORMATS: dict[str, Callable[[ReadAt, int], int | None]] = {
    "wav": _wav_end,
    "avi": _avi_end,
    "aiff": _aiff_end,
    "caf": _caf_end,
    "w64": _w64_end,
    "au": _au_end,
    "mov": _mp4_end,
    "matroska": _matroska_end,
    "ogg": _ogg_end,
    "asf": _asf_end,
    "mxf": _mxf_end,
    "mp3": _mp3_end,
}

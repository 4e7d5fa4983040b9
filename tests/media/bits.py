"""Files as a bad disk, a bad line or another tool leaves them: made from good ones, by their bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

TS_PACKET_BYTES = 188
#: Stream ids of a transport stream's first video and audio.
VIDEO_ID, AUDIO_ID = 0xE0, 0xC0


def pes_headers(data: bytes) -> Iterator[int]:
    """Where each packet of a stream begins in a transport stream."""
    for offset in range(0, len(data), TS_PACKET_BYTES):
        if data[offset + 1] & 0x40:
            start = offset + 4 + (1 + data[offset + 4] if data[offset + 3] & 0x20 else 0)
            if data[start : start + 3] == b"\0\0\1":
                yield start


def flip_pts_bit(data: bytes, number: int, bit: int, stream_id: int = VIDEO_ID) -> bytes:
    """Flip a bit of the time stamp that one packet of a transport stream has."""
    changed = bytearray(data)
    starts = [start for start in pes_headers(data) if data[start + 3] == stream_id and data[start + 7] & 0x80]
    at = starts[number] + 9
    parts = changed[at : at + 5]
    pts = (parts[0] >> 1 & 7) << 30 | parts[1] << 22 | parts[2] >> 1 << 15 | parts[3] << 7 | parts[4] >> 1
    pts ^= 1 << bit
    low = pts & 0x7FFF
    changed[at : at + 5] = (
        parts[0] & 0xF1 | pts >> 30 << 1, pts >> 22 & 0xFF, (pts >> 15 & 0x7F) << 1 | 1, low >> 7, (low & 0x7F) << 1 | 1
    )  # fmt: skip
    return bytes(changed)


def without_pts(data: bytes, mark: bytes) -> bytes:
    """Take the time stamps from those packets of a transport stream whose first bytes hold a mark."""
    changed = bytearray(data)
    for start in pes_headers(data):
        if mark in data[start : start + 100]:
            length = changed[start + 8]
            changed[start + 7] &= 0x3F
            changed[start + 9 : start + 9 + length] = b"\xff" * length
    return bytes(changed)


def boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, begin and end of each box of an MP4."""
    while start + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, start)
        yield name, start, start + size
        start += size


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, name) + content


def with_tracks(data: bytes, change: Callable[[int, bytes], bytes]) -> bytes:
    """An MP4 whose index lies at its end, the content of each track's box changed, by its number from 1."""
    out = b""
    for name, start, end in boxes(data, 0, len(data)):
        if name != b"moov":
            out += data[start:end]
            continue
        inner, number = b"", 0
        for inner_name, inner_start, inner_end in boxes(data, start + 8, end):
            content = data[inner_start + 8 : inner_end]
            if inner_name == b"trak":
                number += 1
                content = change(number, content)
            inner += box(inner_name, content)
        out += box(b"moov", inner)
    return out


def with_edits(data: bytes, *edits: tuple[int, int]) -> bytes:
    """Give each track of an MP4 an edit list: (length, begin in the media or -1 for nothing), in milliseconds."""
    movie_rate = struct.unpack_from(">I", data, data.index(b"mvhd") + 16)[0]

    def change(_number: int, track: bytes) -> bytes:
        rate = struct.unpack_from(">I", track, track.index(b"mdhd") + 16)[0]
        rows = b"".join(
            struct.pack(">IiI", length * movie_rate // 1000, begin if begin < 0 else begin * rate // 1000, 0x10000)
            for length, begin in edits
        )
        kept = [track[start:end] for name, start, end in boxes(track, 0, len(track)) if name != b"edts"]
        return kept[0] + box(b"edts", box(b"elst", struct.pack(">II", 0, len(edits)) + rows)) + b"".join(kept[1:])

    return with_tracks(data, change)


def with_chapter_images(data: bytes) -> bytes:
    """Make the second track of an MP4 the images of the first one's chapters."""
    reference = box(b"tref", box(b"chap", struct.pack(">I", 2)))
    return with_tracks(data, lambda number, track: track + reference if number == 1 else track)


def flip_ctts_bit(data: bytes, first: int, bit: int) -> bytes:
    """Flip a bit of how much later than decoded one picture of an MP4 is shown: the first of its own from a row on."""
    changed = bytearray(data)
    row = data.index(b"ctts") + 12 + 8 * first
    while struct.unpack_from(">I", data, row)[0] != 1:
        row += 8
    struct.pack_into(">I", changed, row + 4, struct.unpack_from(">I", data, row + 4)[0] ^ 1 << bit)
    return bytes(changed)

"""
The frames of the job link, cut into packets.

The job's end of the link is shared by every process that user code forks. So each packet says whose frame it belongs
to, and the system keeps packets whole and apart: a writer that is killed in the middle of a frame leaves a frame that
never ends, which is in nobody's way.
"""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterator

from mcai_worker_sdk.errors import HostError

__all__ = ["LIMIT_BYTES", "PACKET_BYTES", "FrameReader", "FrameWriter", "unreadable"]

#: A packet's head: a mark, the writer, the frame's number there, bytes that follow, and whether the frame ends so.
_HEAD = struct.Struct(">2s8sIH?")
_MARK = b"\xf5\xc3"
#: What follows a packet's head at most: well below what a socket takes at once anywhere.
PAYLOAD_BYTES = 1 << 15
PACKET_BYTES = _HEAD.size + PAYLOAD_BYTES
#: What a frame may come to, and all unfinished ones together: twice of what any broker takes in one message.
LIMIT_BYTES = 1 << 30


def unreadable(data: bytes) -> HostError:
    """What is told of bytes that are none of the link's."""
    return HostError(
        f"The job link brought {data[:40]!r}; expected what the SDK itself writes to it. Look for code of the "
        "worker and its libraries that writes to descriptors which it did not open."
    )


class FrameWriter:
    """Cuts frames into packets. Each process has one of its own, also each copy that user code forks."""

    def __init__(self) -> None:
        self._name = os.urandom(8)
        self._numbers = itertools.count()

    def packets(self, frame: bytes) -> Iterator[bytes]:
        """The packets of a frame, to be sent one by one. Packets of other frames may come between."""
        number = next(self._numbers) & 0xFFFFFFFF
        for start in range(0, len(frame), PAYLOAD_BYTES):
            payload = frame[start : start + PAYLOAD_BYTES]
            is_last = start + PAYLOAD_BYTES >= len(frame)
            yield _HEAD.pack(_MARK, self._name, number, len(payload), is_last) + payload


class FrameReader:
    """Puts packets together again."""

    def __init__(self) -> None:
        self._unread = bytearray()
        self._unfinished: dict[bytes, bytearray] = {}
        self._unfinished_bytes = 0

    def feed(self, data: bytes) -> list[bytes]:
        """
        Take what the socket gave; return the frames that are whole now.

        Raises:
            HostError: It is nothing that a :class:`FrameWriter` made, or more than may be unfinished.
        """
        self._unread += data
        frames: list[bytes] = []
        start = 0
        while len(self._unread) - start >= _HEAD.size:
            mark, writer, number, size, is_last = _HEAD.unpack_from(self._unread, start)
            if mark != _MARK or size > PAYLOAD_BYTES:
                raise unreadable(bytes(self._unread[start:]))
            end = start + _HEAD.size + size
            if len(self._unread) < end:
                break
            payload = bytes(self._unread[start + _HEAD.size : end])
            frames += self._add(writer + number.to_bytes(4, "big"), payload, is_last)
            start = end
        del self._unread[:start]
        if not self._unread.startswith(_MARK[: len(self._unread)]):
            raise unreadable(bytes(self._unread))
        return frames

    def _add(self, key: bytes, payload: bytes, is_last: bool) -> list[bytes]:
        so_far = self._unfinished.pop(key, None)
        if so_far is None and is_last:
            return [payload]
        frame = so_far if so_far is not None else bytearray()
        self._unfinished_bytes -= len(frame)
        frame += payload
        if is_last:
            return [bytes(frame)]
        self._unfinished[key] = frame
        self._unfinished_bytes += len(frame)
        if self._unfinished_bytes > LIMIT_BYTES:
            raise HostError(
                f"The job link brought {self._unfinished_bytes} bytes of unfinished messages; expected at most "
                f"{LIMIT_BYTES}."
            )
        return []

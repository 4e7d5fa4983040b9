"""What a video decoder needs from before a range: few packets, however far into the source the range begins."""

from __future__ import annotations

from typing import Any

__all__ = ["LeadIn"]

#: How much of a group of pictures is kept, in bytes. Some recordings have one key frame, the first.
LIMIT_BYTES = 32 * 2**20
#: Groups that are kept: one may start at a recovery point that completes only in the next.
_GROUP_COUNT = 2


class LeadIn:
    """
    Packets of one stream from before its range: the last two groups of pictures, undecoded.

    Once they hold more than 32 MiB, they are given out to be decoded at once, and so is what follows until the next key
    frame: decoding a long group takes time, keeping it takes as much memory as the file has bytes.
    """

    def __init__(self) -> None:
        self.has_gap = False
        """True when packets were dropped since some were last given out: the decoder must forget what it was fed."""
        self._packets: list[Any] = []
        self._group_starts: list[int] = []
        self._size_bytes = 0
        self._is_passing = False

    def add(self, packet: Any) -> list[Any]:
        """Keep the next packet from before the range; return those that are to be decoded now, most often none."""
        if packet.is_keyframe:
            self._is_passing = False
            self._start_group()
        elif self._is_passing:
            return [packet]
        self._packets.append(packet)
        self._size_bytes += packet.size
        # A group of one picture is never too long: it may be large, but the next replaces it.
        if self._size_bytes > LIMIT_BYTES and not packet.is_keyframe:
            self._is_passing = True
            return self.take()
        return []

    def take(self) -> list[Any]:
        """Give out all that is kept."""
        packets, self._packets = self._packets, []
        self._group_starts.clear()
        self._size_bytes = 0
        return packets

    def _start_group(self) -> None:
        self._group_starts.append(len(self._packets))
        if len(self._group_starts) > _GROUP_COUNT:
            start = self._group_starts[1]
            self._size_bytes -= sum(packet.size for packet in self._packets[:start])
            del self._packets[:start]
            self._group_starts = [index - start for index in self._group_starts[1:]]
            self.has_gap = True

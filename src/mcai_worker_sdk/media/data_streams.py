"""From the packets of a subtitle or data stream to what the worker gets."""

from __future__ import annotations

from typing import Any

from mcai_worker_sdk.media.damage import DamageReport
from mcai_worker_sdk.media.data import DataPacket
from mcai_worker_sdk.media.ranges import TimeRange

__all__ = ["DataDecoder"]


class DataDecoder:
    """Turn packets of one data stream into :class:`DataPacket` objects inside the range."""

    def __init__(self, stream: Any, time_range: TimeRange, report: DamageReport) -> None:
        self.stream_index: int = stream.index
        self.is_video = False
        self.has_ended = False
        self._time_base = stream.time_base
        self._ticks = time_range.in_ticks(stream.time_base)
        self._report = report

    def decode(self, packet: Any) -> list[Any]:
        """The packet's content, when it lies inside the range."""
        if self.has_ended or not packet.size:
            return []
        self._report.corrupt_packets += bool(packet.is_corrupt)
        if self._ticks.is_after(packet.pts):
            self.has_ended = True
            return []
        if self._ticks.is_before(packet.pts):
            return []
        return self._items(packet)

    def size_bytes(self, frames: list[Any]) -> int:
        """Memory the items hold, in bytes."""
        return sum(len(item.data) for item in frames)

    def time_seconds(self, frames: list[Any]) -> float | None:
        """Presentation time of the last of these items in seconds."""
        return frames[-1].time_seconds if frames else None

    def judge_end(self, format_name: str, *, was_moved: bool) -> None:
        """Nothing: subtitles and data may pause for as long as they like."""

    def _items(self, packet: Any) -> list[Any]:
        pts = packet.pts
        time_seconds = None if pts is None or not self._time_base else float(pts * self._time_base)
        return [DataPacket(pts, time_seconds, bytes(packet))]

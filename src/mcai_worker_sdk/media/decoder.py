"""From the packets of one stream to its frames: decoding, the range, what is broken."""

from __future__ import annotations

from typing import Any

import av.error

from mcai_worker_sdk.media.damage import DamageReport, judge_end
from mcai_worker_sdk.media.ranges import TimeRange
from mcai_worker_sdk.media.sizes import FrameSizer

__all__ = ["FrameDecoder"]

#: A unit of the container that is cut marks one of the packets in it: as many as one unit may hold.
_LAST_PACKETS = 8


class FrameDecoder:
    """
    Decode one audio or video stream; keep the frames inside the range.

    Video before the range is not decoded but for the two groups of pictures before it: their packets are kept and
    decoded once the range begins. Two, because a group may start at a recovery point that completes only in the next.
    Audio is decoded from the first packet, since its decoders carry state from frame to frame.
    """

    is_sparse = False

    def __init__(self, stream: Any, time_range: TimeRange, report: DamageReport) -> None:
        self.stream_index: int = stream.index
        self.is_video: bool = stream.type == "video"
        self.has_ended = False
        """True once a frame beyond the range was seen: the stream needs no further packet."""
        self._stream = stream
        self._codec = stream.codec_context
        self._codec.copy_opaque = True
        self._time_base = stream.time_base
        self._ticks = time_range.in_ticks(stream.time_base)
        self._is_ranged = time_range != TimeRange()
        self._report = report
        self._packet_count = 0
        self._last_packet: Any = None
        self._corrupt_number: int | None = None
        self._refusal: Exception | None = None
        self._has_decoded = False
        self._is_skipping = self.is_video and self._ticks.start is not None
        self._kept: list[Any] = []
        self._kept_group_starts: list[int] = []
        self._sizer = FrameSizer(is_video=self.is_video)
        if self.is_video:
            stream.thread_type = "AUTO"

    def decode(self, packet: Any) -> list[Any]:
        """
        The frames inside the range that this packet completes.

        Args:
            packet: A packet of the stream; the empty one at the end drains the decoder.
        """
        if self.has_ended:
            return []
        if packet.is_corrupt:
            self._report.corrupt_packets += 1
            self._corrupt_number = self._packet_count
        if packet.size:
            packet.opaque = (packet.size, self._packet_count)
            self._packet_count += 1
            self._last_packet = packet
        frames = self._decode_kept(packet) if self._is_skipping else self._decode_packet(packet)
        return self._select(frames) if self._is_ranged else self._count_corrupt(frames)

    def size_bytes(self, frames: list[Any]) -> int:
        """Memory the decoded frames hold, in bytes."""
        return self._sizer.size_bytes(frames)

    def time_seconds(self, frames: list[Any]) -> float | None:
        """Presentation time of the last of these frames in the source, in seconds."""
        pts = frames[-1].pts if frames else None
        return None if pts is None or not self._time_base else float(pts * self._time_base)

    def judge_end(self, format_name: str, *, was_moved: bool) -> None:
        """Note in the report when the stream, read to its end, stops short of what its container declares."""
        if not self.has_ended:
            if self._refusal is not None and not self._has_decoded:
                self._report.early_end = f"nothing of stream {self.stream_index} can be decoded ({self._refusal})"
            if self._corrupt_number is not None and self._packet_count - self._corrupt_number <= _LAST_PACKETS:
                self._report.early_end = f"the last packet of stream {self.stream_index} is incomplete"
            packet_count = None if was_moved else self._packet_count
            judge_end(self._report, self._stream, format_name, self._last_packet, packet_count)

    def _decode_packet(self, packet: Any) -> list[Any]:
        try:
            frames: list[Any] = self._codec.decode(packet)
        except av.error.EOFError:
            return []
        except av.error.FFmpegError as error:
            self._report.corrupt_packets += not packet.is_corrupt
            self._refusal = error
            return []
        self._has_decoded = self._has_decoded or bool(frames)
        return frames

    def _decode_kept(self, packet: Any) -> list[Any]:
        """Keep the packet until the range begins; then decode all that were kept."""
        if packet.size and packet.pts is not None and self._ticks.is_before(packet.pts):
            if packet.is_keyframe:
                self._forget_old_groups()
            self._kept.append(packet)
            return []
        self._is_skipping = False
        kept, self._kept = [*self._kept, packet], []
        frames = []
        for earlier in kept:
            # Dropped at once: pictures before the range may be many, and large.
            frames += [frame for frame in self._decode_packet(earlier) if not self._ticks.is_before(frame.pts)]
        return frames

    def _forget_old_groups(self) -> None:
        self._kept_group_starts.append(len(self._kept))
        if len(self._kept_group_starts) > 2:  # noqa: PLR2004 - two groups, see the class
            start = self._kept_group_starts[1]
            del self._kept[:start]
            self._kept_group_starts = [index - start for index in self._kept_group_starts[1:]]

    def _count_corrupt(self, frames: list[Any]) -> list[Any]:
        for frame in frames:
            if frame.is_corrupt:
                self._report.corrupt_frames += 1
        return frames

    def _select(self, frames: list[Any]) -> list[Any]:
        """Drop frames outside the range; note its end."""
        selected = []
        for frame in frames:
            pts = frame.pts
            if self._ticks.is_after(pts):
                self.has_ended = True
                break
            if not self._ticks.is_before(pts):
                selected.append(frame)
        return self._count_corrupt(selected)

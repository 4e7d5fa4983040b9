"""From the packets of one stream to its frames: decoding, the range, what is broken."""

from __future__ import annotations

from typing import Any

import av.error
from av.codec.codec import Capabilities

from mcai_worker_sdk.media.cover_art import are_timed_thumbnails, is_attached_picture
from mcai_worker_sdk.media.damage.judging import judge_stream
from mcai_worker_sdk.media.damage.report import DamageReport
from mcai_worker_sdk.media.damage.source_size import SourceSize, source_size
from mcai_worker_sdk.media.model.ranges import TimeRange
from mcai_worker_sdk.media.pyav import exact, pushing_packet
from mcai_worker_sdk.media.reading.clock import SourceClock
from mcai_worker_sdk.media.reading.decoding.frame_memory import FrameSizer
from mcai_worker_sdk.media.reading.decoding.lead_in import LeadIn
from mcai_worker_sdk.media.reading.decoding.timestamps import AudioTimes, VideoTimes

__all__ = ["FrameDecoder"]

#: A unit of the container that is cut marks one of the packets in it: as many as one unit may hold.
_LAST_PACKETS = 8
#: Jumps of the clock that are remembered: as many as the frames in a decoder may lie behind.
_KEPT_OFFSETS = 8

#: Formats of sound that may be written to a pipe, their size unknown.
_UNSIZED_FORMATS = frozenset({"aiff", "au", "caf", "w64", "wav"})


class FrameDecoder:
    """
    Decode one audio or video stream; keep the frames inside the range.

    Video before the range is not decoded but for the last groups of pictures before it.
    Audio is decoded from the first packet, since its decoders carry state from frame to frame.
    """

    is_sparse = False

    def __init__(self, stream: Any, time_range: TimeRange, report: DamageReport) -> None:
        self.stream_index: int = stream.index
        self.is_video: bool = stream.type == "video"
        self.has_ended = False
        """True once the range was left: the stream needs no further packet."""
        self.clock: SourceClock | None = None
        """The clock of a source where it may jump; it has followed each packet that is decoded."""
        self._stream = stream
        self._codec = stream.codec_context
        self._codec.copy_opaque = True
        self._time_base = exact(stream.time_base)
        # An attached picture has no time: it belongs to every range.
        is_timed = not is_attached_picture(stream)
        self._ticks = (time_range if is_timed else TimeRange()).in_ticks(self._time_base)
        self._is_ranged = is_timed and time_range != TimeRange()
        self._report = report
        self._packet_count = 0
        self._last_packet: Any = None
        # When the packet that ends last ends, and how long it is, in ticks.
        self._last_end: tuple[int, int] | None = None
        self._corrupt_number: int | None = None
        self._refusal: Exception | None = None
        self._has_decoded = False
        self._is_skipping = self.is_video and self._ticks.start is not None
        # What has to be added to time stamps to count on over jumps of the clock, each with the number of the first
        # packet it holds for; the newest last. Before the first jump it is 0.
        self._offsets: list[tuple[int, int]] = []
        self._offset = 0
        self._is_beyond = False
        self._are_thumbnails = are_timed_thumbnails(stream)
        self._lead_in = LeadIn()
        self._video_times = VideoTimes(stream) if self.is_video else None
        self._audio_times = None if self.is_video else AudioTimes(stream)
        self._sizer = FrameSizer(is_video=self.is_video)
        if self.is_video:
            stream.thread_type = "AUTO"

    def __del__(self) -> None:
        # PyAV frees a decoder with the GIL held, and FFmpeg then waits for the decoder's threads. A thread that drops a
        # packet with something opaque waits for the GIL: for ever, unless they are emptied first, without the GIL.
        self._codec.flush_buffers()

    def decode(self, packet: Any) -> list[Any]:
        """
        The frames inside the range that this packet completes.

        Args:
            packet: A packet of the stream; the empty one at the end drains the decoder.
        """
        if self.has_ended:
            return []
        if packet.is_corrupt and not self._is_unsized():
            self._report.corrupt_packets += 1
            self._corrupt_number = self._packet_count
        size_bytes = packet.size
        if self._are_thumbnails and size_bytes and self._is_repeated(packet):
            return []
        if self.clock is not None:
            self._note_jump(self.clock.offset(self.stream_index))
        if size_bytes:
            packet.opaque = (size_bytes, self._packet_count)
            self._packet_count += 1
            self._last_packet = packet
            if self.is_video:
                self._note_end(packet)
            frames = self._decode_early(packet) if self._is_skipping else self._decode_packet(packet)
        else:
            frames = self._drain(packet)
        return self._select(frames) if self._is_ranged else self._count_corrupt(frames)

    def size_bytes(self, frames: list[Any]) -> int:
        """Memory the decoded frames hold, in bytes."""
        return self._sizer.size_bytes(frames)

    def time_seconds(self, frames: list[Any]) -> float | None:
        """Presentation time of the last of these frames in the source, in seconds, counted on over jumps."""
        pts = self._time_of(frames[-1]) if frames else None
        return None if pts is None or not self._time_base else float(pts * self._time_base)

    def judge_end(self, format_name: str, size: SourceSize | None, *, was_moved: bool) -> None:
        """Note in the report when the stream, read to its end, stops short of what its container declares."""
        if not self.has_ended:
            if self._refusal is not None and not self._has_decoded:
                self._report.early_end = f"nothing of stream {self.stream_index} can be decoded ({self._refusal})"
            if self._corrupt_number is not None and self._packet_count - self._corrupt_number <= _LAST_PACKETS:
                self._report.early_end = f"the last packet of stream {self.stream_index} is incomplete"
            if self._last_packet is not None:
                # Noted here for sound, whose packets come in order: a call for each would be felt.
                self._note_end(self._last_packet)
            if size is None or not size.is_whole:
                packet_count = None if was_moved else self._packet_count
                judge_stream(self._report, self._stream, format_name, self._last_end, packet_count)

    def _note_end(self, packet: Any) -> None:
        pts = packet.pts
        if pts is not None:
            length = packet.duration or 0
            # Not the last one to be decoded: pictures come in another order.
            if self._last_end is None or pts + length > self._last_end[0]:
                self._last_end = pts + length, length

    def _is_repeated(self, packet: Any) -> bool:
        """Whether this is the first thumbnail again: FFmpeg gives it as attached pictures are given, and in turn."""
        length = packet.duration or 0
        return self._packet_count == 1 and packet.pts is not None and self._last_end == (packet.pts + length, length)

    def _is_unsized(self) -> bool:
        """
        Whether the source is a sound of which no header says where it ends.

        FFmpeg marks what it read when it wanted more. Where it reads to the end of the file because no size is
        declared, nothing is missing. Who writes to a pipe cannot declare one.
        """
        container = self._stream.container
        if container.format.name not in _UNSIZED_FORMATS:
            return False
        size = source_size(container)
        return size is None or size.declared is None

    def _decode_packet(self, packet: Any) -> list[Any]:
        try:
            frames: list[Any] = self._codec.decode(packet)
        except av.error.EOFError:
            return []
        except av.error.FFmpegError as error:
            self._report.corrupt_packets += not packet.is_corrupt
            self._refusal = error
            return []
        if frames:
            self._has_decoded = True
            if self._audio_times is None:
                assert self._video_times is not None
                self._video_times.stamp(frames)
            elif frames[0].pts is None or len(frames) > 1:
                self._audio_times.stamp(frames)
            else:
                # Asked here: a call for each frame of sound would be a hundredth of what decoding it costs.
                self._audio_times.last = frames[0]
        return frames

    def _decode_early(self, packet: Any) -> list[Any]:
        """Keep the packet until the range begins; then decode what was kept."""
        if packet.pts is not None and self._ticks.is_before(packet.pts + self._offset):
            return self._decode_lead_in(self._lead_in.add(packet))
        self._is_skipping = False
        return [*self._decode_lead_in(self._lead_in.take()), *self._decode_lead_in([packet])]

    def _decode_lead_in(self, packets: list[Any]) -> list[Any]:
        if packets and self._lead_in.has_gap:
            self._codec.flush_buffers()
            self._lead_in.has_gap = False
        frames = []
        for packet in packets:
            # Dropped at once: pictures before the range may be many, and large.
            for frame in self._decode_packet(packet):
                if not self._ticks.is_before(self._time_of(frame)):
                    frames.append(frame)  # noqa: PERF401 - a line of its own for a condition of two calls
        return frames

    def _drain(self, packet: Any) -> list[Any]:
        """
        Fetch what the decoder still holds.

        With frame threads that is the results of as many packets as there are threads, less one. PyAV fetches them in
        one call and stops at the first that is an error; since a decoder is drained only once, what comes after it
        would be lost, and an error after a picture would not even be told. So each result is pushed out first, by a
        packet without data and a call of its own.
        """
        frames = self._decode_lead_in(self._lead_in.take())
        pushes = self._pushing_packets()
        for push in pushes:
            frames += self._decode_packet(push)
        refusal, corrupt_packets = self._refusal, self._report.corrupt_packets
        frames += self._decode_packet(packet)
        if pushes:
            # Some decoders refuse the packets without data; all others have given their results by now.
            self._refusal, self._report.corrupt_packets = refusal, corrupt_packets
        return frames

    def _pushing_packets(self) -> list[Any]:
        has_frame_threads = self.is_video and self._codec.codec.capabilities & Capabilities.frame_threads
        # What devices make of such packets is not known.
        if not has_frame_threads or self._codec.is_hwaccel:
            return []
        return [pushing_packet(self._time_base) for _ in range(self._codec.thread_count - 1)]

    def _count_corrupt(self, frames: list[Any]) -> list[Any]:
        for frame in frames:
            if frame.is_corrupt:
                self._report.corrupt_frames += 1
        return frames

    def _select(self, frames: list[Any]) -> list[Any]:
        """Drop frames outside the range; note its end."""
        selected = []
        for frame in frames:
            time = self._time_of(frame)
            if self._ticks.is_after(time):
                # A single time stamp may be wrong; two in a row are not.
                if self._is_beyond:
                    self.has_ended = True
                    break
                self._is_beyond = True
                continue
            self._is_beyond = False
            if not self._ticks.is_before(time):
                selected.append(frame)
        return self._count_corrupt(selected)

    def _note_jump(self, offset: int) -> None:
        if offset != self._offset:
            self._offset = offset
            self._offsets = [*self._offsets[-_KEPT_OFFSETS:], (self._packet_count, offset)]

    def _time_of(self, frame: Any) -> int | None:
        """A frame's time stamp, counted on over the jumps of the source's clock."""
        time: int | None = frame.pts
        if not self._offsets or time is None:
            return time
        _, number = frame.opaque or (0, self._packet_count)
        return time + next((offset for first, offset in reversed(self._offsets) if number >= first), 0)

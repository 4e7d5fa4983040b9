"""From the packets of a subtitle or data stream to what the worker gets."""

from __future__ import annotations

from typing import Any

from mcai_worker_sdk.errors import MediaError
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.media.damage.report import DamageReport
from mcai_worker_sdk.media.damage.source_size import SourceSize
from mcai_worker_sdk.media.ebu_tt import parse_ebu_tt
from mcai_worker_sdk.media.model.cues import Cue, DataPacket
from mcai_worker_sdk.media.model.format_context import StreamDescriptor
from mcai_worker_sdk.media.model.ranges import TimeRange
from mcai_worker_sdk.media.pyav import exact
from mcai_worker_sdk.media.reading.clock import SourceClock
from mcai_worker_sdk.media.text.subtitles import CUE_CODECS, cues_from_packet, encoding_fault
from mcai_worker_sdk.media.text.xml_roots import is_ttml

__all__ = ["DataDecoder"]

_logger = get_logger(__name__)

#: What a cue, a packet or a document is taken to need in memory; exact enough to bound a queue.
_ITEM_BYTES = 4096


class DataDecoder:
    """
    Turn packets of one subtitle or data stream into what the worker gets.

    - TTML documents, for a worker with ``process_ebu_ttml_live``: :class:`EbuTtDocument` objects.
    - Packets of a subtitle stream whose codec carries text, which FFmpeg takes for data where that is WebVTT in MP4:
      :class:`Cue` objects whose begin lies inside the range.
    - All others (KLV, bitmap subtitles, other XML, ...): :class:`DataPacket` objects whose time stamp lies inside the
      range. A packet without one has the time of what was read before it.
    """

    is_sparse = True

    def __init__(
        self,
        stream: Any,
        descriptor: StreamDescriptor,
        time_range: TimeRange,
        report: DamageReport,
        *,
        wants_documents: bool,
    ) -> None:
        """
        Args:
            stream: PyAV's stream, or what stands for one.
            descriptor: What the source says about it.
            time_range: The part of the source to read.
            report: Where damage is counted.
            wants_documents: The worker takes TTML documents as such.
        """
        self.stream_index: int = stream.index
        self.has_ended = False
        self.clock: SourceClock | None = None
        """The clock of a source where it may jump; it has followed each packet that is decoded."""
        self._is_beyond = False
        self._time_base = exact(stream.time_base)
        self._range = time_range
        self._ticks = time_range.in_ticks(self._time_base)
        self._report = report
        self._wants_documents = wants_documents
        self._codec_name = descriptor.codec_name
        self._is_subtitle = descriptor.kind == "AVMEDIA_TYPE_SUBTITLE" or self._codec_name in CUE_CODECS
        self._last_seconds: float | None = None
        self._has_warned_of_encoding = False

    def decode(self, packet: Any) -> list[Any]:
        """What the packet holds, as far as it lies inside the range."""
        if self.has_ended or not packet.size:
            return []
        self._report.corrupt_packets += bool(packet.is_corrupt)
        pts = packet.pts
        time = self._time_of(pts)
        if self._ticks.is_after(time):
            # A single time stamp may be wrong; two in a row are not.
            self.has_ended = self._is_beyond
            self._is_beyond = True
            return []
        self._is_beyond = False
        seconds = None if pts is None or not self._time_base else float(pts * self._time_base)
        self._last_seconds = None if time is None or not self._time_base else float(time * self._time_base)
        data = bytes(packet)
        try:
            return self._items(packet, data, seconds, is_before=self._ticks.is_before(time))
        except MediaError as error:
            _logger.warning("Dropped a packet of stream %d: %s", self.stream_index, error)
            self._report.corrupt_packets += 1
            return []

    def size_bytes(self, frames: list[Any]) -> int:
        """Memory the items hold, in bytes; roughly."""
        return _ITEM_BYTES * len(frames)

    def time_seconds(self, frames: list[Any]) -> float | None:
        """Presentation time of the last packet in seconds."""
        return self._last_seconds if frames else None

    def judge_end(self, format_name: str, size: SourceSize | None, *, was_moved: bool) -> None:
        """Nothing: subtitles and data may pause for as long as they like."""

    def _items(self, packet: Any, data: bytes, seconds: float | None, *, is_before: bool) -> list[Any]:
        if self._wants_documents and is_ttml(data):
            return [] if is_before else [parse_ebu_tt(data)]
        is_text = self._codec_name in CUE_CODECS or (self._codec_name is None and is_ttml(data))
        if self._is_subtitle and is_text:
            duration = float(packet.duration * self._time_base) if packet.duration else None
            self._check_encoding(data)
            cues = cues_from_packet(self._codec_name, data, seconds, duration)
            return [cue for cue in cues if self._holds(cue)]
        return [] if is_before else [DataPacket(packet.pts, seconds, data)]

    def _time_of(self, pts: int | None) -> int | None:
        """When a packet is due, in ticks, counted on over the jumps of the source's clock."""
        if self.clock is None:
            return pts
        if pts is not None:
            return pts + self.clock.offset(self.stream_index)
        read_seconds = self.clock.now_seconds
        return None if read_seconds is None or self._time_base is None else round(read_seconds / self._time_base)

    def _check_encoding(self, data: bytes) -> None:
        fault = None if self._has_warned_of_encoding else encoding_fault(self._codec_name, data)
        if fault is not None:
            self._has_warned_of_encoding = True
            _logger.warning("Subtitle stream %d %s", self.stream_index, fault)

    def _holds(self, cue: Cue) -> bool:
        start, stop = self._range.start_seconds, self._range.stop_seconds
        begin = cue.start_seconds
        if self.clock is not None and self._time_base is not None:
            begin += float(self.clock.offset(self.stream_index) * self._time_base)
        return (start is None or begin >= start) and (stop is None or begin < stop)

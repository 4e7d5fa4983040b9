"""From what the threads deliver to the worker's calls: batches, results, how far the job is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mcai_worker_sdk.channel import McaiChannel
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.media.batches import Batches
from mcai_worker_sdk.media.model.format_context import FormatContext
from mcai_worker_sdk.media.model.frame import Frame
from mcai_worker_sdk.media.model.frame.field_order import is_top_field_first
from mcai_worker_sdk.media.progression import ProgressionMeter, ThroughputLog
from mcai_worker_sdk.media.reading.chunks import Segment
from mcai_worker_sdk.media.reading.selection import Selection
from mcai_worker_sdk.media.results.writer import ResultWriter
from mcai_worker_sdk.media.turns import WorkerCalls

__all__ = ["Processing"]

_logger = get_logger(__name__)


class Processing:
    """
    Give the worker the frames of the selected streams, in batches, and write what it returns. One thread.

    Args:
        context: The source.
        selection: The streams that are read.
        batches: Collects their frames.
        calls: The calls of the worker.
        writer: Takes the results.
        channel: Tells whether the job shall stop.
        meter: Reports how far the job is.
        throughput: Counts the frames of a live source, which is reported to be nowhere; ``None`` for any other.
    """

    def __init__(
        self,
        *,
        context: FormatContext,
        selection: Selection,
        batches: Batches,
        calls: WorkerCalls,
        writer: ResultWriter,
        channel: McaiChannel,
        meter: ProgressionMeter,
        throughput: ThroughputLog | None,
    ) -> None:
        self._context = context
        self._selection = selection
        self._batches = batches
        self._calls = calls
        self._writer = writer
        self._channel = channel
        self._meter = meter
        self._throughput = throughput
        #: Per stream, the source's time up to which segments have come; their last frames may wait for their batch.
        self._segment_ends: dict[int, float] = {}
        #: Streams that gave the worker something.
        self._heard_streams: set[int] = set()

    def take(self, segments: Iterator[Segment]) -> None:
        """Process segments up to the end of the source, and the batches that are not full then; or up to a stop."""
        for segment in segments:
            self._take_segment(segment)
        if not self._channel.is_stopped():
            for stream_index, batch in self._batches.remainders():
                self._process_batch(stream_index, batch)

    def complete(self) -> None:
        """Report the end; warn of streams that gave the worker nothing."""
        self._warn_of_silent_streams()
        if self._throughput is None:
            self._meter.complete()

    def _take_segment(self, segment: Segment) -> None:
        index, frames = segment.stream_index, segment.frames
        if index not in self._selection.data_indexes:
            is_video = index in self._selection.video_indexes
            frames = [Frame(frame, is_video=is_video, top_field_first=is_top_field_first) for frame in frames]
        segment.frames = []
        if frames:
            self._heard_streams.add(index)
        is_batch_complete = False
        for batch in self._batches.add(index, frames):
            if self._channel.is_stopped():
                return
            self._process_batch(index, batch)
            is_batch_complete = True
            del batch
        if self._throughput is not None:
            self._throughput.count(len(frames))
        self._report_segment(segment, is_batch_complete)

    def _report_segment(self, segment: Segment, is_batch_complete: bool) -> None:
        """Report how far the worker is, which has not seen the frames that wait for their batch to fill."""
        reached: float | None = None
        if not self._batches.has_pending(segment.stream_index):
            reached = segment.time_seconds
        elif is_batch_complete:
            # What waits came with this segment: the batch took all that was left of those before.
            reached = self._segment_ends.get(segment.stream_index)
        if reached is not None:
            self._meter.reach(reached)
        if segment.time_seconds is not None:
            self._segment_ends[segment.stream_index] = segment.time_seconds

    def _process_batch(self, stream_index: int, batch: list[Any]) -> None:
        is_data = stream_index in self._selection.data_indexes
        for result in self._calls.process(stream_index, batch, is_data=is_data):
            self._writer.write(result)

    def _warn_of_silent_streams(self) -> None:
        for index in self._selection.stream_indexes:
            if index in self._heard_streams:
                continue
            stream = self._context.streams[index]
            _logger.warning(
                "Stream %d (%s, codec %s) gave nothing; expected at least one frame, cue or packet. Check that the "
                "source holds some that can be decoded (neither scrambled nor damaged) inside the range, and that "
                "the filters pass them on.",
                index,
                stream.kind.removeprefix("AVMEDIA_TYPE_").lower(),
                stream.codec_name or "unknown",
            )

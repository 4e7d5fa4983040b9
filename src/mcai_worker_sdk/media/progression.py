"""How far a media job is: by the time stamps of what was processed."""

from __future__ import annotations

import time
from collections.abc import Callable

from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.media.model.format_context import FormatContext, StreamDescriptor
from mcai_worker_sdk.media.model.ranges import TimeRange

__all__ = ["ProgressionMeter", "ThroughputLog"]

_logger = get_logger(__name__)

#: How often a live job tells how many frames it has processed, in seconds.
THROUGHPUT_PERIOD_SECONDS = 60.0

_COMPLETE_PERCENT = 100

#: Formats whose durations tell when they end, not how long they are.
_COUNTING_FROM_ZERO = frozenset({"matroska", "mov"})


class ProgressionMeter:
    """
    Report whole percents of the known range, each once, rising.

    The 0 of a job that starts is not reported here: every job's is, before its source is opened.
    Of an unknown range (single images) only the final 100 is reported, of a live source nothing.
    """

    def __init__(
        self,
        context: FormatContext,
        stream_indexes: list[int],
        time_range: TimeRange,
        publish: Callable[[float], object],
    ) -> None:
        """
        Args:
            context: The source.
            stream_indexes: The streams that are read.
            time_range: The part that is read.
            publish: Called with whole percents.
        """
        streams = [stream for stream in context.streams if stream.index in stream_indexes]
        self._begin_seconds, self._end_seconds = _limits(context, streams, time_range)
        self._publish = publish
        self._percent = 0

    def reach(self, time_seconds: float) -> None:
        """Report how far the job is, when that is a percent further."""
        if self._end_seconds is None:
            return
        span = self._end_seconds - self._begin_seconds
        if span > 0:
            done = (time_seconds - self._begin_seconds) / span
            # 100 is for a job that has come to its end, not for its last frame.
            self._report(min(int(_COMPLETE_PERCENT * done), _COMPLETE_PERCENT - 1))

    def complete(self) -> None:
        """Report 100."""
        self._report(_COMPLETE_PERCENT)

    def _report(self, percent: int) -> None:
        if percent > self._percent:
            self._percent = percent
            self._publish(percent)


class ThroughputLog:
    """Log now and then how many frames of a live source were processed, since it has no percents to report."""

    def __init__(self, job_id: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._job_id = job_id
        self._clock = clock
        self._since = clock()
        self._frames = 0

    def count(self, frames: int) -> None:
        """Add processed frames; log when a period is over."""
        self._frames += frames
        now = self._clock()
        elapsed = now - self._since
        if elapsed >= THROUGHPUT_PERIOD_SECONDS:
            _logger.info(
                "The live source gave %d frames in %.0f s", self._frames, elapsed, extra={"job_id": self._job_id}
            )
            self._since, self._frames = now, 0


def _limits(
    context: FormatContext, streams: list[StreamDescriptor], time_range: TimeRange
) -> tuple[float, float | None]:
    """First and last instant that will be read, in seconds of the source's time stamps."""
    starts = [stream.start_time for stream in streams if stream.start_time is not None]
    begin = min(starts, default=context.start_time or 0.0)
    ends = [
        _end(context, stream.start_time or 0.0, stream.duration)
        for stream in streams
        if stream.duration is not None and stream.duration > 0
    ]
    end = max(ends, default=None)
    if end is None and context.duration:
        end = _end(context, context.start_time or 0.0, context.duration)
    if time_range.start_seconds is not None:
        begin = max(begin, time_range.start_seconds)
    if end is not None and time_range.stop_seconds is not None:
        end = min(end, time_range.stop_seconds)
    return begin, end


def _end(context: FormatContext, start: float, duration: float) -> float:
    """Last instant by what FFmpeg makes of the container's header, in seconds of its time stamps."""
    # Most writers of Matroska (FFmpeg among them) give the last time stamp for the duration, wherever the first is. So
    # does FFmpeg of MP4: the empty beginning of an edit list counts, and what lies before the first fragment.
    counts_from_zero = not _COUNTING_FROM_ZERO.isdisjoint(context.format_name.split(",")) and duration > start
    return duration if counts_from_zero else start + duration

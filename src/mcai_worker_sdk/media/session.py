"""One media job, from its order's parameters to its results."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from mcai_worker_sdk.channel import McaiChannel
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.media.addresses import read_address, shown_url
from mcai_worker_sdk.media.batches import Batches, read_batch_size
from mcai_worker_sdk.media.damage.report import DamageReport, read_failure
from mcai_worker_sdk.media.model.frame import Frame
from mcai_worker_sdk.media.model.frame.field_order import is_top_field_first
from mcai_worker_sdk.media.model.ranges import TimeRange
from mcai_worker_sdk.media.progression import ProgressionMeter, ThroughputLog
from mcai_worker_sdk.media.reading.chunks import Segment
from mcai_worker_sdk.media.reading.pipeline import Pipeline
from mcai_worker_sdk.media.reading.selection import Selection, select_streams
from mcai_worker_sdk.media.results.joining import join_results
from mcai_worker_sdk.media.results.opening import open_destination
from mcai_worker_sdk.media.results.writer import ResultWriter
from mcai_worker_sdk.media.sources.opening import open_source
from mcai_worker_sdk.media.sources.source import MediaSource
from mcai_worker_sdk.media.turns import MediaWorker, WorkerCalls
from mcai_worker_sdk.media.waiting import Opening
from mcai_worker_sdk.settings import MediaSettings

__all__ = ["MediaSession"]

_logger = get_logger(__name__)


class MediaSession:
    """
    Run one job of a media worker.

    :meth:`open`, :meth:`run`, :meth:`close` are called in this order, in one thread, which is also the one the worker's
    methods are called in. :meth:`update` may be called from another, at any time.
    """

    def __init__(
        self,
        *,
        worker: MediaWorker,
        job_id: int,
        parameters: object,
        values: Mapping[str, Any],
        channel: McaiChannel,
        settings: MediaSettings,
    ) -> None:
        """
        Args:
            worker: The user's worker.
            job_id: The job; the worker's ``process_frames`` gets it as text.
            parameters: The job's parameters object, given to the worker.
            values: The job's parameter values by name; ``source_path``, ``destination_path``, ``batch_size``,
                ``sdk_start_index`` and ``sdk_stop_index`` are read here.
            channel: Tells whether the job shall stop; takes its progression.
            settings: How this worker reads media.
        """
        self._job_id = job_id
        self._parameters = parameters
        self._values = values
        self._channel = channel
        self._settings = settings
        self._calls = WorkerCalls(worker, job_id, parameters)
        self._report = DamageReport()
        # They own what they opened, whatever interrupts this thread meanwhile.
        self._destination_opening = Opening[ResultWriter](channel)
        self._source_opening = Opening[MediaSource](channel)
        self._source: MediaSource | None = None
        self._writer: ResultWriter | None = None
        self._pipeline: Pipeline | None = None
        self._meter: ProgressionMeter | None = None
        self._throughput: ThroughputLog | None = None
        self._selection: Selection | None = None
        self._batches: Batches | None = None
        self._destination = ""
        #: Per stream, the source's time up to which segments have come; their last frames may wait for their batch.
        self._segment_ends: dict[int, float] = {}
        #: Streams that gave the worker something.
        self._heard_streams: set[int] = set()

    def open(self) -> None:
        """
        Check the destination, open the source, let the worker choose its streams, set up the filters.

        Returns early, with nothing to run, when the job is stopped meanwhile.

        Raises:
            ParameterError: A parameter is missing or has an unusable value.
            MediaDestinationError: The destination cannot be written to.
            MediaSourceError: The source cannot be opened.
            MediaFilterError: A stream descriptor or a filter is refused.
        """
        # One turn for all of it: an update that comes meanwhile is the worker's next call after init_process, however
        # long that or the wait for the source takes.
        with self._calls.turns:
            self._open()
            self._calls.takes_updates = self._pipeline is not None

    def _open(self) -> None:
        source_path = read_address("source_path", self._values, self._parameters)
        self._destination = read_address("destination_path", self._values, self._parameters)
        time_range = TimeRange.from_values(self._values)
        self._batches = Batches(read_batch_size(self._values, self._parameters))
        self._writer = open_destination(self._destination, source_path, self._destination_opening)
        if self._writer is None:
            return
        self._source = open_source(source_path, self._settings.hwaccel, self._source_opening)
        if self._source is None or self._channel.is_stopped():
            return
        context = self._source.context
        descriptors = self._calls.initialise(context)
        self._selection = select_streams(
            self._source,
            descriptors,
            time_range,
            self._report,
            wants_documents=self._calls.wants_documents,
        )
        self._meter = ProgressionMeter(
            context, self._selection.stream_indexes, time_range, self._channel.publish_job_progression
        )
        if self._source.is_live:
            self._throughput = ThroughputLog(self._job_id)
        self._pipeline = Pipeline(
            self._source, self._selection.decoders, self._selection.chains, time_range, self._report
        )

    def run(self) -> dict[str, Any]:
        """
        Read the source to its end; give every batch to the worker; write its results.

        Returns:
            ``destination_paths`` and ``parameters`` of the job's result. After a stop: what there is so far.

        Raises:
            MediaError: The source, a filter or the destination failed.
            Exception: What the worker's own code raised.
        """
        try:
            self._process()
            self._calls.end()
            return self._finish()
        finally:
            self.close()

    def update(self, parameters: object) -> None:
        """
        Give the worker new parameters: between two batches, or after ``init_process`` when that is still to come.

        Raises:
            JobError: The worker has no ``update_process``, or the job came to its end, or never to ``init_process``.
            Exception: What ``update_process`` raised: the worker refuses the parameters.
        """
        self._calls.update(parameters)

    def close(self) -> None:
        """Release everything; may be called again. A worker that was initialised hears ``ending_process`` once."""
        # The last named is called first, and each whatever becomes of the others.
        with ExitStack() as stack:
            stack.callback(self._calls.end_failed)
            stack.callback(self._destination_opening.close)
            stack.callback(self._source_opening.close if self._pipeline is None else self._pipeline.close)

    def _process(self) -> None:
        if self._pipeline is None or self._meter is None or self._selection is None:
            return
        assert self._batches is not None
        is_stopped = self._channel.is_stopped
        for segment in self._pipeline.segments(is_stopped):
            self._process_segment(segment)
        if not is_stopped():
            for stream_index, batch in self._batches.remainders():
                self._process_batch(stream_index, batch)
        if not is_stopped():
            self._judge_source()
            self._warn_of_silent_streams()
            if self._throughput is None:
                self._meter.complete()

    def _process_segment(self, segment: Segment) -> None:
        assert self._batches is not None
        assert self._selection is not None
        frames = segment.frames
        if segment.stream_index not in self._data_indexes():
            is_video = segment.stream_index in self._selection.video_indexes
            frames = [Frame(frame, is_video=is_video, top_field_first=is_top_field_first) for frame in frames]
        segment.frames = []
        if frames:
            self._heard_streams.add(segment.stream_index)
        is_batch_complete = False
        for batch in self._batches.add(segment.stream_index, frames):
            if self._channel.is_stopped():
                return
            self._process_batch(segment.stream_index, batch)
            is_batch_complete = True
            del batch
        if self._throughput is not None:
            self._throughput.count(len(frames))
        self._report_segment(segment, is_batch_complete)

    def _report_segment(self, segment: Segment, is_batch_complete: bool) -> None:
        """Report how far the worker is, which has not seen the frames that wait for their batch to fill."""
        assert self._batches is not None
        assert self._meter is not None
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
        assert self._writer is not None
        for result in self._calls.process(stream_index, batch, is_data=stream_index in self._data_indexes()):
            self._writer.write(result)

    def _data_indexes(self) -> set[int]:
        return self._selection.data_indexes if self._selection is not None else set()

    def _judge_source(self) -> None:
        if self._report.early_end is None:
            return
        failure = read_failure(self._report, shown_url(str(self._values["source_path"])))
        if self._settings.on_error == "fail":
            raise failure
        _logger.warning("%s", failure)

    def _warn_of_silent_streams(self) -> None:
        assert self._selection is not None
        assert self._source is not None
        for index in self._selection.stream_indexes:
            if index in self._heard_streams:
                continue
            stream = self._source.context.streams[index]
            _logger.warning(
                "Stream %d (%s, codec %s) gave nothing; expected at least one frame, cue or packet. Check that the "
                "source holds some that can be decoded (neither scrambled nor damaged) inside the range, and that "
                "the filters pass them on.",
                index,
                stream.kind.removeprefix("AVMEDIA_TYPE_").lower(),
                stream.codec_name or "unknown",
            )

    def _finish(self) -> dict[str, Any]:
        if self._writer is None:
            return {"destination_paths": [], "parameters": []}
        self._writer.finish()
        damage = self._report.counts()
        if damage:
            _logger.warning("The source is damaged: %s", damage)
        own: dict[str, list[Any]] = {
            "destination_paths": [shown_url(self._destination)],
            "parameters": [{"id": name, "kind": "integer", "value": count} for name, count in damage.items()],
        }
        return join_results(self._job_id, own, self._calls.last_words)

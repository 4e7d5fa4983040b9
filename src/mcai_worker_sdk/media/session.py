"""One media job, from its order's parameters to its results."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from mcai_worker_sdk.channel import McaiChannel
from mcai_worker_sdk.errors import JobError, ParameterError
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.media.batches import Batches, read_batch_size
from mcai_worker_sdk.media.damage import DamageReport
from mcai_worker_sdk.media.data import Cue, DataPacket
from mcai_worker_sdk.media.field_order import is_top_field_first
from mcai_worker_sdk.media.format_context import FormatContext
from mcai_worker_sdk.media.frame import Frame
from mcai_worker_sdk.media.links import Segment
from mcai_worker_sdk.media.opening import Opening, open_destination, open_source
from mcai_worker_sdk.media.pipeline import Pipeline, read_failure
from mcai_worker_sdk.media.progression import ProgressionMeter, ThroughputLog
from mcai_worker_sdk.media.ranges import TimeRange
from mcai_worker_sdk.media.results import ResultWriter
from mcai_worker_sdk.media.selection import Selection, select_streams
from mcai_worker_sdk.media.source import MediaSource
from mcai_worker_sdk.media.urls import shown_url

__all__ = ["MediaOptions", "MediaSession", "MediaWorker", "WorkerTurns"]

_LOGGER = get_logger("mcai_worker_sdk.media")


@dataclass(frozen=True, slots=True)
class MediaOptions:
    """How this worker reads media; from ``MCAI_MEDIA_ON_ERROR`` and ``MCAI_MEDIA_HWACCEL``."""

    on_error: Literal["fail", "skip"] = "fail"
    """What a source that ends early does: fail the job, or end it with what could be read."""
    hwaccel: str | None = None
    """Device type that shall decode video (``cuda``), ``None`` for the CPU."""


class MediaWorker(Protocol):
    """
    The methods of a media worker.

    ``process_ebu_ttml_live(job_id, stream_index, frames)`` and ``update_process(parameters)`` are optional.
    """

    def init_process(self, context: FormatContext, parameters: Any) -> Any:
        """Choose the streams: return a list of stream descriptors."""

    def process_frames(self, job_id: str, stream_index: int, frames: list[Any]) -> Any:
        """Process one batch; what is returned becomes one entry of the results."""

    def ending_process(self) -> Any:
        """Clean up after the last batch; what is returned joins the job's result."""


class WorkerTurns:
    """
    Calls of the worker, one at a time: who waits has the next turn.

    A lock alone is not enough: the thread that gives it back and asks for it again, for its next batch, mostly has it
    before an update that waits wakes up.
    """

    def __init__(self) -> None:
        # Reentrant, both: an update may come from within a batch, in the same thread.
        self._next = threading.RLock()
        self._call = threading.RLock()

    def __enter__(self) -> None:
        # Who waits for the call in hand holds up those that come later, the next batch among them.
        with self._next:
            self._call.acquire()

    def __exit__(self, *_: object) -> None:
        self._call.release()


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
        options: MediaOptions,
    ) -> None:
        """
        Args:
            worker: The user's worker.
            job_id: The job; the worker's ``process_frames`` gets it as text.
            parameters: The job's parameters object, given to the worker.
            values: The job's parameter values by name; ``source_path``, ``destination_path``, ``batch_size``,
                ``sdk_start_index`` and ``sdk_stop_index`` are read here.
            channel: Tells whether the job shall stop; takes its progression.
            options: How this worker reads media.
        """
        self._worker = worker
        self._job_id = job_id
        self._parameters = parameters
        self._values = values
        self._channel = channel
        self._options = options
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
        self._must_end_worker = False
        #: What ``ending_process`` returned.
        self._last_words: Any = None
        # Between the worker's init_process and its ending_process; changes only in a turn.
        self._takes_updates = False
        self._worker_turns = WorkerTurns()

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
        with self._worker_turns:
            self._open()
            self._takes_updates = self._pipeline is not None

    def _open(self) -> None:
        source_path = self._text("source_path")
        self._destination = self._text("destination_path")
        time_range = TimeRange.from_values(self._values)
        self._batches = Batches(read_batch_size(self._values, self._parameters))
        self._writer = open_destination(self._destination, source_path, self._destination_opening)
        if self._writer is None:
            return
        self._source = open_source(source_path, self._options.hwaccel, self._source_opening)
        if self._source is None or self._channel.is_stopped():
            return
        context = self._source.context
        descriptors = self._worker.init_process(context, self._parameters)
        self._must_end_worker = True
        self._selection = select_streams(
            self._source,
            descriptors,
            time_range,
            self._report,
            wants_documents=hasattr(self._worker, "process_ebu_ttml_live"),
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
            self._end_worker()
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
        update_process = getattr(self._worker, "update_process", None)
        if update_process is None:
            raise JobError(
                f"Job {self._job_id} cannot be updated: the worker has no method update_process; expected one that "
                "takes the new parameters. Stop the job and send a new one."
            )
        with self._worker_turns:
            if not self._takes_updates:
                raise JobError(f"Job {self._job_id} is not running: the update is refused.")
            update_process(parameters)

    def close(self) -> None:
        """Release everything; may be called again. A worker that was initialised hears ``ending_process`` once."""
        # The last named is called first, and each whatever becomes of the others.
        with ExitStack() as stack:
            stack.callback(self._end_failed_worker)
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
        # A data stream may carry TTML documents among other packets: each kind goes to its own method.
        if stream_index in self._data_indexes():
            for is_document, run in itertools.groupby(batch, lambda item: not isinstance(item, Cue | DataPacket)):
                method = "process_ebu_ttml_live" if is_document else "process_frames"
                self._call_worker(getattr(self._worker, method), stream_index, list(run))
        else:
            self._call_worker(self._worker.process_frames, stream_index, batch)

    def _call_worker(self, process: Callable[[str, int, list[Any]], Any], stream_index: int, batch: list[Any]) -> None:
        assert self._writer is not None
        with self._worker_turns:
            result = process(str(self._job_id), stream_index, batch)
        self._writer.write(result)

    def _data_indexes(self) -> set[int]:
        return self._selection.data_indexes if self._selection is not None else set()

    def _judge_source(self) -> None:
        if self._report.early_end is None:
            return
        failure = read_failure(self._report, shown_url(str(self._values["source_path"])))
        if self._options.on_error == "fail":
            raise failure
        _LOGGER.warning("%s", failure)

    def _warn_of_silent_streams(self) -> None:
        assert self._selection is not None
        assert self._source is not None
        for index in self._selection.stream_indexes:
            if index in self._heard_streams:
                continue
            stream = self._source.context.streams[index]
            _LOGGER.warning(
                "Stream %d (%s, codec %s) gave nothing; expected at least one frame, cue or packet. Check that the "
                "source holds some that can be decoded (neither scrambled nor damaged) inside the range, and that "
                "the filters pass them on.",
                index,
                stream.kind.removeprefix("AVMEDIA_TYPE_").lower(),
                stream.codec_name or "unknown",
            )

    def _end_worker(self) -> None:
        if self._must_end_worker:
            self._must_end_worker = False
            with self._worker_turns:
                self._takes_updates = False
                self._last_words = self._worker.ending_process()

    def _end_failed_worker(self) -> None:
        try:
            self._end_worker()
        except Exception:
            _LOGGER.exception("ending_process of job %d failed after the job had failed", self._job_id)

    def _finish(self) -> dict[str, Any]:
        if self._writer is None:
            return {"destination_paths": [], "parameters": []}
        self._writer.finish()
        own: dict[str, list[Any]] = {
            "destination_paths": [shown_url(self._destination)],
            "parameters": self._damage_parameters(),
        }
        return self._joined(own, self._last_words)

    def _joined(self, own: dict[str, list[Any]], returned: Any) -> dict[str, Any]:
        """The job's own result, with what the worker's ``ending_process`` returned behind it."""
        if returned is None:
            return dict(own)
        if not isinstance(returned, Mapping):
            _LOGGER.warning(
                "ending_process of job %d returned a %s; expected a dict or None. Nothing of it is published.",
                self._job_id,
                type(returned).__name__,
            )
            return dict(own)
        joined: dict[Any, Any] = {**returned, **own}
        for key, entries in own.items():
            more = returned.get(key)
            if isinstance(more, list | tuple):
                joined[key] = [*entries, *more]
            elif more is not None:
                _LOGGER.warning(
                    "ending_process of job %d returned %s as a %s; expected a list. It is not published.",
                    self._job_id,
                    key,
                    type(more).__name__,
                )
        return joined

    def _damage_parameters(self) -> list[dict[str, Any]]:
        counts = {
            "corrupt_packets": self._report.corrupt_packets,
            "corrupt_frames": self._report.corrupt_frames,
            "missing_packets": self._report.missing_packets,
        }
        found = {name: count for name, count in counts.items() if count}
        if found:
            _LOGGER.warning("The source is damaged: %s", found)
        return [{"id": name, "kind": "integer", "value": count} for name, count in found.items()]

    def _text(self, name: str) -> str:
        value = self._values.get(name)
        if value is None:
            value = getattr(self._parameters, name, None)
        if not isinstance(value, str):
            raise ParameterError(
                f"Parameter {name!r} is {value!r}; expected a path or URL as text. Add it to the media job's order."
            )
        if "\0" in value or not _is_encodable(value):
            raise ParameterError(
                f"Parameter {name!r} is {shown_url(value)!r}; expected characters that a path may hold (neither NUL "
                "nor a lone surrogate). Correct the order."
            )
        return value


def _is_encodable(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True

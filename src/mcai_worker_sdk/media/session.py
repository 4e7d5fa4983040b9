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
from mcai_worker_sdk.media.model.ranges import TimeRange
from mcai_worker_sdk.media.processing import Processing
from mcai_worker_sdk.media.progression import ProgressionMeter, ThroughputLog
from mcai_worker_sdk.media.reading.pipeline import Pipeline
from mcai_worker_sdk.media.reading.selection import select_streams
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
        # An opening owns what it opened, at whatever line this thread is interrupted.
        self._destination_opening = Opening[ResultWriter](channel)
        self._source_opening = Opening[MediaSource](channel)
        self._source_address = ""
        self._destination_address = ""
        #: Set once the destination is open.
        self._writer: ResultWriter | None = None
        #: Set once the source is open and the worker chose its streams, as is ``_processing``.
        self._pipeline: Pipeline | None = None
        self._processing: Processing | None = None

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
        self._source_address = read_address("source_path", self._values, self._parameters)
        self._destination_address = read_address("destination_path", self._values, self._parameters)
        time_range = TimeRange.from_values(self._values)
        batches = Batches(read_batch_size(self._values, self._parameters))
        self._writer = open_destination(self._destination_address, self._source_address, self._destination_opening)
        if self._writer is None:
            return
        source = open_source(self._source_address, self._settings.hwaccel, self._source_opening)
        if source is None or self._channel.is_stopped():
            return
        descriptors = self._calls.initialise(source.context)
        selection = select_streams(
            source, descriptors, time_range, self._report, wants_documents=self._calls.wants_documents
        )
        self._processing = Processing(
            context=source.context,
            selection=selection,
            batches=batches,
            calls=self._calls,
            writer=self._writer,
            channel=self._channel,
            meter=ProgressionMeter(
                source.context, selection.stream_indexes, time_range, self._channel.publish_job_progression
            ),
            throughput=ThroughputLog(self._job_id) if source.is_live else None,
        )
        self._pipeline = Pipeline(source, selection.decoders, selection.chains, time_range, self._report)

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
        if self._pipeline is None or self._processing is None:
            return
        is_stopped = self._channel.is_stopped
        self._processing.take(self._pipeline.segments(is_stopped))
        if not is_stopped():
            self._judge_source()
            self._processing.complete()

    def _judge_source(self) -> None:
        if self._report.early_end is None:
            return
        failure = read_failure(self._report, shown_url(self._source_address))
        if self._settings.on_error == "fail":
            raise failure
        _logger.warning("%s", failure)

    def _finish(self) -> dict[str, Any]:
        if self._writer is None:
            return {"destination_paths": [], "parameters": []}
        self._writer.finish()
        damage = self._report.counts()
        if damage:
            _logger.warning("The source is damaged: %s", damage)
        own: dict[str, list[Any]] = {
            "destination_paths": [shown_url(self._destination_address)],
            "parameters": [{"id": name, "kind": "integer", "value": count} for name, count in damage.items()],
        }
        return join_results(self._job_id, own, self._calls.last_words)

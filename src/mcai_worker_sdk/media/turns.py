"""The calls of the user's worker: one at a time, in their order, whoever asks for them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from mcai_worker_sdk.errors import JobError
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.media.model.cues import Cue, DataPacket
from mcai_worker_sdk.media.model.format_context import FormatContext

__all__ = ["MediaWorker", "WorkerCalls", "WorkerTurns"]

_logger = get_logger(__name__)


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
    Turns at calling the worker, one thread at a time: a thread that waits has the next turn.

    A lock alone is not enough: a thread that releases a lock and acquires it again, for its next batch, mostly has it
    before an update that waits wakes up.
    """

    def __init__(self) -> None:
        # Reentrant, both: an update may come from within a batch, in the same thread.
        self._next = threading.RLock()
        self._call = threading.RLock()
        # The thread that has the turn, and how many times it took it; written by that thread alone.
        self._holder: int | None = None
        self._depth = 0

    def __enter__(self) -> None:
        if self._holder == threading.get_ident():
            # A thread in line waits for this one to end its turn: standing in line behind it would be for ever.
            self._call.acquire()
        else:
            # A thread that waits for its turn holds up the threads that come later, that of the next batch among them.
            with self._next:
                self._call.acquire()
        self._holder = threading.get_ident()
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._holder = None
        self._call.release()


class WorkerCalls:
    """
    The calls one job makes of the worker: ``init_process`` first, ``ending_process`` last and once.

    :meth:`update` may be called from any thread; the other methods are called in the thread of the job.

    Args:
        worker: The user's worker.
        job_id: The job; ``process_frames`` gets it as text.
        parameters: The job's parameters object.
    """

    def __init__(self, worker: MediaWorker, job_id: int, parameters: object) -> None:
        self._worker = worker
        self._job_id = job_id
        self._parameters = parameters
        #: Held during each call; whoever wants several calls in a row takes it for all of them.
        self.turns = WorkerTurns()
        #: Between the worker's init_process and its ending_process; changes only in a turn.
        self.takes_updates = False
        #: What ``ending_process`` returned.
        self.last_words: Any = None
        # True from init_process until ending_process was called.
        self._must_end = False

    @property
    def wants_documents(self) -> bool:
        """True when the worker takes TTML documents as such, not as cues or packets."""
        return hasattr(self._worker, "process_ebu_ttml_live")

    def initialise(self, context: FormatContext) -> object:
        """Tell the worker of the source; return what it chose of it."""
        with self.turns:
            descriptors = self._worker.init_process(context, self._parameters)
            self._must_end = True
            return descriptors

    def process(self, stream_index: int, batch: list[Any], *, is_data: bool) -> Iterator[object]:
        """Give the worker a batch, in one call or in several; yield what each returned."""
        if not is_data:
            yield self._process(self._worker.process_frames, stream_index, batch)
            return
        # A data stream may carry TTML documents among other packets: each kind goes to its own method.
        for is_document, run in itertools.groupby(batch, lambda item: not isinstance(item, Cue | DataPacket)):
            method = "process_ebu_ttml_live" if is_document else "process_frames"
            yield self._process(getattr(self._worker, method), stream_index, list(run))

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
        with self.turns:
            if not self.takes_updates:
                raise JobError(f"Job {self._job_id} is not running: the update is refused.")
            update_process(parameters)

    def end(self) -> None:
        """Call ``ending_process`` of a worker that was initialised and did not hear it yet."""
        if self._must_end:
            self._must_end = False
            with self.turns:
                self.takes_updates = False
                self.last_words = self._worker.ending_process()

    def end_failed(self) -> None:
        """:meth:`end` after a failure, which the job ends with; what ``ending_process`` raises is only logged."""
        try:
            self.end()
        except Exception:
            _logger.exception("ending_process of job %d failed after the job had failed", self._job_id)

    def _process(self, method: Callable[[str, int, list[Any]], Any], stream_index: int, batch: list[Any]) -> object:
        with self.turns:
            return method(str(self._job_id), stream_index, batch)

"""A worker that tells what its media methods returned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from mcai_worker_sdk.job.definition import RunnableWorker, WorkerDefinition

__all__ = ["observed"]

#: The methods that take one batch.
_BATCH_METHODS = frozenset({"process_frames", "process_ebu_ttml_live"})


def observed(definition: WorkerDefinition, on_batch: Callable[[int, Any], None]) -> WorkerDefinition:
    """
    Have each batch of a media worker told; a plain worker is left as it is.

    Args:
        definition: The worker.
        on_batch: Called with the number of frames and with what the worker returned, after each batch.
    """
    if not definition.is_media:
        return definition
    return replace(definition, worker=cast(RunnableWorker, _ObservedWorker(definition.worker, on_batch)))


class _ObservedWorker:
    """Stands in for a worker: every attribute is the worker's own."""

    def __init__(self, worker: RunnableWorker, on_batch: Callable[[int, Any], None]) -> None:
        self._worker = worker
        self._on_batch = on_batch

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._worker, name)
        return self._watched(attribute) if name in _BATCH_METHODS else attribute

    def _watched(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def process(job_id: str, stream_index: int, frames: Sequence[Any]) -> Any:
            returned = method(job_id, stream_index, frames)
            self._on_batch(len(frames), returned)
            return returned

        return process

"""Collecting frames into the lists ``process_frames`` gets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mcai_worker_sdk.errors import ParameterError

__all__ = ["Batches", "read_batch_size"]


def read_batch_size(values: Mapping[str, Any], parameters: object) -> int:
    """
    Frames per call: the job's ``batch_size``, else the parameters class's own default, else 1.

    Raises:
        ParameterError: It is not a whole number. 0 and less count as 1.
    """
    value = values.get("batch_size")
    if value is None:
        value = getattr(parameters, "batch_size", None)
    if value is None:
        return 1
    if isinstance(value, bool) or not isinstance(value, int):
        raise ParameterError(
            f"Parameter 'batch_size' is {value!r}; expected a whole number of frames per call. Correct the order."
        )
    return max(value, 1)


class Batches:
    """Fill one list per stream; a list that is full, or whose job has come to its end, is given away."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._pending: dict[int, list[Any]] = {}

    def add(self, stream_index: int, frames: list[Any]) -> Iterator[list[Any]]:
        """Add frames of a stream; yield each batch they complete."""
        pending = self._pending.setdefault(stream_index, [])
        for frame in frames:
            pending.append(frame)
            if len(pending) == self._batch_size:
                self._pending[stream_index] = []
                yield pending
                # Not a moment earlier and not a moment longer: a batch may be the largest thing in memory.
                pending = self._pending[stream_index]

    def has_pending(self, stream_index: int) -> bool:
        """True when frames of the stream wait for their batch to fill."""
        return bool(self._pending.get(stream_index))

    def remainders(self) -> Iterator[tuple[int, list[Any]]]:
        """Yield what is left of each stream, in the order of the streams' indexes."""
        for stream_index in sorted(self._pending):
            batch = self._pending.pop(stream_index)
            if batch:
                yield stream_index, batch

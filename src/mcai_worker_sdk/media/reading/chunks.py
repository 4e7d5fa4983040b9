"""The bounded queues between the threads that read, filter and process."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Chunk", "ChunkQueue", "QueueClosedError", "QueueSilentError", "Segment"]


class QueueClosedError(Exception):
    """Raised in a thread that uses a queue after the other side gave it up."""


class QueueSilentError(Exception):
    """Raised when nothing came through a queue in the time the caller wanted to wait."""


@dataclass(slots=True)
class Segment:
    """Successive frames of one stream."""

    stream_index: int
    frames: list[Any] = field(default_factory=list)
    """PyAV frames, or what a data stream delivers."""
    time_seconds: float | None = None
    """Presentation time in the source of the last frame that went into the segment, before any filter."""
    size_bytes: int = 0
    """Memory the frames hold."""
    has_ended: bool = False
    """True on the last segment of its stream."""


@dataclass(slots=True)
class Chunk:
    """What travels through a queue in one go: many small frames, so that threads seldom wait for each other."""

    segments: list[Segment] = field(default_factory=list)
    frame_count: int = 0
    size_bytes: int = 0

    def add(self, stream_index: int, frames: list[Any], size_bytes: int) -> Segment:
        """Append frames of one stream; return the segment they went to."""
        segments = self.segments
        if not segments or segments[-1].stream_index != stream_index:
            segments.append(Segment(stream_index))
        segment = segments[-1]
        segment.frames += frames
        segment.size_bytes += size_bytes
        self.frame_count += len(frames)
        self.size_bytes += size_bytes
        return segment


class ChunkQueue:
    """
    A queue of chunks between two threads, bounded by the bytes that wait in it.

    A chunk larger than the bound passes alone. One thread puts, one gets; :meth:`abort` may be called from any.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._chunks: deque[Chunk] = deque()
        self._waiting_bytes = 0
        self._condition = threading.Condition()
        self._has_ended = False
        self._is_aborted = False
        self._failure: BaseException | None = None

    def put(self, chunk: Chunk) -> None:
        """
        Add a chunk; wait while the queue is full.

        Raises:
            QueueClosedError: The queue was aborted.
        """
        with self._condition:
            self._condition.wait_for(self._has_room)
            if self._is_aborted:
                raise QueueClosedError
            self._chunks.append(chunk)
            self._waiting_bytes += chunk.size_bytes
            self._condition.notify_all()

    def get(self, timeout_seconds: float | None = None) -> Chunk | None:
        """
        Take the next chunk; wait for it.

        Returns:
            The chunk; ``None`` when the source has ended and every chunk was taken.

        Raises:
            QueueSilentError: No chunk came in time.
            QueueClosedError: The queue was aborted.
            BaseException: What the other side failed with, once every chunk before the failure was taken.
        """
        with self._condition:
            if not self._condition.wait_for(self._has_news, timeout_seconds):
                raise QueueSilentError
            if self._is_aborted:
                raise QueueClosedError
            if self._chunks:
                chunk = self._chunks.popleft()
                self._waiting_bytes -= chunk.size_bytes
                self._condition.notify_all()
                return chunk
            if self._failure is not None:
                raise self._failure
            return None

    def end(self, failure: BaseException | None = None) -> None:
        """Say that no further chunk comes, and why if that is a failure."""
        with self._condition:
            self._failure = failure
            self._has_ended = True
            self._condition.notify_all()

    def abort(self) -> None:
        """Drop what waits and release both sides."""
        with self._condition:
            self._is_aborted = True
            self._chunks.clear()
            self._waiting_bytes = 0
            self._condition.notify_all()

    def _has_room(self) -> bool:
        return self._is_aborted or not self._chunks or self._waiting_bytes < self._limit_bytes

    def _has_news(self) -> bool:
        return bool(self._chunks) or self._has_ended or self._is_aborted

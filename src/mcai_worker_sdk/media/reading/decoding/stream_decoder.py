"""What the pipeline asks of whatever decodes one stream."""

from __future__ import annotations

from typing import Any, Protocol

from mcai_worker_sdk.media.damage.source_size import SourceSize
from mcai_worker_sdk.media.reading.clock import SourceClock

__all__ = ["StreamDecoder"]


class StreamDecoder(Protocol):
    """Turns packets of one stream into frames, or whatever the stream delivers."""

    stream_index: int
    has_ended: bool
    """True once something beyond the range was seen."""
    is_sparse: bool
    """True when the stream may pause for long, so that nothing beyond the range may ever come."""
    clock: SourceClock | None
    """The clock of a source where it may jump; set before the first packet, and has followed each that is decoded."""

    def decode(self, packet: Any) -> list[Any]:
        """What the packet completes; the empty packet at the end drains the decoder."""

    def size_bytes(self, frames: list[Any]) -> int:
        """Memory these frames hold, in bytes."""

    def time_seconds(self, frames: list[Any]) -> float | None:
        """Presentation time of the last of these frames in seconds."""

    def judge_end(self, format_name: str, size: SourceSize | None, *, was_moved: bool) -> None:
        """Note when the stream, read to its end, stops short of what its container declares."""

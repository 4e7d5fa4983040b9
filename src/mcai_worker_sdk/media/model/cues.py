"""What a subtitle or data stream delivers."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Cue", "DataPacket"]


@dataclass(frozen=True, slots=True)
class Cue:
    """One subtitle."""

    start_seconds: float
    """When it appears."""
    end_seconds: float | None
    """When it disappears; ``None`` when the source does not say."""
    text: str
    """What is read: without tags, entities resolved, lines separated by newlines."""
    raw: str
    """The text as the source has it, with its tags."""


@dataclass(frozen=True, slots=True)
class DataPacket:
    """One packet of a data stream (KLV, timed ID3, ...), as the container holds it."""

    pts: int | None
    """Presentation time stamp in the stream's time base, ``None`` when the packet has none."""
    time_seconds: float | None
    """Presentation time in seconds, ``None`` when the packet has none."""
    data: bytes
    """The payload; owned by the caller."""

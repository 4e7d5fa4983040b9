"""What a data stream delivers that is neither a picture, nor sound, nor a subtitle."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DataPacket"]


@dataclass(frozen=True, slots=True)
class DataPacket:
    """One packet of a data stream (KLV, timed ID3, ...), as the container holds it."""

    pts: int | None
    """Presentation time stamp in the stream's time base, ``None`` when the packet has none."""
    time_seconds: float | None
    """Presentation time in seconds, ``None`` when the packet has none."""
    data: bytes
    """The payload; owned by the caller."""

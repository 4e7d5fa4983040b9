"""What was found broken in a source, and the error that says so."""

from __future__ import annotations

from dataclasses import dataclass

from mcai_worker_sdk.errors import MediaSourceError

__all__ = ["DamageReport", "read_failure"]


@dataclass(slots=True)
class DamageReport:
    """What was broken in the source; counted by the reading thread."""

    corrupt_packets: int = 0
    """Packets that the container marks as corrupt or that the decoder refused."""
    corrupt_frames: int = 0
    """Frames that were decoded from damaged data, and delivered."""
    missing_packets: int = 0
    """Packets the container declares and does not hold; known for MP4 and MOV only."""
    early_end: str | None = None
    """Why the source is taken to end before its end; ``None`` when it does not."""

    def counts(self) -> dict[str, int]:
        """What was counted, by the names of the result's parameters; only what is not 0."""
        counts = {
            "corrupt_packets": self.corrupt_packets,
            "corrupt_frames": self.corrupt_frames,
            "missing_packets": self.missing_packets,
        }
        return {name: count for name, count in counts.items() if count}


def read_failure(report: DamageReport, name: str) -> MediaSourceError:
    """The error of a source that ended early."""
    return MediaSourceError(
        f"Source {name!r} ends early: {report.early_end}; expected it to be read to its end. "
        "Check the file, or set MCAI_MEDIA_ON_ERROR=skip to keep what can be read."
    )

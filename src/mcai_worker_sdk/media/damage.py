"""What is broken in a source: counted while it is read, judged when it ends."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from mcai_worker_sdk.media.attachments import is_attached_picture
from mcai_worker_sdk.media.pyav import exact, plain_tags

__all__ = ["DamageReport", "declared_end", "judge_end"]

#: Formats whose header declares when each stream ends; other durations are estimated from what is there.
_DECLARING_FORMATS = frozenset({"mov", "matroska", "mxf"})

#: How much earlier than declared a stream may end, besides two of its packets, in seconds. Encoders round.
_TOLERANCE_SECONDS = Fraction(1, 2)

#: Matroska's tag: hours, minutes, seconds and their fraction, counted from the container's 0.
_DURATION_TAG = re.compile(r"^(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_SECONDS_PER_MINUTE = 60


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


def judge_end(report: DamageReport, stream: Any, format_name: str, last_packet: Any, packet_count: int | None) -> None:
    """
    Note in the report when a stream that was read to its end stops short of what its container declares.

    Args:
        report: Where to note it.
        stream: PyAV's stream.
        format_name: The container's format.
        last_packet: The last packet that was read from the stream, ``None`` when there was none.
        packet_count: How many were read; ``None`` when the stream was not read from its beginning.
    """
    expected, time_base = declared_end(stream, format_name), exact(stream.time_base)
    if expected is None or time_base is None:
        return
    end = packet_length = Fraction(0)
    if last_packet is not None and last_packet.pts is not None:
        packet_length = (last_packet.duration or 0) * time_base
        end = last_packet.pts * time_base + packet_length
    if expected - end <= _TOLERANCE_SECONDS + 2 * packet_length:
        return
    report.early_end = f"stream {stream.index} stops at {float(end):.2f} s of {float(expected):.2f} s"
    # Uncompressed audio counts samples here.
    if (
        packet_count is not None
        and stream.frames > packet_count
        and not (stream.codec_context and stream.codec_context.name.startswith("pcm_"))
    ):
        report.missing_packets += stream.frames - packet_count


def declared_end(stream: Any, format_name: str) -> Fraction | None:
    """When a stream ends by its container's header, in seconds of its time stamps; ``None`` when that is not said."""
    formats = _DECLARING_FORMATS.intersection(format_name.split(","))
    time_base = exact(stream.time_base)
    if not formats or time_base is None or is_attached_picture(stream):
        return None
    tag = _DURATION_TAG.match(plain_tags(stream.metadata).get("DURATION", ""))
    if tag is not None:
        hours, minutes, seconds = tag.groups()
        return (int(hours) * _SECONDS_PER_MINUTE + int(minutes)) * _SECONDS_PER_MINUTE + Fraction(seconds)
    # Without the tag Matroska has only the length of the whole, which FFmpeg shows as that of each stream: it is true
    # of the only one.
    if not stream.duration or ("matroska" in formats and not _is_only_stream(stream)):
        return None
    end: Fraction = ((stream.start_time or 0) + stream.duration) * time_base
    return end


def _is_only_stream(stream: Any) -> bool:
    return sum(not is_attached_picture(other) for other in stream.container.streams) == 1

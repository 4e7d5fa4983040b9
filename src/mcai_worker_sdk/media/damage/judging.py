"""Whether a source that was read to its end stops short of what it declares."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from mcai_worker_sdk.media.cover_art import is_attached_picture
from mcai_worker_sdk.media.damage.report import DamageReport
from mcai_worker_sdk.media.damage.source_size import SourceSize
from mcai_worker_sdk.media.pyav import exact, plain_tags

__all__ = ["declared_end", "judge_course", "judge_size", "judge_stream"]

#: Formats whose header declares when each stream ends, where their size cannot be looked at.
_TIMED_FORMATS = frozenset({"mov", "matroska", "mxf"})
#: Formats whose header counts samples.
_COUNTED_FORMATS = frozenset({"flac", "tta", "wv"})

#: How much earlier than declared a stream may end, besides two of its packets, in seconds. Encoders round.
_TOLERANCE_SECONDS = Fraction(1, 2)
#: Playlists may declare whole seconds: each segment of some seconds is then rounded.
_ROUNDED_TOLERANCE = Fraction(1, 20)

#: Matroska's tag: hours, minutes, seconds and their fraction, counted from the container's 0.
_DURATION_TAG = re.compile(r"^(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_SECONDS_PER_MINUTE = 60
_MICROSECONDS = 1_000_000


def judge_stream(
    report: DamageReport, stream: Any, format_name: str, last: tuple[int, int] | None, packet_count: int | None
) -> None:
    """
    Note in the report when a stream that was read to its end stops short of what its container declares.

    Not for a source whose bytes are all there: lengths in seconds may be anything.

    Args:
        report: Where to note it.
        stream: PyAV's stream.
        format_name: The container's format.
        last: When the packet that ends last ends, and how long it is, in ticks; ``None`` when there was none.
        packet_count: How many were read; ``None`` when the stream was not read from its beginning.
    """
    expected, time_base = declared_end(stream, format_name), exact(stream.time_base)
    if expected is None or time_base is None:
        return
    end, packet_length = (ticks * time_base for ticks in last or (0, 0))
    tolerance = 0 if format_name in _COUNTED_FORMATS else _TOLERANCE_SECONDS
    if expected - end <= tolerance + 2 * packet_length:
        return
    # Uncompressed audio counts samples here.
    is_counted = stream.frames and not (stream.codec_context and stream.codec_context.name.startswith("pcm_"))
    if is_counted and packet_count is not None:
        if packet_count >= stream.frames:
            return
        report.missing_packets += stream.frames - packet_count
    report.early_end = f"stream {stream.index} stops at {float(end):.2f} s of {float(expected):.2f} s"


def declared_end(stream: Any, format_name: str) -> Fraction | None:
    """When a stream ends by its container's header, in seconds of its time stamps; ``None`` when that is not said."""
    formats = set(format_name.split(","))
    time_base = exact(stream.time_base)
    if not formats & (_TIMED_FORMATS | _COUNTED_FORMATS) or time_base is None or is_attached_picture(stream):
        return None
    tag = _DURATION_TAG.match(plain_tags(stream.metadata).get("DURATION", ""))
    if tag is not None:
        hours, minutes, seconds = tag.groups()
        end = (int(hours) * _SECONDS_PER_MINUTE + int(minutes)) * _SECONDS_PER_MINUTE + Fraction(seconds)
        length = stream.container.duration
        # Tools that copy a stream copy the tag with it, whatever part of the stream they took.
        return None if length is None or end > Fraction(length, _MICROSECONDS) + _TOLERANCE_SECONDS else end
    # Without the tag Matroska has only the length of the whole, which FFmpeg shows as that of each stream: it is true
    # of the only one. Of an MP4 in fragments, whose packets nobody counted, FFmpeg knows those that it has seen.
    is_derived = ("matroska" in formats and not _is_only_stream(stream)) or ("mov" in formats and not stream.frames)
    if not stream.duration or is_derived:
        return None
    start = stream.start_time or 0
    # The empty beginning of an MP4's edit list belongs to its length.
    begin = 0 if "mov" in formats and stream.duration > start else start
    return Fraction((begin + stream.duration) * time_base)


def judge_size(report: DamageReport, size: SourceSize) -> None:
    """Note in the report when a source is shorter than its headers declare, unless a stream has shown that already."""
    if report.early_end is None and size.is_cut:
        report.early_end = f"it has {size.there} bytes, and its headers declare {size.declared} at least"


def judge_course(report: DamageReport, declared_seconds: float | None, read_seconds: Fraction | None) -> None:
    """
    Note in the report when a playlist declares more than its segments gave.

    Args:
        report: Where to note it.
        declared_seconds: How long the playlist is: the sum of its segments. ``None`` when it is not at its end.
        read_seconds: How long the longest stream is, without the gaps in it. ``None`` when only others were read.
    """
    if declared_seconds is None or read_seconds is None:
        return
    is_rounded = declared_seconds == int(declared_seconds)
    tolerance = max(_TOLERANCE_SECONDS, _ROUNDED_TOLERANCE * int(declared_seconds) if is_rounded else Fraction(0))
    if Fraction(declared_seconds) - read_seconds > tolerance:
        report.early_end = f"its segments hold {float(read_seconds):.2f} s of {declared_seconds:.2f} s"


def _is_only_stream(stream: Any) -> bool:
    return sum(not is_attached_picture(other) for other in stream.container.streams) == 1

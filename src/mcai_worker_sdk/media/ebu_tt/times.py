"""Time expressions of TTML: clock times, offsets, their seconds and their time codes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from mcai_worker_sdk.errors import MediaSourceError

__all__ = ["ClockTime", "Frames", "OffsetTime", "TimeExpression", "TimeUnit"]

TimeUnit = Literal["h", "m", "s", "ms", "f", "t"]

#: Frames per second where the document gives no ``ttp:frameRate``. Source: W3C TTML 1, section 6.2.4.
DEFAULT_FRAME_RATE = Fraction(30)

_MAX_TEXT = 64
_CLOCK = re.compile(r"(\d{2,8}):([0-5]\d):([0-5]\d|60)(?:\.(\d+)|:(\d{2,6})(?:\.(\d+))?)?", re.ASCII)
_OFFSET = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|f|t)", re.ASCII)
_SECONDS = {"h": Fraction(3600), "m": Fraction(60), "s": Fraction(1), "ms": Fraction(1, 1000)}


@dataclass(frozen=True, slots=True)
class Frames:
    """What follows the seconds of a clock time."""

    value: int = 0
    """Frames, or milliseconds when ``sub_frames`` is true."""
    sub_frames: bool = False
    """True for a fraction of a second (``00:00:01.500``), false for frames (``00:00:01:12``)."""
    sub_frame_count: int = 0
    """Sub-frames after the frames (``00:00:01:12.1``); ``ttp:subFrameRate`` of them make a frame."""
    rest_seconds: Fraction = Fraction(0)
    """What a fraction of a second has beyond whole milliseconds (``00:00:01.0416667``)."""

    def seconds(self, frame_rate: Fraction, sub_frame_rate: int) -> Fraction:
        """The rest of the second."""
        if self.sub_frames:
            return Fraction(self.value, 1000) + self.rest_seconds
        return (self.value + Fraction(self.sub_frame_count, sub_frame_rate)) / frame_rate


@dataclass(frozen=True, slots=True)
class ClockTime:
    """Hours, minutes, seconds, and frames or a fraction."""

    hours: int
    """Hours; may be above 23."""
    minutes: int
    """0 to 59."""
    seconds: int
    """0 to 59; 60 in a leap second."""
    frames: Frames = Frames()
    """The rest of the second."""


@dataclass(frozen=True, slots=True)
class OffsetTime:
    """A number with a unit."""

    offset: float
    """How many units."""
    unit: TimeUnit
    """``h``, ``m``, ``s``, ``ms``, ``f`` (frames) or ``t`` (ticks)."""


@dataclass(frozen=True, slots=True)
class TimeExpression:
    """A point in time or a duration: exactly one of the two fields is set."""

    clock_time: ClockTime | None = None
    """Set for ``00:00:01.500`` and ``00:00:01:12``."""
    offset_time: OffsetTime | None = None
    """Set for ``1.5s``, ``36f`` and the like."""

    def __post_init__(self) -> None:
        if (self.clock_time is None) == (self.offset_time is None):
            raise ValueError("A TimeExpression has both or neither of its times; expected one. Give one of the two.")

    @classmethod
    def parse(cls, text: str) -> TimeExpression:
        """
        Read ``HH:MM:SS``, ``HH:MM:SS.fff``, ``HH:MM:SS:FF``, ``HH:MM:SS:FF.S`` or a number with a unit.

        Raises:
            MediaSourceError: The text is no time expression.
        """
        stripped = text.strip()[:_MAX_TEXT]
        if clock := _CLOCK.fullmatch(stripped):
            hours, minutes, seconds, fraction, frames, sub_frames = clock.groups()
            rest = Frames(int(frames or 0), sub_frame_count=int(sub_frames or 0))
            if fraction is not None:
                ms = int(fraction[:3].ljust(3, "0"))
                rest = Frames(ms, sub_frames=True, rest_seconds=Fraction(f"0.{fraction}") - Fraction(ms, 1000))
            return cls(clock_time=ClockTime(int(hours), int(minutes), int(seconds), rest))
        if offset := _OFFSET.fullmatch(stripped):
            unit: TimeUnit = offset.group(2)  # type: ignore[assignment]  # the pattern allows nothing else
            return cls(offset_time=OffsetTime(float(offset.group(1)), unit))
        raise MediaSourceError(
            f"The time expression is {stripped!r}; expected HH:MM:SS, HH:MM:SS.fff, HH:MM:SS:FF or a number with h, m, "
            "s, ms, f or t. Correct the document."
        )

    def to_seconds(
        self,
        *,
        frame_rate: Fraction | None = None,
        tick_rate: Fraction | None = None,
        sub_frame_rate: int = 1,
    ) -> float:
        """
        The time in seconds.

        Args:
            frame_rate: Frames per second; 30 when ``None``.
            tick_rate: Ticks per second; 1 when ``None``.
            sub_frame_rate: Sub-frames of a frame.
        """
        return float(self._exact_seconds(frame_rate or DEFAULT_FRAME_RATE, tick_rate or Fraction(1), sub_frame_rate))

    def to_time_code(self, frame_rate: Fraction | int = DEFAULT_FRAME_RATE) -> str:
        """The time as ``HH:MM:SS:FF`` without dropped frames, at ``frame_rate`` frames per second."""
        rate = Fraction(frame_rate)
        seconds = self._exact_seconds(rate, Fraction(1), 1)
        whole = int(seconds)
        frames = int((seconds - whole) * rate)
        return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}:{frames:02}"

    def __str__(self) -> str:
        if self.offset_time is not None:
            number = format(Decimal(str(self.offset_time.offset)), "f")
            return f"{number.removesuffix('.0')}{self.offset_time.unit}"
        clock = self.clock_time
        assert clock is not None
        text = f"{clock.hours:02}:{clock.minutes:02}:{clock.seconds:02}"
        frames = clock.frames
        if frames.sub_frames:
            return f"{text}.{frames.value:03}{_digits_behind(frames.rest_seconds)}"
        if frames.sub_frame_count:
            return f"{text}:{frames.value:02}.{frames.sub_frame_count}"
        return f"{text}:{frames.value:02}" if frames.value else text

    def _exact_seconds(self, frame_rate: Fraction, tick_rate: Fraction, sub_frame_rate: int) -> Fraction:
        if self.offset_time is not None:
            number = Fraction(str(self.offset_time.offset))
            unit = self.offset_time.unit
            if unit == "f":
                return number / frame_rate
            return number / tick_rate if unit == "t" else number * _SECONDS[unit]
        clock = self.clock_time
        assert clock is not None
        return (
            clock.hours * 3600 + clock.minutes * 60 + clock.seconds + clock.frames.seconds(frame_rate, sub_frame_rate)
        )


def _digits_behind(rest_seconds: Fraction) -> str:
    """The decimals of a fraction of a second behind its milliseconds."""
    digits = ""
    rest = rest_seconds * 1000
    while rest and len(digits) < _MAX_TEXT:
        digit = int(rest * 10)
        digits += str(digit)
        rest = rest * 10 - digit
    return digits

"""How a document counts time: from its time expressions to seconds."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from mcai_worker_sdk.media.ebu_tt.model import EbuTtDocument
from mcai_worker_sdk.media.ebu_tt.names import TTP
from mcai_worker_sdk.media.ebu_tt.times import DEFAULT_FRAME_RATE, ClockTime, TimeExpression

__all__ = ["DocumentClock", "counted_rate"]

_DROP_MODE = f"{{{TTP}}}dropMode"
_MULTIPLIER = f"{{{TTP}}}frameRateMultiplier"
_SUB_FRAME_RATE = f"{{{TTP}}}subFrameRate"
_LEAP_SECOND = 60


class DocumentClock:
    """
    The seconds of a document's time expressions.

    Source: W3C TTML 2, sections 7.2 (parameters), 12.3.1 (time expressions) and appendix I (their semantics).
    """

    def __init__(self, document: EbuTtDocument) -> None:
        attributes = document.attributes
        self._sub_frame_rate = _number(attributes.get(_SUB_FRAME_RATE, "")) or 1
        self._frame_rate = document.frame_rate or DEFAULT_FRAME_RATE * _multiplier(attributes.get(_MULTIPLIER, ""))
        self._tick_rate = document.tick_rate or (
            Fraction(1) if document.frame_rate is None else document.frame_rate * self._sub_frame_rate
        )
        self._counts_frames = document.time_base == "smpte"
        self._counted_rate = document.time_code_rate or counted_rate(self._frame_rate)
        self._drop_mode = attributes.get(_DROP_MODE)
        self._has_leap_seconds = document.time_base == "clock" and document.clock_mode in {None, "local", "utc"}

    def seconds(self, expression: TimeExpression) -> float:
        """The seconds of one time expression."""
        clock = expression.clock_time
        if clock is not None and clock.seconds == _LEAP_SECOND and not self._has_leap_seconds:
            expression = TimeExpression(clock_time=replace(clock, seconds=_LEAP_SECOND - 1))
        if self._counts_frames and expression.clock_time is not None:
            return float(self._time_code_seconds(expression.clock_time))
        return expression.to_seconds(
            frame_rate=self._frame_rate, tick_rate=self._tick_rate, sub_frame_rate=self._sub_frame_rate
        )

    def _time_code_seconds(self, time: ClockTime) -> Fraction:
        """A time code names a frame: its seconds are those of all frames before it."""
        seconds = Fraction(time.hours * 3600 + time.minutes * 60 + time.seconds)
        frames = time.frames.seconds(Fraction(1), self._sub_frame_rate)
        if time.frames.sub_frames:
            frames *= self._counted_rate
        return (seconds * self._counted_rate + frames - self._dropped_codes(time)) / self._frame_rate

    def _dropped_codes(self, time: ClockTime) -> int:
        """How many codes before this one stand for no frame."""
        if self._drop_mode == "dropNTSC":
            # Two in every minute but each tenth.
            return 2 * (54 * time.hours + time.minutes - time.minutes // 10)
        if self._drop_mode == "dropPAL":
            # Four in every second minute but each twentieth.
            return 4 * (27 * time.hours + time.minutes // 2 - time.minutes // 20)
        return 0


def counted_rate(frame_rate: Fraction) -> int:
    """Frames a second that time codes count, where a document does not say: 30 for 29.97."""
    return max(1, round(frame_rate))


def _number(text: str) -> int:
    return int(text) if text.strip().isdecimal() else 0


def _multiplier(text: str) -> Fraction:
    """A ``ttp:frameRateMultiplier`` that stands without a ``ttp:frameRate``."""
    numerator, _, denominator = text.replace(":", " ").partition(" ")
    return Fraction(_number(numerator) or 1, _number(denominator) or 1)

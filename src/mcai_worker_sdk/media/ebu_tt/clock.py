"""How a document counts time: from its time expressions to seconds."""

from __future__ import annotations

from fractions import Fraction

from mcai_worker_sdk.media.ebu_tt.model import EbuTtDocument
from mcai_worker_sdk.media.ebu_tt.names import TTP
from mcai_worker_sdk.media.ebu_tt.times import DEFAULT_FRAME_RATE, ClockTime, TimeExpression

__all__ = ["DocumentClock", "counted_rate"]

_DROP_MODE = f"{{{TTP}}}dropMode"
_SUB_FRAME_RATE = f"{{{TTP}}}subFrameRate"


class DocumentClock:
    """
    The seconds of a document's time expressions.

    Source: W3C TTML 1, sections 6.2 (parameters) and appendix N (time expression semantics).
    """

    def __init__(self, document: EbuTtDocument) -> None:
        self._frame_rate = document.frame_rate or DEFAULT_FRAME_RATE
        self._tick_rate = document.tick_rate or _default_tick_rate(document)
        self._counts_frames = document.time_base == "smpte"
        self._counted_rate = document.time_code_rate or counted_rate(self._frame_rate)
        self._drop_mode = document.attributes.get(_DROP_MODE)

    def seconds(self, expression: TimeExpression) -> float:
        """The seconds of one time expression."""
        if self._counts_frames and expression.clock_time is not None:
            return float(self._time_code_seconds(expression.clock_time))
        return expression.to_seconds(frame_rate=self._frame_rate, tick_rate=self._tick_rate)

    def _time_code_seconds(self, time: ClockTime) -> Fraction:
        """A time code names a frame: its seconds are those of all frames before it."""
        seconds = Fraction(time.hours * 3600 + time.minutes * 60 + time.seconds)
        frames = Fraction(time.frames.value)
        if time.frames.sub_frames:
            frames = frames * self._counted_rate / 1000
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


def _default_tick_rate(document: EbuTtDocument) -> Fraction:
    if document.frame_rate is None:
        return Fraction(1)
    sub_frames = document.attributes.get(_SUB_FRAME_RATE, "1").strip()
    return document.frame_rate * ((int(sub_frames) if sub_frames.isdecimal() else 1) or 1)

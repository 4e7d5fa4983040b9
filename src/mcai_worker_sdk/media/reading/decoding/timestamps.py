"""Time stamps for frames that come without one, or with one that cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from mcai_worker_sdk.media.pyav import exact

__all__ = ["AudioTimes", "VideoTimes"]

#: Containers that store in which order pictures are decoded, not when they are shown: FFmpeg guesses that from the
#: packets, and guesses wrong where pictures are reordered.
_UNTIMED_FORMATS = frozenset({"avi"})

#: A pts that runs backward is wrong alone when none of so many pictures before it was; else the stream's are.
_LONE_WITHIN_PICTURES = 32


@dataclass(frozen=True, slots=True)
class _Stamps:
    """What a picture was stored with."""

    pts: int
    lead: int | None
    """How far the pts is ahead of the dts: as good as constant in a stream. ``None`` when one of them is missing."""


class VideoTimes:
    """
    Give pictures the time stamps that ``ffmpeg`` goes by.

    Two are known of a picture: the one it was stored with (pts), and when the packet that completed it was to be
    decoded (dts), which rises evenly because pictures leave a decoder in the order they are shown in. As long as the
    first has not run backward more often than the second, it is kept. Otherwise the second counts, and where there is
    none either (raw H.264, the last pictures of an AVI), a picture follows the one before by the stream's frame rate.

    A single pts that is wrong, such as one with a flipped bit, says nothing about the others, which keep theirs.
    """

    def __init__(self, stream: Any) -> None:
        """
        Args:
            stream: PyAV's video stream.
        """
        is_untimed = stream.container.format.name in _UNTIMED_FORMATS and stream.codec_context.has_b_frames
        self._pts_faults = int(is_untimed)
        self._dts_faults = 0
        # The last two pictures in order: what runs backward from the last may go on from the one before.
        self._last: _Stamps | None = None
        self._before: _Stamps | None = None
        self._last_dts: int | None = None
        self._last_time: Fraction | int | None = None
        # Pictures since one that was wrong alone.
        self._since_wrong = _LONE_WITHIN_PICTURES
        rate, time_base = exact(stream.guessed_rate), exact(stream.time_base)
        self._picture_ticks = 1 / (rate * time_base) if rate and time_base else Fraction(1)

    def stamp(self, frames: Sequence[Any]) -> None:
        """Mend the time stamps of the next pictures of the stream, in the order the decoder gives them."""
        for frame in frames:
            pts, dts = frame.pts, frame.dts
            is_backward = dts is not None and self._last_dts is not None and dts <= self._last_dts
            counts = self._judge(pts, dts, is_dts_backward=is_backward)
            if pts is not None and counts:
                self._last_time = pts
            else:
                self._last_time = self._estimate(pts, None if is_backward else dts)
                frame.pts = round(self._last_time)
            if dts is not None or pts is not None:
                self._last_dts = pts if dts is None else dts

    def _judge(self, pts: int | None, dts: int | None, *, is_dts_backward: bool) -> bool:
        """Count what runs backward; return whether the pts of this picture counts."""
        self._since_wrong += 1
        if pts is None:
            self._dts_faults += is_dts_backward
            if dts is not None:
                self._take(_Stamps(dts, None))
            return False
        stamps = _Stamps(pts, None if dts is None else pts - dts)
        if self._last is None or pts > self._last.pts:
            self._dts_faults += is_dts_backward
            self._take(stamps)
        elif is_dts_backward:
            # A pts and a dts that run backward at once: the source starts anew.
            self._last, self._before = stamps, None
        elif self._goes_on_from_before(stamps):
            self._since_wrong = 0
            self._last = stamps
        elif dts is not None and self._since_wrong > _LONE_WITHIN_PICTURES:
            self._since_wrong = 0
            return False
        else:
            self._since_wrong = 0
            self._pts_faults += 1
            self._take(stamps)
        return self._pts_faults <= self._dts_faults

    def _take(self, stamps: _Stamps) -> None:
        self._last, self._before = stamps, self._last

    def _goes_on_from_before(self, stamps: _Stamps) -> bool:
        """True when only the last picture's pts stands against this one's: the last was wrong alone."""
        before, last = self._before, self._last
        if before is None and last is not None and last.lead is not None and stamps.lead is not None:
            # The very first picture.
            return abs(stamps.lead) < abs(last.lead)
        if before is None or before.lead is None or stamps.lead is None or stamps.pts <= before.pts:
            return False
        change = abs(stamps.lead - before.lead)
        if change < self._picture_ticks / 2:
            return True
        # The dts of Matroska are FFmpeg's guess by the pts: one wrong pts moves all that follow by a picture.
        was_last_worse = last is not None and last.lead is not None and change < abs(last.lead - before.lead)
        return was_last_worse and self._since_wrong > _LONE_WITHIN_PICTURES

    def _estimate(self, pts: int | None, dts: int | None) -> Fraction | int:
        if dts is not None:
            return dts
        if pts is not None and (self._last_time is None or pts > self._last_time):
            return pts
        # Not rounded, so that a row of them keeps the rate.
        return 0 if self._last_time is None else self._last_time + self._picture_ticks


class AudioTimes:
    """Let sound without a time stamp follow on the sound before it: the second frame of a packet has none."""

    def __init__(self, stream: Any) -> None:
        """
        Args:
            stream: PyAV's audio stream.
        """
        self.last: Any = None
        """The frame before the next; set by whoever sees that frames need no mending."""
        self._time_base = exact(stream.time_base)
        self._last_mended: Any = None
        self._mended_end = Fraction(0)

    def stamp(self, frames: Sequence[Any]) -> None:
        """Mend the time stamps of the next frames of the stream."""
        for frame in frames:
            if frame.pts is None:
                self._mend(frame)
            self.last = frame

    def _mend(self, frame: Any) -> None:
        last = self.last
        if last is None:
            start = Fraction(frame.dts or 0)
        elif last is self._last_mended:
            start = self._mended_end
        else:
            start = last.pts + self._ticks(last)
        frame.pts = round(start)
        self._last_mended = frame
        # Not rounded, so that a row of them keeps the rate.
        self._mended_end = start + self._ticks(frame)

    def _ticks(self, frame: Any) -> Fraction:
        return Fraction(frame.samples, frame.sample_rate) / self._time_base if self._time_base else Fraction(0)

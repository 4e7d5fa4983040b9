"""Time stamps for frames that come without one, or with one that cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from mcai_worker_sdk.media.pyav import exact

__all__ = ["AudioTimes", "VideoTimes"]

#: Containers that store in which order pictures are decoded, not when they are shown: FFmpeg guesses that from the
#: packets, and guesses wrong where pictures are reordered.
_UNTIMED_FORMATS = frozenset({"avi"})


class VideoTimes:
    """
    Give pictures the time stamps that ``ffmpeg`` goes by.

    Two are known of a picture: the one it was stored with (pts), and when the packet that completed it was to be
    decoded (dts), which rises evenly because pictures leave a decoder in the order they are shown in. As long as the
    first has not run backward more often than the second, it is kept. Otherwise the second counts, and where there is
    none either (raw H.264, the last pictures of an AVI), a picture follows the one before by the stream's frame rate.
    """

    def __init__(self, stream: Any) -> None:
        """
        Args:
            stream: PyAV's video stream.
        """
        is_untimed = stream.container.format.name in _UNTIMED_FORMATS and stream.codec_context.has_b_frames
        self._pts_faults = int(is_untimed)
        self._dts_faults = 0
        self._last_pts: int | None = None
        self._last_dts: int | None = None
        self._last_time: Fraction | int | None = None
        rate, time_base = exact(stream.guessed_rate), exact(stream.time_base)
        self._picture_ticks = 1 / (rate * time_base) if rate and time_base else Fraction(1)

    def stamp(self, frames: Sequence[Any]) -> None:
        """Mend the time stamps of the next pictures of the stream, in the order the decoder gives them."""
        for frame in frames:
            pts, dts = frame.pts, frame.dts
            self._count_faults(pts, dts)
            if pts is not None and self._pts_faults <= self._dts_faults:
                self._last_time = pts
            else:
                self._last_time = self._estimate(pts if dts is None else dts)
                frame.pts = round(self._last_time)

    def _count_faults(self, pts: int | None, dts: int | None) -> None:
        seen_pts = dts if pts is None else pts
        seen_dts = pts if dts is None else dts
        if pts is not None and self._last_pts is not None and pts <= self._last_pts:
            self._pts_faults += 1
        if dts is not None and self._last_dts is not None and dts <= self._last_dts:
            self._dts_faults += 1
        if seen_pts is not None:
            self._last_pts, self._last_dts = seen_pts, seen_dts

    def _estimate(self, given: int | None) -> Fraction | int:
        if given is not None and (self._last_time is None or given > self._last_time):
            return given
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

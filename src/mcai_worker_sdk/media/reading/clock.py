"""
The clock behind a source's time stamps: where it wraps, where it jumps, and which stamp is just wrong.

A transport stream counts time in 33 bits, which are used up after 26.5 hours, and starts anew where its sender does.
Frames keep the time stamps of the source, unwrapped. Two things need more. A range is taken by the time that counts on
over a jump, as ``ffmpeg`` counts it. Filters that go by time begin anew behind a jump.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

from mcai_worker_sdk.media.cover_art import is_attached_picture
from mcai_worker_sdk.media.pyav import exact

__all__ = ["FrameClock", "SourceClock", "is_in_course", "may_jump"]

#: How far a time stamp may lie ahead of the one before it, in seconds. Beyond that the clock jumped. ffmpeg's own.
_LEAP_SECONDS = 10
#: How far a time stamp may lie behind the one before it, in seconds. ffmpeg's own limit.
_BACK_SECONDS = Fraction(1, 10)
#: Beyond which distance between two packets something may be missing, in seconds.
_GAP_SECONDS = 1
#: How many times as long as another a step may be and still belong to one rhythm, such as a picture a minute.
_RHYTHM = 2

#: Time stamps of these formats have 33 bits of 90 kHz. Their demuxers undo the first wrap and none after it.
_WRAPPING_FORMATS = frozenset({"mpegts", "mpeg", "hls"})
_WRAPPING_TIME_BASE = Fraction(1, 90_000)
_WRAP_TICKS = 2**33

#: ``AVFMT_TS_DISCONT``: the demuxer says that the clock of its format may jump.
_TS_DISCONT = 0x0200


def may_jump(container: Any, *, is_live: bool) -> bool:
    """
    True when a gap in the time stamps of an opened container may be a jump of its clock.

    FFmpeg knows which formats are cut and joined in mid-stream; live sources start anew in all of them.
    """
    container_format = getattr(container, "format", None)
    return is_live or (container_format is not None and bool(container_format.flags & _TS_DISCONT))


def is_in_course(stream: Any) -> bool:
    """True for sound and moving pictures, whose packets follow each other; all others may pause for long."""
    return stream.type in {"video", "audio"} and not is_attached_picture(stream)


@dataclass(slots=True)
class _Steps:
    """How far a time stamp may lie from the one before it, in ticks."""

    low: int
    """Nothing that goes on lies further behind."""
    near: int
    """Nothing that is out of the ordinary lies nearer ahead."""
    gap: int
    """Nothing that is near lies further ahead."""
    high: int
    """Nothing that goes on lies further ahead."""

    @classmethod
    def of(cls, stream: Any, time_base: Fraction) -> _Steps:
        rate = exact(stream.guessed_rate) if stream.type == "video" else None
        rhythm = _RHYTHM / rate if rate else Fraction(0)
        limits = -_BACK_SECONDS, _BACK_SECONDS + rhythm, _GAP_SECONDS + rhythm, _LEAP_SECONDS + rhythm
        return cls(*(int(seconds / time_base) for seconds in limits))

    def hold(self, step: int) -> bool:
        return self.low <= step <= self.high

    def is_nearer(self, step: int, other: int) -> bool:
        """Whether the first of two steps is the more likely one."""
        return self.hold(step) and not (self.hold(other) and other <= step)

    def take_rhythm(self, first: int, second: int) -> bool:
        """Whether two long steps in a row are about as long as each other: then such steps are the rule."""
        if first <= self.high or not first <= _RHYTHM * second <= _RHYTHM * _RHYTHM * first:
            return False
        self.high += _RHYTHM * max(first, second)
        return True


@dataclass(slots=True)
class _Track:
    """The clock of one stream, in its ticks."""

    steps: _Steps
    time_base: Fraction
    is_sparse: bool
    """The stream may pause for as long as it likes."""
    wraps: bool
    last: int | None = None
    """When the last packet was to be decoded, unwrapped."""
    unwrapping: int = 0
    """What unwrapping adds."""
    offset: int = 0
    """What has to be added then to count on over jumps."""
    leader_last: int = 0
    """Where the leading stream was at the last packet of this one."""
    leap: int = 0
    """The last step when it was taken for a jump forward, else 0."""
    course: int = 0
    """How long it is so far, in ticks, without the gaps in it."""
    before: int | None = None
    """Where the stream was before its last packet."""
    place_before: tuple[int, int] | None = None
    """``unwrapping`` and ``offset`` before the last packet when it leapt, else ``None``."""


class SourceClock:
    """
    Follow the time stamps of a source whose clock may jump, packet by packet. Used by the reading thread.

    The stream that shows a jump first tells its distance; the others are known by the same. A stream that only paused,
    as the clock of another stream shows, did not jump.
    """

    def __init__(self, container: Any, streams: Iterable[Any]) -> None:
        """
        Args:
            container: PyAV's container.
            streams: Its streams whose packets will be followed.
        """
        wraps = container.format.name in _WRAPPING_FORMATS
        start = container.start_time
        self._start_seconds = None if start is None else Fraction(start, av.time_base)
        self._tracks = {
            stream.index: _track(stream, time_base, wraps=wraps)
            for stream in streams
            if (time_base := exact(stream.time_base)) is not None
        }
        # The first stream with regular packets: it tells how much time passed while another paused.
        self._leader: _Track | None = None
        # From the source's time to the time that counts on, in seconds: as it is now, and as it was before.
        self._offsets = [Fraction(0), Fraction(0)]

    @property
    def now_seconds(self) -> Fraction | None:
        """How far sound and pictures were read, counted on over jumps; ``None`` where even their start is unknown."""
        return max(self._reached(), default=self._start_seconds)

    @property
    def course_seconds(self) -> Fraction | None:
        """How long the longest stream of sound or pictures is so far, without the gaps in it; ``None`` without one."""
        dense = (track for track in self._tracks.values() if not track.is_sparse)
        return max((track.course * track.time_base for track in dense), default=None)

    def offset(self, stream_index: int) -> int:
        """
        What has to be added to the time stamps of a stream's last packet to count on over the jumps of the clock.

        In ticks of the stream.
        """
        return self._tracks[stream_index].offset if stream_index in self._tracks else 0

    def follow(self, packet: Any) -> None:
        """Unwrap the time stamps of the next packet of the source."""
        track = self._tracks.get(packet.stream_index)
        time = packet.pts if packet.dts is None else packet.dts
        if track is None or time is None:
            return
        time += track.unwrapping
        if track.last is None or track.place_before is not None or not track.steps.hold(time - track.last):
            time = self._place(track, time - track.unwrapping, packet.duration or 0)
        step = 0 if track.last is None else time - track.last
        # Behind a gap only the packet itself counts: what should have been in it may be missing.
        track.course += step if 0 < step <= track.steps.gap else packet.duration or 0
        if track.unwrapping:
            _shift(packet, track.unwrapping)
        track.before, track.last = track.last, time
        if not track.is_sparse:
            self._leader = self._leader or track
        if self._leader is not None and self._leader.last is not None:
            track.leader_last = self._leader.last

    def _place(self, track: _Track, stored: int, duration: int) -> int:
        """Undo a wrap, then follow a jump; return the unwrapped time of a packet by the one it was stored with."""
        time = stored + self._unwrapping(track, stored)
        if track.is_sparse:
            track.offset = self._nearest_offset(track, time)
        elif track.last is None:
            track.offset = _ticks(self._offsets[0], track)
        elif track.before is not None and self._returns(track, track.before, track.last, stored):
            track.place_before, track.leap = None, 0
            return stored + track.unwrapping
        elif track.before is None or track.steps.hold(time - track.last):
            # Of two packets that do not fit, the very first is the wrong one.
            track.place_before, track.leap = None, 0
        else:
            track.place_before = track.unwrapping, track.offset
            self._jump(track, track.last, time, duration)
        track.unwrapping = time - stored
        return time

    def _unwrapping(self, track: _Track, stored: int) -> int:
        """What has to be added to a time to come nearest to where the stream is expected."""
        expected, leader = track.last, self._leader
        if leader is not None and leader.last is not None:
            if track.last is not None:
                expected = track.last + leader.last - track.leader_last
            elif leader.unwrapping:
                # The clock of another program may show any time. Only a leader that wrapped shows that the first wrap,
                # the one that FFmpeg undoes, is past.
                expected = leader.last
        if not track.wraps or expected is None:
            return track.unwrapping
        return round(Fraction(expected - stored, _WRAP_TICKS)) * _WRAP_TICKS

    def _returns(self, track: _Track, before: int, last: int, stored: int) -> bool:
        """Whether a packet rather goes on from the one before the last: then the last alone was wrong."""
        unwrapping, offset = track.place_before or (track.unwrapping, track.offset)
        if track.wraps:
            unwrapping = round(Fraction(before - stored, _WRAP_TICKS)) * _WRAP_TICKS
        if not track.steps.is_nearer(stored + unwrapping - before, stored + track.unwrapping - last):
            return False
        track.unwrapping, track.offset = unwrapping, offset
        seconds = offset * track.time_base
        self._offsets = [seconds, *(other for other in self._offsets if other != seconds)][:2]
        return True

    def _nearest_offset(self, track: _Track, time: int) -> int:
        now = self.now_seconds
        if now is None:
            return track.offset
        nearest = min(self._offsets, key=lambda seconds: abs(time * track.time_base + seconds - now))
        return _ticks(nearest, track)

    def _jump(self, track: _Track, last: int, time: int, duration: int) -> None:
        for seconds in self._offsets:
            offset = _ticks(seconds, track)
            if track.steps.hold(time + offset - (last + track.offset)):
                # Another stream jumped there before.
                track.offset = offset
                return
        if self._has_paused(track, time):
            return
        step = time - last
        if track.leap and track.steps.take_rhythm(track.leap, step):
            track.offset = _ticks(self._offsets[-1], track)
            self._offsets.reverse()
            return
        track.leap = max(step, 0)
        track.offset += last + duration - time
        self._offsets = [track.offset * track.time_base, self._offsets[0]]

    def _has_paused(self, track: _Track, time: int) -> bool:
        seconds = (time + track.offset) * track.time_base
        return any(abs(seconds - other) <= _LEAP_SECONDS for other in self._reached(but=track))

    def _reached(self, but: _Track | None = None) -> Iterator[Fraction]:
        """How far each stream of sound or pictures was read, in seconds, counted on over jumps."""
        for track in self._tracks.values():
            if track.last is not None and not track.is_sparse and track is not but:
                yield (track.last + track.offset) * track.time_base


class FrameClock:
    """
    Tell a jump of the clock from one wrong time stamp, frame by frame, in front of filters that go by time.

    A frame whose time stamp leaps is held back until the next shows which it is. One thread at a time.
    """

    def __init__(self, stream: Any, *, may_jump: bool) -> None:
        """
        Args:
            stream: PyAV's audio or video stream.
            may_jump: A gap in its time stamps may be a jump of its clock.
        """
        self._may_jump = may_jump
        time_base = exact(stream.time_base)
        # FFmpeg gives each stream of sound or pictures one.
        assert time_base is not None
        self._steps = _Steps.of(stream, time_base)
        #: A frame that lies no further ahead is passed on at once.
        self._near = self._steps.near
        self._last: int | None = None
        self._before: int | None = None
        self._held: Any = None

    def follow(self, frames: Sequence[Any], start: int) -> int:
        """
        Take frames that plainly follow each other.

        Args:
            frames: Frames of the stream, in order.
            start: Index of the first that was not taken yet.

        Returns:
            Index of the first that does not plainly follow; the frames before it count as taken.
        """
        last, before = self._last, self._before
        if last is None or self._held is not None:
            return start
        low, near = self._steps.low, self._near
        position = start
        for position in range(start, len(frames)):
            pts = frames[position].pts
            if pts is None or not low <= pts - last <= near:
                break
            before, last = last, pts
        else:
            position = len(frames)
        self._before, self._last = before, last
        return position

    def settle(self, frame: Any) -> list[tuple[Any, bool]]:
        """
        Take a frame that does not plainly follow.

        Returns:
            The frames that are settled now, in order, each with whether the clock jumped before it.
        """
        pts, held, last = frame.pts, self._held, self._last
        if pts is None:
            return [*self.release(), (frame, False)]
        if last is None or (held is None and pts < last and self._goes_on_from_before(pts)):
            self._last = pts
            return [(frame, False)]
        if held is None:
            self._held = frame
            return []
        if self._steps.is_nearer(pts - last, pts - held.pts):
            # The held frame alone is off, by a wrong time stamp. It belongs between its neighbours.
            held.pts = (last + pts) // 2
            self._held, self._before, self._last = None, held.pts, pts
            return [(held, False), (frame, False)]
        is_rhythm = self._steps.take_rhythm(held.pts - last, pts - held.pts)
        settled = self.release()
        if is_rhythm or self._steps.hold(pts - held.pts):
            self._near = max(self._near, min(pts - held.pts, self._steps.high))
            self._before, self._last = held.pts, pts
            return [*settled, (frame, False)]
        self._held = frame
        return settled

    def _goes_on_from_before(self, pts: int) -> bool:
        return self._before is not None and self._steps.hold(pts - self._before)

    def release(self) -> list[tuple[Any, bool]]:
        """What is held back, when no further frame comes to show what it is."""
        held, self._held = self._held, None
        if held is None or self._last is None:
            return []
        jumped = self._is_jump(held.pts - self._last)
        self._before, self._last = self._last, held.pts
        return [(held, jumped)]

    def _is_jump(self, step: int) -> bool:
        return step < self._steps.low or (self._may_jump and step > self._steps.high)


def _track(stream: Any, time_base: Fraction, *, wraps: bool) -> _Track:
    wraps = wraps and time_base == _WRAPPING_TIME_BASE
    return _Track(_Steps.of(stream, time_base), time_base, not is_in_course(stream), wraps)


def _ticks(seconds: Fraction, track: _Track) -> int:
    return round(seconds / track.time_base)


def _shift(packet: Any, ticks: int) -> None:
    if packet.pts is not None:
        packet.pts += ticks
    if packet.dts is not None:
        packet.dts += ticks

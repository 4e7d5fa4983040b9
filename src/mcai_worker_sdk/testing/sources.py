"""Media files for tests, written by PyAV and the standard library: no ffmpeg command, nothing to download."""

from __future__ import annotations

import functools
import itertools
import math
import tempfile
import wave
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from mcai_worker_sdk.errors import MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    from av import AudioFrame
    from numpy.typing import NDArray

__all__ = ["synthetic_audio", "synthetic_subtitles", "synthetic_video"]

#: Background of one scene after the other, RGB. Neighbours differ by more than any threshold for cuts.
_SCENE_COLOURS = ((20, 60, 120), (210, 190, 60), (130, 30, 40), (60, 170, 90), (230, 230, 235), (70, 20, 110))
#: Full scale of 16-bit samples, and how loud the tones are.
_FULL_SCALE = 2**15 - 1
_AMPLITUDE = 0.5
_BITS_A_SECOND = 4_000_000
_SOUND_RATE_HZ = 48_000
#: Samples that one frame of AAC holds.
_SOUND_FRAME = 1024


def synthetic_video(
    path: Path | str | None = None,
    *,
    seconds: float = 2.0,
    cuts: Sequence[float] = (),
    width: int = 160,
    height: int = 90,
    fps: int = 25,
    tone_hz: float | None = None,
) -> Path:
    """
    Write a video (MPEG-4 in an MP4 file): a square that moves over a background, whose colour changes at each cut.

    Args:
        path: Where to; ``None`` for a file that lasts as long as the process. The same arguments give the same one.
        seconds: How long it is.
        cuts: When a new scene begins, in seconds.
        width: In pixels, even.
        height: In pixels, even.
        fps: Pictures a second.
        tone_hz: Pitch of a tone that goes with it (AAC, 48 kHz); ``None`` for a video without sound.

    Returns:
        The file.

    Raises:
        MissingExtraError: The extra ``media`` is not installed.
        ValueError: The size is odd, or the video has no picture.
    """
    if width % 2 or height % 2 or round(seconds * fps) < 1:
        raise ValueError(
            f"The video is {width}x{height} with {seconds} s at {fps} pictures a second; expected even sizes and at "
            "least one picture."
        )
    return _written(_Video(seconds, tuple(cuts), width, height, fps, tone_hz), path)


def synthetic_audio(
    path: Path | str | None = None,
    *,
    seconds: float = 2.0,
    tone_hz: float = 440.0,
    silences: Sequence[tuple[float, float]] = (),
    sample_rate_hz: int = 16_000,
    channels: int = 1,
) -> Path:
    """
    Write a sound (16-bit WAV): a tone at half of full scale, with silences in it.

    Args:
        path: Where to; ``None`` for a file that lasts as long as the process. The same arguments give the same one.
        seconds: How long it is.
        tone_hz: Its pitch.
        silences: Begin and end of each silence, in seconds.
        sample_rate_hz: Samples a second.
        channels: All of them have the same sound.

    Returns:
        The file.
    """
    return _written(_Sound(seconds, tone_hz, tuple(silences), sample_rate_hz, channels), path)


def synthetic_subtitles(
    path: Path | str | None = None,
    *,
    cues: Sequence[tuple[float, float, str]] = ((0.5, 1.0, "First line"), (1.2, 1.8, "Second line")),
) -> Path:
    """
    Write subtitles (SubRip).

    Args:
        path: Where to; ``None`` for a file that lasts as long as the process. The same arguments give the same one.
        cues: Begin and end in seconds, and the text.

    Returns:
        The file.
    """
    return _written(_Subtitles(tuple(cues)), path)


class _Source(Hashable, Protocol):
    """What a file is made of."""

    @property
    def suffix(self) -> str: ...

    def write(self, path: Path) -> None:
        """Write the file."""


def _written(source: _Source, path: Path | str | None) -> Path:
    if path is None:
        return _kept(source)
    source.write(Path(path))
    return Path(path)


@functools.cache
def _kept(source: _Source) -> Path:
    path = Path(_kept_folder().name) / f"{next(_numbers)}{source.suffix}"
    source.write(path)
    return path


@functools.cache
def _kept_folder() -> tempfile.TemporaryDirectory[str]:
    """Removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="mcai-testing-")


_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class _Video:
    seconds: float
    cuts: tuple[float, ...]
    width: int
    height: int
    fps: int
    tone_hz: float | None
    suffix: ClassVar[str] = ".mp4"

    def write(self, path: Path) -> None:
        """Encode picture by picture, then the sound."""
        try:
            import av
        except ImportError as error:
            raise MissingExtraError("A synthetic video", extra="media", missing="av") from error
        with av.open(str(path), "w", format="mp4") as container:
            stream = container.add_stream("mpeg4", rate=self.fps)
            stream.width, stream.height, stream.pix_fmt = self.width, self.height, "yuv420p"
            stream.bit_rate = _BITS_A_SECOND
            sound = self.tone_hz and container.add_stream("aac", rate=_SOUND_RATE_HZ, layout="mono")
            for number in range(round(self.seconds * self.fps)):
                picture = av.VideoFrame.from_ndarray(self._picture(number), format="rgb24")
                picture.pts, picture.time_base = number, Fraction(1, self.fps)
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
            if sound:
                for frame in self._sound_frames():
                    container.mux(sound.encode(frame))
                container.mux(sound.encode(None))

    def _picture(self, number: int) -> NDArray[np.uint8]:
        import numpy as np

        # A cut at a picture's own time begins with that picture, whatever the float says.
        scene = sum(number >= math.ceil(cut * self.fps - 1e-6) for cut in self.cuts)
        picture = np.empty((self.height, self.width, 3), np.uint8)
        picture[:] = _SCENE_COLOURS[scene % len(_SCENE_COLOURS)]
        side = max(2, self.height // 5)
        left = number * 2 % max(1, self.width - side)
        picture[self.height // 2 : self.height // 2 + side, left : left + side] = 255
        return picture

    def _sound_frames(self) -> Iterator[AudioFrame]:
        import av

        samples = _tone(self.seconds, self.tone_hz or 0.0, (), _SOUND_RATE_HZ)
        for start in range(0, len(samples), _SOUND_FRAME):
            block = samples[start : start + _SOUND_FRAME].reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = _SOUND_RATE_HZ, start, Fraction(1, _SOUND_RATE_HZ)
            yield frame


@dataclass(frozen=True, slots=True)
class _Sound:
    seconds: float
    tone_hz: float
    silences: tuple[tuple[float, float], ...]
    sample_rate_hz: int
    channels: int
    suffix: ClassVar[str] = ".wav"

    def write(self, path: Path) -> None:
        """Write the samples, the same on every channel."""
        samples = _tone(self.seconds, self.tone_hz, self.silences, self.sample_rate_hz)
        with wave.open(str(path), "wb") as file:
            file.setnchannels(self.channels)
            file.setsampwidth(2)
            file.setframerate(self.sample_rate_hz)
            file.writeframes(samples.repeat(self.channels).astype("<i2").tobytes())


@dataclass(frozen=True, slots=True)
class _Subtitles:
    cues: tuple[tuple[float, float, str], ...]
    suffix: ClassVar[str] = ".srt"

    def write(self, path: Path) -> None:
        """Write one block for each cue."""
        blocks = [
            f"{number}\n{_subrip_time(begin)} --> {_subrip_time(end)}\n{text}\n"
            for number, (begin, end, text) in enumerate(self.cues, 1)
        ]
        path.write_text("\n".join(blocks), encoding="utf-8")


def _tone(
    seconds: float, tone_hz: float, silences: Sequence[tuple[float, float]], sample_rate_hz: int
) -> NDArray[np.int16]:
    try:
        import numpy as np
    except ImportError as error:
        raise MissingExtraError("A synthetic sound", extra="media", missing="numpy") from error
    times = np.arange(round(seconds * sample_rate_hz)) / sample_rate_hz
    samples = _AMPLITUDE * _FULL_SCALE * np.sin(2 * np.pi * tone_hz * times)
    for begin, end in silences:
        samples[(times >= begin) & (times < end)] = 0
    return samples.astype(np.int16)


def _subrip_time(seconds: float) -> str:
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02},{milliseconds % 1000:03}"

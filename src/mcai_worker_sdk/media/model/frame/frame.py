"""One picture or one block of samples, as ``process_frames`` gets it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from mcai_worker_sdk.media.model.frame.arrays import (
    audio_array,
    audio_planes,
    channel_arrays,
    plane_array,
    video_planes,
)
from mcai_worker_sdk.media.model.frame.pixel_formats import pixel_format_number, sample_format_number
from mcai_worker_sdk.media.model.frame.plane_layout import plane_layouts
from mcai_worker_sdk.media.pyav import exact, rgb_image, sound_planes

if TYPE_CHECKING:
    import numpy as np
    from typing_extensions import CapsuleType

__all__ = ["Frame"]

#: ``data`` and ``line_size`` always have this many entries, as an ``AVFrame`` has.
PLANE_COUNT = 8

#: What ``data`` holds for a plane that is not there.
_EMPTY = memoryview(b"")

#: DLPack's number of the CPU, and of the first such device.
_DLPACK_CPU = (1, 0)


class Frame:
    """
    A decoded, filtered picture or block of audio samples.

    Frames own their memory: keep them after ``process_frames`` returns, use them from any thread, and from several.
    ``data`` and the arrays are read-only views of that memory, since the decoder may still refer to it.
    Copy before writing.
    """

    __slots__ = ("_av_frame", "_conversion", "_data", "_is_video", "_top_field_first")

    def __init__(self, av_frame: Any, *, is_video: bool, top_field_first: Callable[[Any], bool] | None = None) -> None:
        """
        Args:
            av_frame: The ``av.VideoFrame`` or ``av.AudioFrame``.
            is_video: Which of the two it is.
            top_field_first: Tells the field order of an interlaced ``av.VideoFrame``; asked only when it is wanted.
        """
        self._av_frame = av_frame
        self._is_video = is_video
        self._data: list[memoryview] | None = None
        self._conversion = threading.Lock()
        self._top_field_first = top_field_first

    @property
    def av_frame(self) -> Any:
        """The PyAV frame underneath: an ``av.VideoFrame`` or an ``av.AudioFrame``."""
        return self._av_frame

    @property
    def is_video(self) -> bool:
        """True for a picture."""
        return self._is_video

    @property
    def is_audio(self) -> bool:
        """True for a block of samples."""
        return not self._is_video

    @property
    def name(self) -> str:
        """``video`` or ``audio``."""
        return "video" if self._is_video else "audio"

    @property
    def index(self) -> int:
        """Always 1, as existing workers know it; no counter of frames."""
        return 1

    @property
    def pts(self) -> int | None:
        """Presentation time stamp in :attr:`time_base`; ``None`` when the source gives none."""
        pts: int | None = self._av_frame.pts
        return pts

    @property
    def time_base(self) -> Fraction | None:
        """Unit of :attr:`pts` in seconds: the stream's, or that of the last filter that changed it."""
        return exact(self._av_frame.time_base)

    @property
    def time_seconds(self) -> float | None:
        """Presentation time in seconds; ``None`` when the source gives none."""
        time_seconds: float | None = self._av_frame.time
        return time_seconds

    @property
    def format(self) -> int:
        """
        ``AVPixelFormat`` or ``AVSampleFormat``, as a number of FFmpeg 4.4; -1 when FFmpeg 4.4 did not have it.

        :attr:`format_name` is the better thing to compare with.
        """
        return pixel_format_number(self.format_name) if self._is_video else sample_format_number(self.format_name)

    @property
    def format_name(self) -> str:
        """FFmpeg's name of the pixel format (``yuv420p``) or the sample format (``fltp``)."""
        name: str = self._av_frame.format.name
        return name

    @property
    def key_frame(self) -> int:
        """1 for a key frame, else 0."""
        return int(self._av_frame.key_frame)

    @property
    def width(self) -> int:
        """Width in pixels; 0 for audio."""
        return int(self._av_frame.width) if self._is_video else 0

    @property
    def height(self) -> int:
        """Height in pixels; 0 for audio."""
        return int(self._av_frame.height) if self._is_video else 0

    @property
    def interlaced_frame(self) -> int:
        """1 when the picture is interlaced, else 0."""
        return int(self._av_frame.interlaced_frame) if self._is_video else 0

    @property
    def top_field_first(self) -> int:
        """1 when an interlaced picture shows its top field first, else 0."""
        if not self._is_video or self._top_field_first is None or not self._av_frame.interlaced_frame:
            return 0
        return int(self._top_field_first(self._av_frame))

    @property
    def nb_samples(self) -> int:
        """Samples per channel; 0 for video."""
        return 0 if self._is_video else int(self._av_frame.samples)

    @property
    def sample_rate(self) -> int:
        """Sample rate in Hz; 0 for video."""
        return 0 if self._is_video else int(self._av_frame.sample_rate)

    @property
    def channels(self) -> int:
        """Number of audio channels; 0 for video."""
        return 0 if self._is_video else int(self._av_frame.layout.nb_channels)

    @property
    def pkt_size(self) -> int:
        """Size in bytes of the packet the frame was decoded from, kept through filters; 0 when unknown."""
        return self._packet_facts()[0]

    @property
    def coded_picture_number(self) -> int:
        """Number of the picture's packet in its stream, from 0, in decoding order; 0 for audio."""
        return self._packet_facts()[1] if self._is_video else 0

    @property
    def display_picture_number(self) -> int:
        """Always 0, as existing workers know it."""
        return 0

    @property
    def line_size(self) -> list[int]:
        """
        Bytes from one line to the next, for each of 8 planes; 0 for a plane that is not there.

        Video: lines of ``data`` are this far apart, padding included. Audio: only the first entry is set, to the size
        FFmpeg allocated for a plane, which may be more than ``data`` holds.
        """
        if self._is_video:
            sizes = [abs(plane.line_size) for plane in self._av_frame.planes]
        else:
            sizes = [sound_planes(self._av_frame)[0].buffer_size]
        return sizes + [0] * (PLANE_COUNT - len(sizes))

    @property
    def data(self) -> list[memoryview]:
        """
        The bytes of each of 8 planes; an empty one for a plane that is not there.

        Video: ``line_size`` bytes for each line of the plane, from top to bottom. Audio: the samples without padding,
        interleaved in the first plane for a packed format, one plane per channel for a planar one (more than 8 then
        have more than 8 entries). Read-only views without a copy, but for pictures stored bottom-up.
        """
        if self._data is None:
            planes = video_planes(self._av_frame) if self._is_video else audio_planes(self._av_frame)
            self._data = planes + [_EMPTY] * (PLANE_COUNT - len(planes))
        return self._data.copy()

    @property
    def planes(self) -> tuple[np.ndarray[Any, Any], ...]:
        """
        One read-only array per plane, without a copy.

        Video: (height, width) or, where components are interleaved, (height, width, values); chroma planes have their
        own size. Audio: one array of samples for each channel.

        Raises:
            ValueError: The pixel format does not put its values on byte boundaries.
        """
        if not self._is_video:
            return tuple(channel_arrays(self._av_frame))
        layouts = plane_layouts(self._av_frame.format)
        if layouts is None:
            raise ValueError(
                f"The pixel format of the frame is {self.format_name}; expected one whose values are whole bytes. "
                "Add the filter format=rgb24 (or gray, yuv420p, ...) to the stream's descriptor."
            )
        return tuple(map(plane_array, self._av_frame.planes, self.data, layouts))

    def to_ndarray(self) -> np.ndarray[Any, Any]:
        """
        The frame as one array.

        Returns:
            Video with one plane: (height, width) or (height, width, values), a read-only view.
            Video with several planes: PyAV's arrangement, a copy (``yuv420p``: (height * 3 / 2, width), uint8);
            :attr:`planes` gives them one by one without a copy.
            Audio: (channels, samples); a read-only view, or a copy for a planar format of several channels.

        Raises:
            ValueError: The pixel format, or this one with an odd width or height, fits no one array.
        """
        if not self._is_video:
            return audio_array(self._av_frame)
        layouts = plane_layouts(self._av_frame.format)
        if layouts is not None and len(layouts) == 1:
            return plane_array(self._av_frame.planes[0], self.data[0], layouts[0])
        try:
            array: np.ndarray[Any, Any] = self._av_frame.to_ndarray()
        except (AssertionError, ValueError) as error:
            raise self._no_array() from error
        if isinstance(array, tuple):
            # A palette and indexes into it.
            raise self._no_array()
        return array

    def to_image(self) -> Any:
        """
        The picture as a ``PIL.Image.Image`` in RGB; needs Pillow.

        Raises:
            TypeError: The frame holds audio.
        """
        if not self._is_video:
            raise TypeError("The frame holds audio; expected a picture. Call to_image on frames of a video stream.")
        # PyAV takes the colour tags off the picture for as long as it is converted.
        with self._conversion:
            return rgb_image(self._av_frame)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        import numpy as np

        array = self.to_ndarray()
        if dtype is not None and array.dtype != np.dtype(dtype):
            if copy is False:
                raise ValueError(f"The frame is an array of {array.dtype}; expected {dtype}, which needs a copy.")
            return array.astype(dtype)
        return array.copy() if copy else array

    def __dlpack_device__(self) -> tuple[int, int]:
        return _DLPACK_CPU

    def __dlpack__(self, **options: Any) -> CapsuleType:
        """DLPack of :meth:`to_ndarray`: without a copy for video of one plane, else of a copy."""
        layouts = plane_layouts(self._av_frame.format) if self._is_video else None
        plane = self._av_frame.planes[0] if layouts is not None and len(layouts) == 1 else None
        if layouts is not None and plane is not None and plane.line_size > 0:
            # numpy exports no read-only array, so this one view is writable; its user must not write.
            array = plane_array(plane, memoryview(plane), layouts[0])
        else:
            array = self.to_ndarray().copy()
        capsule: CapsuleType = array.__dlpack__(**options)
        return capsule

    def __repr__(self) -> str:
        if self._is_video:
            return f"<Frame video {self.width}x{self.height} {self.format_name} pts={self.pts}>"
        return (
            f"<Frame audio {self.nb_samples}x{self.channels} {self.format_name} {self.sample_rate} Hz pts={self.pts}>"
        )

    def _no_array(self) -> ValueError:
        return ValueError(
            f"The picture is {self.format_name} of {self.width}x{self.height}; expected a format and a size that fit "
            "one array. Use planes, or add the filter format=rgb24 (or gray) to the stream's descriptor."
        )

    def _packet_facts(self) -> tuple[int, int]:
        facts = self._av_frame.opaque
        return facts if isinstance(facts, tuple) else (0, 0)

"""One picture or one block of samples, as ``process_frames`` gets it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from mcai_worker_sdk.media.pixel_formats import pixel_format_number, sample_format_number
from mcai_worker_sdk.media.plane_layout import PlaneLayout, plane_layouts

if TYPE_CHECKING:
    import numpy as np
    from typing_extensions import CapsuleType

__all__ = ["Frame"]

#: ``data`` and ``line_size`` always have this many entries, as an ``AVFrame`` has.
PLANE_COUNT = 8

#: What ``data`` holds for a plane that is not there.
_EMPTY = memoryview(b"")

#: numpy's types of FFmpeg's sample formats, packed and planar alike, by the name without its ``p``.
_SAMPLE_TYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}

#: DLPack's number of the CPU, and of the first such device.
_DLPACK_CPU = (1, 0)


class Frame:
    """
    A decoded, filtered picture or block of audio samples.

    Frames own their memory: keep them after ``process_frames`` returns, use them from any thread.
    ``data`` and the arrays are read-only views of that memory, since the decoder may still refer to it.
    Copy before writing.
    """

    __slots__ = ("_av_frame", "_data", "_is_video", "_top_field_first")

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
        time_base: Fraction | None = self._av_frame.time_base
        return time_base

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
        planes = self._av_frame.planes
        if self._is_video:
            sizes = [abs(plane.line_size) for plane in planes]
        else:
            sizes = [planes[0].buffer_size] if planes else []
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
            planes = self._video_data() if self._is_video else self._audio_data()
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
            return tuple(self._channel_arrays())
        layouts = plane_layouts(self._av_frame.format)
        if layouts is None:
            raise ValueError(
                f"The pixel format of the frame is {self.format_name}; expected one whose values are whole bytes. "
                "Add the filter format=rgb24 (or gray, yuv420p, ...) to the stream's descriptor."
            )
        return tuple(self._plane_array(index, layout) for index, layout in enumerate(layouts))

    def to_ndarray(self) -> np.ndarray[Any, Any]:
        """
        The frame as one array.

        Returns:
            Video with one plane: (height, width) or (height, width, values), a read-only view.
            Video with several planes: PyAV's arrangement, a copy (``yuv420p``: (height * 3 / 2, width), uint8);
            :attr:`planes` gives them one by one without a copy.
            Audio: (channels, samples); a read-only view, or a copy for a planar format of several channels.

        Raises:
            ValueError: numpy cannot express the pixel format.
        """
        if not self._is_video:
            return self._audio_array()
        layouts = plane_layouts(self._av_frame.format)
        if layouts is not None and len(layouts) == 1:
            return self._plane_array(0, layouts[0])
        array: np.ndarray[Any, Any] = self._av_frame.to_ndarray()
        return array

    def to_image(self) -> Any:
        """
        The picture as a ``PIL.Image.Image`` in RGB; needs Pillow.

        Raises:
            TypeError: The frame holds audio.
        """
        if not self._is_video:
            raise TypeError("The frame holds audio; expected a picture. Call to_image on frames of a video stream.")
        return self._av_frame.to_image()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        import numpy as np

        array = self.to_ndarray()
        if dtype is not None and array.dtype != np.dtype(dtype):
            if copy is False:
                raise ValueError(f"The frame is an array of {array.dtype}; expected {dtype}, which needs a copy.")
            return array.astype(dtype)
        return array.copy() if copy else array

    def __dlpack_device__(self) -> tuple[int, int]:
        planes = self._av_frame.planes
        if self._is_video and len(planes) == 1:
            device: tuple[int, int] = planes[0].__dlpack_device__()
            return device
        return _DLPACK_CPU

    def __dlpack__(self, **options: Any) -> CapsuleType:
        """DLPack of :meth:`to_ndarray`: without a copy for video of one plane, else of a copy."""
        planes = self._av_frame.planes
        capsule: CapsuleType
        if self._is_video and len(planes) == 1 and planes[0].line_size > 0:
            capsule = planes[0].__dlpack__(stream=options.get("stream"))
        else:
            capsule = self.to_ndarray().copy().__dlpack__(**options)
        return capsule

    def __repr__(self) -> str:
        if self._is_video:
            return f"<Frame video {self.width}x{self.height} {self.format_name} pts={self.pts}>"
        return (
            f"<Frame audio {self.nb_samples}x{self.channels} {self.format_name} {self.sample_rate} Hz pts={self.pts}>"
        )

    def _packet_facts(self) -> tuple[int, int]:
        facts = self._av_frame.opaque
        return facts if isinstance(facts, tuple) else (0, 0)

    def _video_data(self) -> list[memoryview]:
        return [
            memoryview(plane).toreadonly() if plane.line_size >= 0 else _turned_upright(plane)
            for plane in self._av_frame.planes
        ]

    def _audio_data(self) -> list[memoryview]:
        av_frame = self._av_frame
        sample_format = av_frame.format
        size: int = av_frame.samples * sample_format.bytes
        channels: int = av_frame.layout.nb_channels
        if sample_format.is_planar:
            return [memoryview(plane)[:size].toreadonly() for plane in av_frame.planes[:channels]]
        return [memoryview(av_frame.planes[0])[: size * channels].toreadonly()]

    def _channel_arrays(self) -> list[np.ndarray[Any, Any]]:
        import numpy as np

        sample_format = self._av_frame.format
        dtype = np.dtype(_SAMPLE_TYPES[sample_format.name.removesuffix("p")])
        planes = [np.frombuffer(plane, dtype=dtype) for plane in self._audio_data()]
        return planes if sample_format.is_planar else list(planes[0].reshape(-1, self.channels).T)

    def _audio_array(self) -> np.ndarray[Any, Any]:
        import numpy as np

        channels = self._channel_arrays()
        if len(channels) == 1:
            return channels[0][np.newaxis]
        if not self._av_frame.format.is_planar:
            array: np.ndarray[Any, Any] = np.ndarray(
                (len(channels), channels[0].size),
                dtype=channels[0].dtype,
                buffer=self._audio_data()[0],
                strides=(channels[0].itemsize, channels[0].strides[0]),
            )
            return array
        return np.stack(channels)

    def _plane_array(self, index: int, layout: PlaneLayout) -> np.ndarray[Any, Any]:
        import numpy as np

        plane = self._av_frame.planes[index]
        pixel_bytes = layout.item_bytes * layout.values
        shape: tuple[int, ...] = (plane.height, plane.width)
        strides: tuple[int, ...] = (abs(plane.line_size), pixel_bytes)
        if layout.values > 1:
            shape, strides = (*shape, layout.values), (*strides, layout.item_bytes)
        return np.ndarray(shape, dtype=layout.dtype, buffer=self.data[index], strides=strides)


def _turned_upright(plane: Any) -> memoryview:
    """Copy a plane that is stored bottom-up (``vflip``), so that its first line is the top one."""
    line_size = abs(plane.line_size)
    stored = memoryview(plane)
    lines = range(len(stored) - line_size, -1, -line_size)
    return memoryview(b"".join(stored[start : start + line_size] for start in lines))

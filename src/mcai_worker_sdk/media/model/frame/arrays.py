"""The memory of PyAV's frames as memoryviews and numpy arrays: read-only, without a copy where the layout allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcai_worker_sdk.media.model.frame.plane_layout import PlaneLayout
from mcai_worker_sdk.media.pyav import sound_planes

if TYPE_CHECKING:
    import numpy as np

# numpy is imported where it is used: frames can be imported without the extra.

__all__ = ["audio_array", "audio_planes", "channel_arrays", "plane_array", "video_planes"]

#: numpy's types of FFmpeg's sample formats, packed and planar alike, by the name without its ``p``.
_SAMPLE_TYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}


def video_planes(av_frame: Any) -> list[memoryview]:
    """The bytes of each plane of a picture, its lines from top to bottom."""
    return [
        memoryview(plane).toreadonly() if plane.line_size >= 0 else _turned_upright(plane) for plane in av_frame.planes
    ]


def audio_planes(av_frame: Any) -> list[memoryview]:
    """The samples: one plane for a packed format, one for each channel of a planar one; without padding."""
    sample_format = av_frame.format
    size: int = av_frame.samples * sample_format.bytes
    if not sample_format.is_planar:
        size *= av_frame.layout.nb_channels
    return [memoryview(plane)[:size].toreadonly() for plane in sound_planes(av_frame)]


def plane_array(plane: Any, data: memoryview, layout: PlaneLayout) -> np.ndarray[Any, Any]:
    """One plane of a picture as (height, width) or (height, width, values)."""
    import numpy as np

    pixel_bytes = layout.item_bytes * layout.values
    shape: tuple[int, ...] = (plane.height, plane.width)
    strides: tuple[int, ...] = (abs(plane.line_size), pixel_bytes)
    if layout.values > 1:
        shape, strides = (*shape, layout.values), (*strides, layout.item_bytes)
    return np.ndarray(shape, dtype=layout.dtype, buffer=data, strides=strides)


def channel_arrays(av_frame: Any) -> list[np.ndarray[Any, Any]]:
    """The samples of each channel."""
    import numpy as np

    sample_format = av_frame.format
    dtype = np.dtype(_SAMPLE_TYPES[sample_format.name.removesuffix("p")])
    planes = [np.frombuffer(plane, dtype=dtype) for plane in audio_planes(av_frame)]
    if sample_format.is_planar:
        return planes
    return list(planes[0].reshape(-1, av_frame.layout.nb_channels).T)


def audio_array(av_frame: Any) -> np.ndarray[Any, Any]:
    """All samples as (channels, samples); a copy only for a planar format of several channels."""
    import numpy as np

    channels = channel_arrays(av_frame)
    if len(channels) == 1:
        return channels[0][np.newaxis]
    if av_frame.format.is_planar:
        return np.stack(channels)
    data = audio_planes(av_frame)[0]
    array: np.ndarray[Any, Any] = np.frombuffer(data, dtype=channels[0].dtype).reshape(-1, len(channels)).T
    return array


def _turned_upright(plane: Any) -> memoryview:
    """Copy a plane that is stored bottom-up (``vflip``), so that its first line is the top one."""
    line_size = abs(plane.line_size)
    stored = memoryview(plane)
    lines = range(len(stored) - line_size, -1, -line_size)
    return memoryview(b"".join(stored[start : start + line_size] for start in lines))

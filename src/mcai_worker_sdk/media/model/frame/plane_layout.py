"""How the bytes of a picture's plane lie in memory: what a numpy array over it needs to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["PlaneLayout", "plane_layouts"]

#: Packed formats whose pixels are a whole number of equal values, and how many values one pixel has.
_PACKED_VALUES = {
    **dict.fromkeys(("rgb24", "bgr24", "rgb48le", "rgb48be", "bgr48le", "bgr48be", "rgbf32le", "rgbf32be"), 3),
    **dict.fromkeys(("rgba", "bgra", "argb", "abgr", "rgb0", "bgr0", "0rgb", "0bgr"), 4),
    **dict.fromkeys(("rgba64le", "rgba64be", "bgra64le", "bgra64be", "rgbaf32le", "rgbaf32be"), 4),
    **dict.fromkeys(("ya8", "ya16le", "ya16be"), 2),
}

#: Bits of the widest value that still fits one byte, and two.
_BYTE_BITS = 8
_WORD_BITS = 16


@dataclass(frozen=True, slots=True)
class PlaneLayout:
    """Values of one plane: an array of ``height`` x ``width`` (x ``values``) of one type."""

    dtype: str
    """numpy's name of the type, byte order included (``<u2``)."""
    item_bytes: int
    """Size of one value in bytes."""
    values: int
    """Values per position: 1, or more where components are interleaved."""


def plane_layouts(video_format: Any) -> tuple[PlaneLayout, ...] | None:
    """
    Describe the planes of a pixel format.

    Args:
        video_format: A PyAV ``VideoFormat``.

    Returns:
        One layout per plane; ``None`` when values do not start on byte boundaries (bit streams, palettes, RGB565) or
        differ in number from pixel to pixel (4:2:2 packed).
    """
    name: str = video_format.name
    if video_format.is_bit_stream or video_format.has_palette or video_format.is_bayer:
        return None
    components = video_format.components
    dtype, item_bytes = _value_type(name, max(part.bits for part in components), video_format.is_big_endian)
    plane_count = 1 + max(part.plane for part in components)
    if plane_count > 1 or len(components) == 1:
        counts = [sum(part.plane == index for part in components) for index in range(plane_count)]
    elif name in _PACKED_VALUES:
        counts = [_PACKED_VALUES[name]]
    else:
        return None
    return tuple(PlaneLayout(dtype, item_bytes, count) for count in counts)


def _value_type(name: str, bits: int, big_endian: bool) -> tuple[str, int]:
    if bits <= _BYTE_BITS:
        return "u1", 1
    item_bytes = 2 if bits <= _WORD_BITS else 4
    kind = "f" if "f16" in name or "f32" in name else "u"
    return f"{'>' if big_endian else '<'}{kind}{item_bytes}", item_bytes

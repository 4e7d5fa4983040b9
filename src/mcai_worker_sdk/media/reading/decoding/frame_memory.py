"""How much memory decoded frames hold: exact enough to bound a queue, cheap enough to ask for every frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["FrameSizer"]

_BITS_PER_BYTE = 8


class FrameSizer:
    """Sizes of frames of one kind, which seldom change from one to the next. One thread at a time."""

    def __init__(self, *, is_video: bool) -> None:
        self._is_video = is_video
        self._key: object = None
        self._frame_bytes = 0

    def size_bytes(self, frames: Sequence[Any]) -> int:
        """Memory these PyAV frames hold, in bytes, all taken to be like the first."""
        if not frames:
            return 0
        frame = frames[0]
        key = (frame.width, frame.height) if self._is_video else frame.samples
        if key != self._key:
            self._key = key
            self._frame_bytes = self._measure(frame)
        return self._frame_bytes * len(frames)

    def _measure(self, frame: Any) -> int:
        if self._is_video:
            bits: int = frame.format.padded_bits_per_pixel
            return int(frame.width * frame.height * bits // _BITS_PER_BYTE)
        return int(frame.samples * frame.format.bytes * frame.layout.nb_channels)

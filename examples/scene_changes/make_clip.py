"""Makes the example's input: a clip of six scenes, each with a colour and a moving square of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT, FRAMES_PER_SECOND = 640, 360, 25
#: Length of each scene in frames, and its colours: background and square.
SCENES = (
    (50, (20, 60, 120), (250, 220, 80)),
    (35, (190, 40, 40), (240, 240, 240)),
    (60, (30, 130, 60), (20, 20, 20)),
    (25, (230, 200, 150), (90, 30, 140)),
    (45, (60, 60, 60), (60, 220, 220)),
    (40, (120, 20, 130), (250, 150, 30)),
)
SQUARE = 90


def cut_times_seconds() -> list[float]:
    """When the scenes change, in seconds."""
    ends = np.cumsum([length for length, _, _ in SCENES])[:-1]
    return [float(end) / FRAMES_PER_SECOND for end in ends]


def make_clip(path: Path) -> None:
    """Write the clip as H.264 in MP4."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for length, background, square in SCENES:
            for number in range(length):
                picture = np.full((HEIGHT, WIDTH, 3), background, np.uint8)
                left = 20 + (WIDTH - SQUARE - 40) * number // length
                picture[135 : 135 + SQUARE, left : left + SQUARE] = square
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())


if __name__ == "__main__":
    make_clip(Path(sys.argv[1] if len(sys.argv) > 1 else "clip.mp4"))

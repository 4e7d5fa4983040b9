"""A media worker that measures loudness by EBU R128: JSON for machines, a curve for people."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from pydantic import Field

import mcai_worker_sdk as mcai

_logger = logging.getLogger(__name__)

#: Range of the curve, in LUFS, and size of the picture, in pixels.
TOP_LUFS, BOTTOM_LUFS = 0.0, -60.0
WIDTH, HEIGHT, MARGIN = 800, 300, 40


class LoudnessParameters(mcai.WorkerParameters):
    """What an order may say."""

    source_path: str = Field(description="The audio, or a video with audio.")
    destination_path: str = Field(description="Where the measurement is written, as JSON.")
    curve_path: str | None = Field(default=None, description="Where the curve is drawn, as PNG.")
    target_lufs: float = Field(default=-23.0, ge=-70, le=0, description="The loudness aimed at, drawn as a line.")
    batch_size: int = Field(default=50, ge=1, description="Tenths of a second per entry of the result.")


class Loudness(mcai.Worker):
    """FFmpeg's ``ebur128`` filter measures; its figures come with every frame of a tenth of a second."""

    def init_process(self, context: mcai.FormatContext, parameters: LoudnessParameters) -> list[Any]:
        """Take the first audio stream through the filter that measures."""
        self.parameters = parameters
        self.curve: list[tuple[float, float]] = []
        self.summary: dict[str, float] = {}
        audio = next((stream for stream in context.streams if stream.kind == "AVMEDIA_TYPE_AUDIO"), None)
        if audio is None:
            raise ValueError(f"{parameters.source_path} has no audio stream.")
        ebur128 = mcai.Filter("ebur128")
        ebur128.add_parameters(metadata=1, peak="true")
        return [mcai.AudioStreamDescriptor(audio.index, [ebur128])]

    def process_frames(self, job_id: str, stream_index: int, frames: Sequence[mcai.Frame]) -> dict[str, Any]:
        """Report the figures of one batch."""
        momentary = []
        for frame in frames:
            figures = frame.av_frame.metadata
            loudness = float(figures["lavfi.r128.M"])
            momentary.append(round(loudness, 1))
            self.curve.append((frame.time_seconds or 0.0, loudness))
            self.summary = {
                "integrated_lufs": float(figures["lavfi.r128.I"]),
                "range_lu": float(figures["lavfi.r128.LRA"]),
            }
        return {"from_seconds": frames[0].time_seconds, "momentary_lufs": momentary, **self.summary}

    def ending_process(self) -> None:
        """Draw the curve, also when the job was stopped."""
        _logger.info("Loudness of the whole: %s", json.dumps(self.summary))
        if self.parameters.curve_path is not None and self.curve:
            path = Path(self.parameters.curve_path)
            draw_curve(self.curve, self.parameters.target_lufs).save(path)
            _logger.info("The curve is drawn in %s.", path)


def draw_curve(curve: Sequence[tuple[float, float]], target_lufs: float) -> Image.Image:
    """The momentary loudness over time, with the target as a line."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(picture)
    end_seconds = max(curve[-1][0], 0.1)

    def place(time_seconds: float, lufs: float) -> tuple[float, float]:
        share = (TOP_LUFS - min(max(lufs, BOTTOM_LUFS), TOP_LUFS)) / (TOP_LUFS - BOTTOM_LUFS)
        return MARGIN + (WIDTH - 2 * MARGIN) * time_seconds / end_seconds, MARGIN + (HEIGHT - 2 * MARGIN) * share

    for lufs in range(int(TOP_LUFS), int(BOTTOM_LUFS) - 1, -10):
        draw.line([place(0, lufs), place(end_seconds, lufs)], fill="lightgray")
        draw.text((6, place(0, lufs)[1] - 6), f"{lufs}", fill="black")
    draw.line([place(0, target_lufs), place(end_seconds, target_lufs)], fill="green", width=2)
    draw.line([place(time, lufs) for time, lufs in curve], fill="blue", width=2)
    draw.text((MARGIN, HEIGHT - MARGIN + 10), f"0 s to {end_seconds:.1f} s, momentary loudness in LUFS", fill="black")
    return picture


if __name__ == "__main__":
    Loudness(LoudnessParameters, mcai.WorkerDescription(__package__)).start()

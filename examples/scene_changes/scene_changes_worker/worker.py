"""A media worker that finds the cuts of a video: JSON for machines, a contact sheet for people."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from pydantic import Field

import mcai_worker_sdk as mcai

_logger = logging.getLogger(__name__)

#: The sheet: pictures side by side, the space around them in pixels.
COLUMNS = 4
MARGIN = 8
CAPTION_HEIGHT = 14


class SceneParameters(mcai.WorkerParameters):
    """What an order may say."""

    source_path: str = Field(description="The video.")
    destination_path: str = Field(description="Where the cuts are written, as JSON.")
    contact_sheet_path: str | None = Field(default=None, description="Where the picture of all scenes is written.")
    threshold: float = Field(default=30.0, gt=0, le=255, description="Mean difference of a cut, 0 to 255 per sample.")
    thumbnail_width: int = Field(default=160, ge=16, le=1920, description="Width of one picture, in pixels.")
    batch_size: int = Field(default=25, ge=1)


class SceneChanges(mcai.Worker):
    """Compares each frame with the one before it: small, in RGB, as FFmpeg's filters hand them over."""

    def init_process(
        self, context: mcai.FormatContext, parameters: SceneParameters
    ) -> list[mcai.VideoStreamDescriptor]:
        """Take the first video stream, small and in RGB."""
        self.parameters = parameters
        self.previous: np.ndarray | None = None
        self.scenes: list[tuple[float, np.ndarray]] = []
        video = next((stream for stream in context.streams if stream.kind == "AVMEDIA_TYPE_VIDEO"), None)
        if video is None:
            raise ValueError(f"{parameters.source_path} has no video stream.")
        scale = mcai.Filter("scale")
        scale.add_parameters(width=parameters.thumbnail_width, height=-2)
        rgb = mcai.Filter("format")
        rgb.add_parameters(pix_fmts="rgb24")
        return [mcai.VideoStreamDescriptor(video.index, [scale, rgb])]

    def process_frames(self, job_id: str, stream_index: int, frames: Sequence[mcai.Frame]) -> dict[str, Any]:
        """Report the cuts of one batch."""
        cuts = []
        for frame in frames:
            picture = frame.to_ndarray()
            difference = self.difference_to_previous(picture)
            if difference is None or difference >= self.parameters.threshold:
                self.scenes.append((frame.time_seconds or 0.0, picture.copy()))
            if difference is not None and difference >= self.parameters.threshold:
                cuts.append({"time_seconds": frame.time_seconds, "difference": round(difference, 2)})
            self.previous = picture
        return {"until_seconds": frames[-1].time_seconds, "cuts": cuts}

    def ending_process(self) -> None:
        """Draw what was seen, also when the job was stopped."""
        if self.parameters.contact_sheet_path is not None and self.scenes:
            path = Path(self.parameters.contact_sheet_path)
            contact_sheet(self.scenes).save(path)
            _logger.info("%d scenes are drawn in %s.", len(self.scenes), path)

    def difference_to_previous(self, picture: np.ndarray) -> float | None:
        """Mean absolute difference of all samples, 0 to 255; ``None`` for the first frame."""
        if self.previous is None:
            return None
        return float(np.abs(picture.astype(np.int16) - self.previous).mean())


def contact_sheet(scenes: Sequence[tuple[float, np.ndarray]]) -> Image.Image:
    """One picture of the first frame of every scene, its time below it."""
    height, width, _ = scenes[0][1].shape
    rows = -(-len(scenes) // COLUMNS)
    cell_width, cell_height = width + MARGIN, height + CAPTION_HEIGHT + MARGIN
    columns = min(COLUMNS, len(scenes))
    sheet = Image.new("RGB", (columns * cell_width + MARGIN, rows * cell_height + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (time_seconds, picture) in enumerate(scenes):
        left = MARGIN + number % COLUMNS * cell_width
        top = MARGIN + number // COLUMNS * cell_height
        sheet.paste(Image.fromarray(picture), (left, top))
        draw.text((left, top + height + 1), f"{number + 1}: {time_seconds:.2f} s", fill="black")
    return sheet


if __name__ == "__main__":
    SceneChanges(SceneParameters, mcai.WorkerDescription(__package__)).start()

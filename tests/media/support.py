"""Workers that note what they get, and a way to run them as one media job."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mcai_worker_sdk.channel import McaiChannel
from mcai_worker_sdk.media import (
    AudioStreamDescriptor,
    DataStreamDescriptor,
    Filter,
    FormatContext,
    VideoStreamDescriptor,
)
from mcai_worker_sdk.media.session import MediaSession
from mcai_worker_sdk.settings import MediaSettings

_DESCRIPTORS = {
    "AVMEDIA_TYPE_VIDEO": VideoStreamDescriptor,
    "AVMEDIA_TYPE_AUDIO": AudioStreamDescriptor,
    "AVMEDIA_TYPE_SUBTITLE": lambda index, _: DataStreamDescriptor(index),
    "AVMEDIA_TYPE_DATA": lambda index, _: DataStreamDescriptor(index),
}


def filters(*specs: tuple[str, dict[str, object]]) -> list[Filter]:
    """Filters from (name, options)."""
    made = []
    for name, options in specs:
        item = Filter(name)
        item.add_parameters(**options)
        made.append(item)
    return made


class NotingWorker:
    """Select streams of some kinds; keep every frame and the sizes of the batches."""

    def __init__(
        self, kinds: str = "VIDEO AUDIO", chain: list[Filter] | None = None, note: Callable[[Any], Any] | None = None
    ) -> None:
        self.kinds = {f"AVMEDIA_TYPE_{kind}" for kind in kinds.split()}
        self.chain = chain or []
        self.note = note or (lambda frame: frame)
        self.context: FormatContext | None = None
        self.frames: dict[int, list[Any]] = {}
        self.calls: list[tuple[str, int, int]] = []
        self.endings = 0

    def init_process(self, context: FormatContext, parameters: object) -> Any:
        self.context = context
        return [
            _DESCRIPTORS[stream.kind](stream.index, self.chain)
            for stream in context.streams
            if stream.kind in self.kinds
        ]

    def process_frames(self, job_id: str, stream_index: int, frames: list[Any]) -> Any:
        self.calls.append((job_id, stream_index, len(frames)))
        self.frames.setdefault(stream_index, []).extend(self.note(frame) for frame in frames)
        return {"count": len(frames)}

    def ending_process(self) -> None:
        self.endings += 1


@dataclass
class Outcome:
    """What one job came to."""

    result: dict[str, Any] = field(default_factory=dict)
    progressions: list[int] = field(default_factory=list)
    destination: Path = Path()

    @property
    def entries(self) -> list[Any]:
        return json.loads(self.destination.read_text())["frames"]

    @property
    def counts(self) -> dict[str, int]:
        return {item["id"]: item["value"] for item in self.result["parameters"]}


def make_session(
    worker: Any, source: object, destination: Path | str, *, settings: MediaSettings | None = None, **values: object
) -> tuple[MediaSession, McaiChannel, list[int]]:
    progressions: list[int] = []
    channel = McaiChannel(7, lambda job_id, percent: progressions.append(percent))
    session = MediaSession(
        worker=worker,
        job_id=7,
        parameters=None,
        values={"source_path": str(source), "destination_path": str(destination), **values},
        channel=channel,
        settings=settings or MediaSettings(),
    )
    return session, channel, progressions


def run_job(
    worker: Any, source: object, folder: Path, *, settings: MediaSettings | None = None, **values: object
) -> Outcome:
    """Run one job to its end in this thread."""
    destination = folder / "results.json"
    session, _, progressions = make_session(worker, source, destination, settings=settings, **values)
    try:
        session.open()
        result = session.run()
    finally:
        session.close()
    return Outcome(result, progressions, destination)


def picture_md5(frame: Any) -> str:
    """MD5 of a picture's bytes without padding, plane after plane, as ffmpeg's rawvideo has them."""
    return hashlib.md5(b"".join(np.ascontiguousarray(plane).tobytes() for plane in frame.planes)).hexdigest()


def samples(frames: list[Any]) -> np.ndarray[Any, Any]:
    """The samples of audio frames, (samples, channels)."""
    return np.concatenate([frame.to_ndarray() for frame in frames], axis=1).T

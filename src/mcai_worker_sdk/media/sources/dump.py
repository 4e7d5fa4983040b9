"""Facts that PyAV does not tell and FFmpeg prints: programs, rotation, names of codecs without a decoder."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import av.logging

from mcai_worker_sdk.media.sources.ffmpeg_log import log_level

__all__ = ["DumpFacts", "read_dump"]

_STREAM = re.compile(
    r"^  Stream #0:(\d+)[^:]*: (?:Video|Audio|Subtitle|Data|Attachment|Unknown[^:]*): (\w+)(?: \((\w+) / 0x)?"
)
#: Codecs that FFmpeg does not know by the tag they have in MP4, by that tag.
_TAGGED_CODECS = {"wvtt": "webvtt"}
_PROGRAM = re.compile(r"^  Program \d+")
_ROTATION = re.compile(r"^\s+(?:displaymatrix|Display Matrix): rotation of (-?\d+(?:\.\d+)?) degrees")

_FULL_TURN = 360


@dataclass(slots=True)
class DumpFacts:
    """What the description says."""

    program_count: int = 0
    codec_names: dict[int, str] = field(default_factory=dict)
    """Name of each stream's codec, by the stream's index."""
    rotations: dict[int, int] = field(default_factory=dict)
    """Clockwise degrees a player turns the picture by, by the stream's index; only where it does."""


def read_dump(container: Any) -> DumpFacts:
    """Read FFmpeg's description (what ``ffprobe`` prints) of an opened ``av.container.InputContainer``."""
    facts = DumpFacts()
    index = -1
    for line in _dump(container).splitlines():
        if _PROGRAM.match(line):
            facts.program_count += 1
        elif stream := _STREAM.match(line):
            index = int(stream.group(1))
            facts.codec_names[index] = _TAGGED_CODECS.get(stream.group(3), stream.group(2))
        elif rotation := _ROTATION.match(line):
            degrees = round(-float(rotation.group(1))) % _FULL_TURN
            if degrees and index >= 0:
                facts.rotations[index] = degrees
    return facts


def _dump(container: Any) -> str:
    # The description goes through FFmpeg's log, at the level "info".
    with log_level(av.logging.INFO):
        text: str = container.dumps_format()
    return text

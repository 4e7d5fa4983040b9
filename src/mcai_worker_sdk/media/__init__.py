"""
Media workers: frames, samples, subtitles and data, from files and live sources.

What this package exports can be imported without PyAV and numpy; reading media needs the extra ``media``.
"""

from __future__ import annotations

from mcai_worker_sdk.media.model.cues import Cue, DataPacket
from mcai_worker_sdk.media.model.descriptors import (
    AudioStreamDescriptor,
    DataStreamDescriptor,
    Filter,
    VideoStreamDescriptor,
)
from mcai_worker_sdk.media.model.format_context import FormatContext, StreamDescriptor
from mcai_worker_sdk.media.model.frame import Frame

__all__ = [
    "AudioStreamDescriptor",
    "Cue",
    "DataPacket",
    "DataStreamDescriptor",
    "Filter",
    "FormatContext",
    "Frame",
    "StreamDescriptor",
    "VideoStreamDescriptor",
]

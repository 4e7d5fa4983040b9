"""
The Python SDK for Media Cloud AI workers.

Extend :class:`Worker`, declare :class:`WorkerParameters`, describe the worker in ``pyproject.toml``, call ``start()``.
"""

from __future__ import annotations

from mcai_worker_sdk.channel import JobStatus, McaiChannel
from mcai_worker_sdk.description import WorkerDescription
from mcai_worker_sdk.media import (
    AudioStreamDescriptor,
    DataStreamDescriptor,
    Filter,
    FormatContext,
    Frame,
    StreamDescriptor,
    VideoStreamDescriptor,
)
from mcai_worker_sdk.parameters import WorkerParameters
from mcai_worker_sdk.worker import Worker

__all__ = [
    "AudioStreamDescriptor",
    "DataStreamDescriptor",
    "Filter",
    "FormatContext",
    "Frame",
    "JobStatus",
    "McaiChannel",
    "StreamDescriptor",
    "VideoStreamDescriptor",
    "Worker",
    "WorkerDescription",
    "WorkerParameters",
]

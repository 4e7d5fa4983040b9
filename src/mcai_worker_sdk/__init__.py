"""
The Python SDK for Media Cloud AI workers.

Extend :class:`Worker`, declare :class:`WorkerParameters`, describe the worker in ``pyproject.toml``, call ``start()``.
"""

from __future__ import annotations

import typing as _typing
from importlib import import_module as _import_module
from importlib import metadata as _metadata

# First: it takes down how the process was started.
import mcai_worker_sdk.launch as _launch  # noqa: F401

try:
    from mcai_worker_sdk.channel import JobStatus, McaiChannel
    from mcai_worker_sdk.description import WorkerDescription
    from mcai_worker_sdk.parameters import WorkerParameters
    from mcai_worker_sdk.worker import Worker
except Exception:
    # A dependency of another version may fail in any way; which one it is says more than how it failed.
    from mcai_worker_sdk.versions import check_versions as _check_versions

    _check_versions()
    raise

if _typing.TYPE_CHECKING:
    from mcai_worker_sdk.media import (
        AudioStreamDescriptor,
        DataStreamDescriptor,
        Filter,
        FormatContext,
        Frame,
        StreamDescriptor,
        VideoStreamDescriptor,
    )

    __version__: str

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
    "__version__",
]


def __getattr__(name: str) -> object:
    """The version, and the names of media workers: looked up when asked for, so that a plain worker starts without."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object
    if name == "__version__":
        value = _metadata.version("mcai-worker-sdk")
    else:
        value = getattr(_import_module("mcai_worker_sdk.media"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

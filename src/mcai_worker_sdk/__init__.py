"""
The Python SDK for Media Cloud AI workers.

Extend :class:`Worker`, declare :class:`WorkerParameters`, describe the worker in ``pyproject.toml``, call ``start()``.
"""

from __future__ import annotations

import typing as _typing
from importlib import import_module as _import_module

# First: it takes down how the process was started.
import mcai_worker_sdk.launch as _launch  # noqa: F401
from mcai_worker_sdk import errors as errors

if _typing.TYPE_CHECKING:
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

#: Where each name is, but for those of media workers.
_MODULES = {
    "JobStatus": "mcai_worker_sdk.channel",
    "McaiChannel": "mcai_worker_sdk.channel",
    "Worker": "mcai_worker_sdk.worker",
    "WorkerDescription": "mcai_worker_sdk.description",
    "WorkerParameters": "mcai_worker_sdk.parameters",
}


def __getattr__(name: str) -> object:
    """
    Look a name up when it is asked for: a plain worker starts without what media workers hold, the command shows its
    help without either, and pytest starts without the SDK.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object
    if name == "__version__":
        from importlib import metadata

        value = metadata.version("mcai-worker-sdk")
    else:
        value = getattr(_load(_MODULES.get(name, "mcai_worker_sdk.media")), name)
    globals()[name] = value
    return value


def _load(module: str) -> object:
    try:
        return _import_module(module)
    except Exception:
        # A dependency of another version may fail in any way; which one it is says more than how it failed.
        from mcai_worker_sdk.versions import check_versions

        check_versions()
        raise


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""
The pytest plugin, which pytest finds by the entry point of the installed SDK.

Loaded with every pytest that runs beside the SDK: what it needs is imported by the fixtures that use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mcai_worker_sdk.testing import RecordingChannel, StepFlow

__all__ = ["mcai_channel", "mcai_worker"]


@pytest.fixture
def mcai_worker() -> Iterator[Callable[..., StepFlow]]:
    """
    Start workers that end with the test: ``mcai_worker(MyWorker)`` takes what ``StepFlow`` takes, and returns it.

    The worker's ``setup()`` has run when it returns; ``run_job`` and ``run_order`` of what is returned run jobs.
    """
    from mcai_worker_sdk.testing import StepFlow

    with ExitStack() as stack:

        def start(*arguments: Any, **options: Any) -> StepFlow:
            return stack.enter_context(StepFlow(*arguments, **options))

        yield start


@pytest.fixture
def mcai_channel() -> RecordingChannel:
    """A channel of job 1, to call ``process`` with by hand: keeps the progressions, and has a ``stop()``."""
    from mcai_worker_sdk.testing import RecordingChannel

    return RecordingChannel()

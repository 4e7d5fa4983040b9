"""
Commands: what a worker does about one job. Said once here, and carried as they are.

The lifecycle answers with them, a host takes them, the job link carries them, the runner obeys them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from mcai_worker_sdk.protocol.orders import OrderParameter

__all__ = ["Command", "DiscardJob", "InitialiseJob", "RunJob", "StartJob", "StopJob", "UpdateJob"]


@dataclass(frozen=True, slots=True)
class RunJob:
    """Run a job from its parameters to its result; ends in ``JobEnded``."""

    job_id: int
    parameters: Sequence[OrderParameter]


@dataclass(frozen=True, slots=True)
class InitialiseJob:
    """Prepare a job; ends in ``JobInitialised``, or in ``JobEnded`` where that fails."""

    job_id: int
    parameters: Sequence[OrderParameter]


@dataclass(frozen=True, slots=True)
class StartJob:
    """Run the prepared job; other parameters than it was prepared with prepare it again. Ends in ``JobEnded``."""

    job_id: int
    parameters: Sequence[OrderParameter]


@dataclass(frozen=True, slots=True)
class StopJob:
    """Let the job see ``is_stopped()``."""

    job_id: int


@dataclass(frozen=True, slots=True)
class DiscardJob:
    """Give the prepared job up; ends in ``JobEnded``, state stopped."""

    job_id: int


@dataclass(frozen=True, slots=True)
class UpdateJob:
    """Give the running job new parameters; ends in ``JobUpdated``."""

    job_id: int
    parameters: Sequence[OrderParameter]


Command: TypeAlias = RunJob | InitialiseJob | StartJob | StopJob | DiscardJob | UpdateJob

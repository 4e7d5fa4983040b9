"""The limits of one worker's lifecycle."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LifecycleOptions"]


@dataclass(frozen=True, slots=True)
class LifecycleOptions:
    """Limits and habits of one worker."""

    attempts_limit: int = 4
    """``MESSAGE_TTL_LIMIT``: attempts after the first before an order is given up."""
    soft_rejects_limit: int = 800
    """``MESSAGE_SOFT_LIMIT``: rounds an order with missing requirements may make."""
    max_jobs: int | None = None
    """``MCAI_MAX_JOBS``: end the worker after so many jobs."""
    announces_start: bool = False
    """Media workers publish ``worker_started`` for queued jobs too, as the reference's media variant does."""

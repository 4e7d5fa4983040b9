"""What a wait asks whether it shall be given up."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Stoppable"]


class Stoppable(Protocol):
    """A job's channel, or the opening of one of the job's ends, which may be given up before the job is."""

    def is_stopped(self) -> bool:
        """True once nobody waits any more. Any thread."""

"""What takes the results of a job."""

from __future__ import annotations

from typing import Protocol

__all__ = ["ResultWriter"]


class ResultWriter(Protocol):
    """Where results go: one for each call of ``process_frames``."""

    def write(self, result: object) -> None:
        """Take one result."""

    def finish(self) -> None:
        """Complete the destination."""

    def discard(self) -> None:
        """Leave nothing behind; may be called again and after :meth:`finish`, when it does nothing."""

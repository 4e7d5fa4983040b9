"""The port: what the supervisor needs of a host, wherever user code runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mcai_worker_sdk.lifecycle.events import Event
from mcai_worker_sdk.protocol.commands import Command
from mcai_worker_sdk.protocol.responses import JobResult

__all__ = ["Host", "JobUsage"]


@dataclass(frozen=True, slots=True)
class JobUsage:
    """What the running job used so far."""

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0


class Host(Protocol):
    """Runs one job at a time. Answers come as lifecycle events, in the order they happen."""

    def launch(self) -> None:
        """Start what must be started before there is an event loop."""

    def attach(self, on_event: Callable[[Event], None]) -> None:
        """Go on on the running event loop; ``on_event`` hears what happens, ``HostReady`` or ``HostFailed`` first."""

    def abandon(self) -> None:
        """End what :meth:`launch` started, at once and without an event loop: there will be none."""

    async def close(self) -> None:
        """End it, with the job it may still run."""

    def leave(self, exit_code: int) -> None:
        """After :meth:`close`: end this very process when user code that nothing can end still runs in it."""

    def command(self, command: Command) -> None:
        """Have a command obeyed. What comes of it follows as the event that the command names."""

    def kill(self, verdict: JobResult, reason: str) -> None:
        """End the job from outside, if that can be done here; it ends in ``verdict``."""

    def resident_memory_bytes(self) -> int:
        """Memory that the process of user code holds, in bytes; 0 when it is not known."""

    def usage(self) -> JobUsage:
        """What the job in hand used so far."""

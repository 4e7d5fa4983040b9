"""What a scenario is made of: steps, each with one thing to send, to do or to wait for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = ["Await", "AwaitBackend", "Broadcast", "Direct", "Ended", "Gate", "Pause", "Scenario", "Submit"]

Publisher: TypeAlias = Literal["both", "ours", "reference"]


@dataclass(frozen=True, slots=True)
class Submit:
    """Publish this to the job queue."""

    body: Mapping[str, Any] | bytes
    priority: int | None = None
    headers: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Direct:
    """Send this direct message to the worker, by its instance id."""

    body: Mapping[str, Any] | bytes


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Send a ``status`` to whom these headers select; ``?`` stands for the worker's instance id."""

    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Await:
    """Wait until the worker has published one more message with this routing key."""

    routing_key: str
    by: Publisher = "both"
    """Who publishes it. The other one is not waited for; the comparison shows that it published nothing."""


@dataclass(frozen=True, slots=True)
class AwaitBackend:
    """Wait until the backend got this request, by method and path."""

    line: str


@dataclass(frozen=True, slots=True)
class Gate:
    """Let the job go on that waits by ``GATE``."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Give an order time to be taken that nobody answers: there is nothing to wait for."""

    seconds: float = 0.3


@dataclass(frozen=True, slots=True)
class Ended:
    """Wait until the worker's process has ended by itself."""


Step: TypeAlias = Submit | Direct | Broadcast | Await | AwaitBackend | Gate | Pause | Ended


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row of the table."""

    name: str
    steps: tuple[Step, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    black_list: tuple[int, ...] = ()
    """What the backend has on its black list at the start."""
    wedges_reference: bool = False
    """The reference answers no direct message any more afterwards: its last ``status`` stays unanswered."""
    reference_races: str = ""
    """Why the reference does not always do the same; then it was recorded when it did, and is not run again."""
    ends_itself: bool = False
    """The worker ends by an order; the others are told by SIGTERM, after a last ``status``."""
    needs_broker: str = ""
    """Why the scenario means nothing without a broker; empty when it is run inline too."""

"""One message as the exchange delivered it, and what its copy may count."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Count", "Delivery", "Lane"]


class Lane(enum.Enum):
    """Where a delivery came from."""

    JOBS = "jobs"
    """The job queue (or a ``SOURCE_ORDERS`` file)."""
    DIRECT = "direct"
    """The worker's own direct-messaging queue."""


class Count(enum.Enum):
    """What a copy of an order, sent through the delay queue in its place, counts one more of."""

    ATTEMPTS = "attempts"
    """Its worker or its link ended while it was there; nobody knows how far it came."""
    SOFT_REJECTS = "soft_rejects"
    """What it requires does not exist yet."""
    PUT_BACKS = "put_backs"
    """A worker gave it back in good order: that is nobody's failure, and counts against nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """
    One delivered message. Compared by identity: two deliveries of the same bytes are two deliveries.

    An exchange may subclass it to keep what it needs for settling and copying (delivery tag, channel, properties).
    """

    body: bytes
    """The message, undecoded."""
    lane: Lane = Lane.JOBS
    """Which consumer took it."""
    redelivered: bool = False
    """The broker delivered it before, here or elsewhere, and got no settlement."""
    attempts: int = 0
    """How often its worker or its link ended while it was there, as its headers say."""
    soft_rejects: int = 0
    """How often its requirements were found missing (header ``soft_reject``)."""
    put_backs: int = 0
    """How often a worker gave it back in good order."""
    returns: int = 0
    """How often the broker itself took this very message back: what a quorum queue's delivery limit goes by."""
    given_back: bool = False
    """It was delivered before, and the broker says that it was given back in good order."""

    @property
    def was_lost(self) -> bool:
        """Whether somebody had it, and lost it as far as anybody knows."""
        return self.redelivered and not self.given_back

"""One message as the exchange delivered it, and the ways to settle it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Delivery", "Lane", "Settlement"]


class Lane(enum.Enum):
    """Where a delivery came from."""

    JOBS = "jobs"
    """The job queue (or a ``SOURCE_ORDERS`` file)."""
    DIRECT = "direct"
    """The worker's own direct-messaging queue."""


class Settlement(enum.Enum):
    """What the exchange does with a delivery in the end. Every delivery gets exactly one."""

    ACK = "ack"
    """Done: the broker forgets it."""
    REJECT = "reject"
    """To the delay queue, which counts the attempt and returns it after 5 s (dead-lettered, x-death + 1)."""
    REQUEUE = "requeue"
    """Back to the head of the job queue, untouched, for any worker."""


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """
    One delivered message. Compared by identity: two deliveries of the same bytes are two deliveries.

    An exchange may subclass it to keep what it needs for settling (delivery tag, channel epoch, AMQP properties).
    """

    body: bytes
    """The message, undecoded."""
    lane: Lane = Lane.JOBS
    """Which consumer took it."""
    redelivered: bool = False
    """The broker delivered it before, here or elsewhere, and got no settlement."""
    attempts: int = 0
    """Failed attempts the broker counted: x-death of this queue with reason ``rejected``, plus x-delivery-count."""
    counted: bool = False
    """The redelivery itself is already in ``attempts`` (quorum queues), so no trip through the delay queue is due."""
    soft_rejects: int = 0
    """How often its requirements were found missing (header ``soft_reject``)."""
    headers: Mapping[str, Any] = field(default_factory=dict)
    """Application headers, as they came."""

"""Reply codes of AMQP 0-9-1 (its section 1.2) that mean something to a worker."""

from __future__ import annotations

import enum

__all__ = ["ReplyCode"]


class ReplyCode(enum.IntEnum):
    """Why the broker closed a channel or a connection."""

    ACCESS_REFUSED = 403
    NOT_FOUND = 404
    RESOURCE_LOCKED = 405
    PRECONDITION_FAILED = 406
    NOT_ALLOWED = 530
    INTERNAL_ERROR = 541

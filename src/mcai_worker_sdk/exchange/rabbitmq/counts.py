"""
What an order's headers count: its attempts, its soft rejects, how often it was given back.

``soft_reject`` is the header that the reference writes, and RabbitMQ's own ``x-death`` counts what workers of the
reference rejected. The rest is in a header of this SDK: RabbitMQ forgets ``x-death`` on a message that a client
publishes (from 4.0 on), and counts what was put back in good order like what was lost with its worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcai_worker_sdk.protocol.delivery import Count, Delivery

__all__ = ["Counts", "copied_headers", "read_counts"]

ORDER = "x-mcai-order"
SOFT_REJECT = "soft_reject"
DEATHS = "x-death"
DELIVERY_COUNT = "x-delivery-count"
ACQUIRED_COUNT = "x-acquired-count"
#: What the broker says of one message; a copy is another one, and a client's word about it would be taken for its own.
OF_THE_BROKER = (DEATHS, DELIVERY_COUNT, ACQUIRED_COUNT)
#: ``x-death`` reasons that mean a failed attempt.
FAILED_REASONS = ("rejected", "delivery_limit")
#: Larger counts are no counts; a limit of them is never so large.
MOST = 1_000_000


@dataclass(frozen=True, slots=True)
class Counts:
    """What is counted of an order; the names are those of :class:`~mcai_worker_sdk.protocol.delivery.Delivery`."""

    attempts: int = 0
    soft_rejects: int = 0
    put_backs: int = 0
    returns: int = 0
    given_back: bool = False


def read_counts(headers: Mapping[str, Any], queue_name: str) -> Counts:
    """
    Read the counts of an order.

    Args:
        headers: The message's headers; anything in them may be malformed, and then counts nothing.
        queue_name: The job queue: ``x-death`` entries of other queues (the delay queue's) are no attempts.
    """
    if not headers:
        return Counts()
    own = headers.get(ORDER)
    own = own if isinstance(own, Mapping) else {}
    returns = _whole_number(headers.get(DELIVERY_COUNT))
    return Counts(
        attempts=_whole_number(own.get("attempts")) + _deaths(headers.get(DEATHS), queue_name),
        soft_rejects=_soft_rejects(headers.get(SOFT_REJECT)),
        put_backs=_whole_number(own.get("put_backs")),
        returns=returns,
        # Quorum queues tell the two apart from RabbitMQ 4.3 on: a consumer that is cancelled in the instant in which
        # it is given an order returns it, and that is nobody's failure.
        given_back=returns == 0 and _whole_number(headers.get(ACQUIRED_COUNT)) > 0,
    )


def copied_headers(delivery: Delivery, count: Count) -> dict[str, Any]:
    """
    The headers in which an order's copy differs from it; ``None`` for those it does not have.

    Args:
        delivery: The order.
        count: What the copy counts one more of.
    """
    attempts = delivery.attempts + (count is Count.ATTEMPTS)
    soft_rejects = delivery.soft_rejects + (count is Count.SOFT_REJECTS)
    put_backs = delivery.put_backs + (count is Count.PUT_BACKS)
    headers: dict[str, Any] = dict.fromkeys(OF_THE_BROKER)
    if soft_rejects:
        headers[SOFT_REJECT] = [{"count": soft_rejects}]
    if attempts or put_backs:
        headers[ORDER] = {"attempts": attempts, "put_backs": put_backs}
    return headers


def _deaths(deaths: Any, queue_name: str) -> int:
    return sum(
        _whole_number(death.get("count"))
        for death in (deaths if isinstance(deaths, list) else ())
        if isinstance(death, Mapping) and death.get("queue") == queue_name and death.get("reason") in FAILED_REASONS
    )


def _soft_rejects(entries: Any) -> int:
    first = entries[0] if isinstance(entries, list) and entries else None
    return _whole_number(first.get("count")) if isinstance(first, Mapping) else 0


def _whole_number(value: object) -> int:
    return min(max(value, 0), MOST) if isinstance(value, int) and not isinstance(value, bool) else 0

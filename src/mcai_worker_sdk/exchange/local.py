"""Orders from files (``SOURCE_ORDERS``) and responses to the log: an exchange without a broker."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

from mcai_worker_sdk.errors import ExchangeError
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.protocol.delivery import Count, Delivery
from mcai_worker_sdk.protocol.responses import Response

__all__ = ["LocalExchange", "read_source_order"]

_logger = get_logger(__name__)

#: The word before each logged response, by routing key: what a reader of the reference's local logs looks for.
_LOG_NAMES = {
    "job_progression": "Feedback",
    "job_completed": "Completed",
    "job_stopped": "Stopped",
    "job_error": "Error",
    "worker_initialized": "WorkerInitialized",
    "worker_started": "WorkerStarted",
    "worker_updated": "WorkerUpdated",
}


def read_source_order(path: Path) -> Delivery:
    """
    Read one order file.

    Raises:
        ExchangeError: The file cannot be read; names it and the reason.
    """
    try:
        return Delivery(path.read_bytes())
    except OSError as error:
        raise ExchangeError(
            f"The source order {str(path)!r} cannot be read: {error.strerror or error}. "
            "SOURCE_ORDERS names JSON files, separated as in PATH."
        ) from error


class LocalExchange:
    """
    Logs every response as JSON. Its coroutines never suspend, so no event loop is needed.

    Args:
        now: Gives the ``datetime`` of a response.
        on_response: Called with every response, after it was logged.
        level: Level of the log that responses have.
    """

    def __init__(
        self, now: Callable[[], str], on_response: Callable[[Response], None], *, level: int = logging.INFO
    ) -> None:
        self._now = now
        self._on_response = on_response
        self.sent_back: list[Delivery] = []
        """The orders that were not run: another job is in hand, or the worker ends."""
        self._level = level

    async def publish(self, response: Response) -> None:
        """Log a response."""
        self._log(response)

    def publish_progression(self, response: Response) -> None:
        """Log a progression."""
        self._log(response)

    async def delay(self, delivery: Delivery, job_id: int, count: Count) -> None:
        """Note the order: there is no delay queue here, and nobody it could come back to."""
        del job_id, count
        self.sent_back.append(delivery)

    async def settle(self, delivery: Delivery) -> None:
        """Do nothing: the order is a file, and stays one."""

    async def consume_jobs(self) -> None:
        """Orders are fed one by one."""

    async def pause_jobs(self) -> None:
        """Orders are fed one by one."""

    async def close(self) -> None:
        """Nothing is open."""

    def _log(self, response: Response) -> None:
        _, routing_key = response.route
        name = _LOG_NAMES.get(routing_key)
        if name is not None and _logger.isEnabledFor(self._level):
            line = json.dumps({name: response.as_json(self._now())}, ensure_ascii=False, sort_keys=True)
            _logger.log(self._level, "%s", line, extra={"job_id": getattr(response, "job_id", -1)})
        self._on_response(response)

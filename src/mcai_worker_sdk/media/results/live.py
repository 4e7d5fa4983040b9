"""Results sent to who takes them over SRT."""

from __future__ import annotations

from mcai_worker_sdk.errors import MediaDestinationError, MediaError, MediaTimeoutError
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.media.results.encoding import encode_result
from mcai_worker_sdk.media.srt import SrtConnection, connect
from mcai_worker_sdk.media.waiting import Stoppable

__all__ = ["LiveResultWriter", "open_live_destination"]

_logger = get_logger(__name__)


class LiveResultWriter:
    """
    Send each result as one SRT message: an XML document as it is, anything else as JSON.

    Args:
        connection: Connected to who takes the results.
    """

    def __init__(self, connection: SrtConnection) -> None:
        self._connection = connection

    def write(self, result: object) -> None:
        """
        Send one result.

        Raises:
            ResultError: The result is nothing JSON can express.
            MediaDestinationError: It is too large for one message, or the peer is gone.
            MediaTimeoutError: The peer takes nothing any more.
        """
        message = encode_result(result)
        try:
            self._connection.send(message)
        except MediaTimeoutError:
            raise
        except MediaError as error:
            raise MediaDestinationError(str(error)) from error

    def finish(self) -> None:
        """Wait until the peer has the last results (at most 5 s, 1 s after a stop); then close."""
        if not self._connection.drain():
            _logger.warning(
                "The SRT peer of %s closed before it confirmed the last results", self._connection.url.address
            )
        self._connection.close()

    def discard(self) -> None:
        """Close without waiting; may be called again and after :meth:`finish`, when it does nothing."""
        self._connection.close()


def open_live_destination(url: str, *, channel: Stoppable) -> LiveResultWriter | None:
    """
    Wait for, or call, who takes the results at an ``srt://`` URL.

    Returns:
        The writer, or ``None`` when the job was asked to stop first.

    Raises:
        MediaDestinationError: The URL is not usable or the peer refused.
        MediaTimeoutError: Nobody is there within ``connect_timeout``.
    """
    try:
        connection = connect(url, channel)
    except MediaTimeoutError:
        raise
    except MediaError as error:
        raise MediaDestinationError(str(error)) from error
    return None if connection is None else LiveResultWriter(connection)

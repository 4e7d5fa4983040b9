"""
JSON over HTTP: one request with its time-out, and bounded retries.

aiohttp is imported when the first client is made, not with this module: a job whose credentials all come from the
environment never pays for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import JsonValue
from pydantic_core import from_json

if TYPE_CHECKING:
    import aiohttp

__all__ = ["HttpError", "JsonClient", "RetryPolicy", "with_retries"]

logger = logging.getLogger("mcai_worker_sdk.services")

T = TypeVar("T")

#: Longest answer that is read, bytes.
MAX_ANSWER_BYTES = 16 * 2**20

#: Statuses besides 5xx that may be gone a moment later.
_TRANSIENT_STATUSES = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


class HttpError(Exception):
    """
    Raised when a request brings no JSON. Stays inside ``services``: callers say whose request it was.

    Args:
        reason: What happened, in words, to stand after "the backend ..."; holds no secret, header or body.
        status: The HTTP status, when there was an answer.
        transient: Trying again a moment later may help.
    """

    def __init__(self, reason: str, *, status: int | None = None, transient: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.transient = transient


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to try. The default gives up after at most 10 s."""

    delays_seconds: tuple[float, ...] = (0.5, 1.0)
    """Pause before each further try: as many retries as there are entries."""
    attempt_seconds: float = 4.0
    """Time-out of one try."""
    total_seconds: float = 10.0
    """Time-out of all tries and pauses together."""


async def with_retries(
    attempt: Callable[[], Awaitable[T]],
    policy: RetryPolicy,
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> T:
    """
    Await ``attempt`` again as long as it fails with a transient fault and the policy allows.

    Args:
        attempt: Makes one try.
        policy: Number of tries, pauses, and the time-out of the whole.
        sleep: Waits a number of seconds; tests give their own.

    Raises:
        HttpError: The last try's fault, or the time-out of the whole.
    """
    try:
        async with asyncio.timeout(policy.total_seconds):
            for delay_seconds in policy.delays_seconds:
                try:
                    return await attempt()
                except HttpError as fault:
                    if not fault.transient:
                        raise
                    logger.warning("A request failed (it %s); next try in %s s.", fault.reason, delay_seconds)
                await sleep(delay_seconds)
            return await attempt()
    except TimeoutError:
        raise HttpError(f"gave no answer within {policy.total_seconds:g} s", transient=True) from None


class JsonClient:
    """
    Requests to one base URL. Belongs to one event loop; :meth:`close` it there.

    Redirects are refused rather than followed, so that no token travels to a host nobody configured. Proxies and
    ``.netrc`` of the environment are not used.
    """

    def __init__(self, base_url: str, *, timeout_seconds: float) -> None:
        """
        Args:
            base_url: ``http://`` or ``https://`` address that every path is appended to.
            timeout_seconds: Time-out of one request, from connecting to the last byte of the answer.

        Raises:
            HttpError: ``base_url`` is not an HTTP address.
        """
        self._base_url = base_url.strip().rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._session: aiohttp.ClientSession | None = None
        if not re.fullmatch(r"https?://[^/\s?#]+[^\s?#]*", self._base_url, re.IGNORECASE):
            raise HttpError("has an address that does not read http://HOST or https://HOST")
        if "@" in urlsplit(self._base_url).netloc:
            raise HttpError("has an address with a user name in it, which is not used; take it out")

    @property
    def address(self) -> str:
        """The base URL as it may be shown: without user name and password."""
        return shown_address(self._base_url)

    async def request(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: JsonValue = None
    ) -> JsonValue:
        """
        Send one request and read its JSON answer.

        Args:
            method: ``GET``, ``POST``, ...
            path: Appended to the base URL; starts with a slash, percent-escaped already.
            headers: Extra headers, tokens among them; they appear in no log and no error.
            body: Sent as JSON unless ``None``.

        Returns:
            The answer's JSON; ``None`` for an empty body.

        Raises:
            HttpError: No answer in time, a status other than 2xx, or a body that is not JSON.
        """
        import aiohttp
        from yarl import URL

        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self._timeout_seconds)
            self._session = aiohttp.ClientSession(timeout=timeout, headers={"accept": "application/json"})
        try:
            url = URL(self._base_url + path, encoded=True)
            async with self._session.request(
                method, url, headers=headers, json=body, allow_redirects=False
            ) as response:
                return await _read_answer(response)
        except TimeoutError:
            raise HttpError(f"gave no answer within {self._timeout_seconds:g} s", transient=True) from None
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError, ssl.SSLError) as error:
            raise HttpError(f"could not be trusted ({type(error).__name__}: {_tls_reason(error)})") from None
        except (aiohttp.ClientError, OSError) as error:
            raise HttpError(f"could not be reached ({_connection_reason(error)})", transient=True) from None
        except ValueError as error:  # a token with a line break, an address with a port beyond 65535
            raise HttpError(f"cannot be asked: address or token is malformed ({type(error).__name__})") from None

    async def close(self) -> None:
        """Close the connections. Idempotent; the next request opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def shown_address(url: str) -> str:
    """The address without user name, password and query: fit for logs and errors."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


async def _read_answer(response: aiohttp.ClientResponse) -> JsonValue:
    status = response.status
    if status in range(300, 400):
        target = shown_address(response.headers.get("location", ""))
        raise HttpError(f"answered {status}, a redirect to {target}, which is not followed", status=status)
    if status not in range(200, 300):
        transient = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _TRANSIENT_STATUSES
        raise HttpError(f"answered {_named_status(status)}", status=status, transient=transient)
    body = bytearray()
    async for chunk in response.content.iter_chunked(2**16):
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise HttpError(f"answered with more than {MAX_ANSWER_BYTES} bytes", status=status)
    if not body.strip():
        return None
    try:
        answer: JsonValue = from_json(bytes(body), allow_inf_nan=False)
    except ValueError:
        # The parser's text can quote the body, and the body can hold a secret.
        raise HttpError(f"answered {status} with a body that is not JSON", status=status) from None
    return answer


def _named_status(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _connection_reason(error: Exception) -> str:
    # The texts of aiohttp's errors hold the whole URL, with whatever stands before its "@".
    cause: Any = getattr(error, "os_error", error)
    if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:
        return os.strerror(cause.errno)  # asyncio's own text repeats the address
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return type(error).__name__


def _tls_reason(error: Exception) -> str:
    cause: Any = getattr(error, "certificate_error", None) or getattr(error, "os_error", error)
    return str(getattr(cause, "verify_message", "") or getattr(cause, "reason", "") or "TLS handshake failed")

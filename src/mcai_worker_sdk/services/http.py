"""
JSON over HTTP: one request with its time-out, and bounded retries.

The connection below it is loaded with the first request, not with this module: a job whose credentials all come from
the environment never pays for it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import SplitResult, urlsplit

from pydantic import JsonValue

from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.protocol.reading import read_json
from mcai_worker_sdk.settings import NO_PROXIES, Proxies, Proxy

if TYPE_CHECKING:
    import h11

    from mcai_worker_sdk.services.http_connection import HttpConnection

__all__ = ["HttpError", "JsonClient", "RetryPolicy", "with_retries"]

logger = get_logger("mcai_worker_sdk.services")

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
        via: How the answer came, where a proxy brought it; to stand after the reason.
    """

    def __init__(self, reason: str, *, status: int | None = None, transient: bool = False, via: str = "") -> None:
        super().__init__(reason + via)
        self.reason = reason + via
        self.status = status
        self.transient = transient
        self.via = via

    def through(self, proxy: Proxy | None) -> HttpError:
        """The same fault, met on the way through a proxy."""
        if proxy is None:
            return self
        via = f", through the proxy {proxy.address} of {proxy.variable}"
        return HttpError(self.reason, status=self.status, transient=self.transient, via=via)


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

    Several requests may run at once, each on a connection of its own; one connection is kept for the next request.
    Redirects are refused rather than followed, so that no token travels to a host nobody configured. ``.netrc`` is not
    read.
    """

    def __init__(self, base_url: str, *, timeout_seconds: float, proxies: Proxies = NO_PROXIES) -> None:
        """
        Args:
            base_url: ``http://`` or ``https://`` address that every path is appended to.
            timeout_seconds: Time-out of one request, from connecting to the last byte of the answer.
            proxies: What may stand between.

        Raises:
            HttpError: ``base_url`` is not an HTTP address.
        """
        self._base_url = base_url.strip().rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._context: ssl.SSLContext | None = None
        self._open: set[HttpConnection] = set()
        self._kept: HttpConnection | None = None
        address = _split(self._base_url)
        if address is None or not re.fullmatch(r"https?://[^/\s?#]+[^\s?#]*", self._base_url, re.IGNORECASE):
            raise HttpError("has an address that does not read http://HOST or https://HOST")
        if "@" in address.netloc:
            raise HttpError("has an address with a user name in it, which is not used; take it out")
        self._address = address
        self._proxies = proxies

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
        from mcai_worker_sdk.services.http_connection import make_request

        payload = None if body is None else json.dumps(body).encode()
        all_headers = {"accept": "application/json", **(headers or {})}
        proxy: Proxy | None = None
        try:
            proxy = self._proxies.proxy_for(self._address)
            request = make_request(method, self._address, path, all_headers, payload, proxy=proxy)
            async with asyncio.timeout(self._timeout_seconds):
                return await self._ask(request, payload or b"", proxy)
        except HttpError as fault:
            raise fault.through(proxy) from None
        except (OSError, ValueError) as error:
            raise self._fault(error).through(proxy) from None

    async def close(self) -> None:
        """Close the connections. Idempotent; the next request opens new ones."""
        opened, self._open, self._kept = self._open, set(), None
        for connection in opened:
            connection.close()

    async def _ask(self, request: h11.Request, payload: bytes, proxy: Proxy | None) -> JsonValue:
        kept, opened = await self._take_kept(), self._open
        if kept is not None:
            try:
                return await self._exchange(kept, request, payload)
            except OSError:
                # A server closes an idle connection without asking: a request that met this on its way was not read.
                if not kept.is_unanswered or self._open is not opened:
                    raise
        return await self._exchange(await self._connect(proxy), request, payload)

    async def _take_kept(self) -> HttpConnection | None:
        kept, self._kept = self._kept, None
        if kept is None:
            return None
        usable = False
        try:
            usable = await kept.is_quiet()
        finally:
            if not usable:
                self._drop(kept)
        return kept if usable else None

    async def _connect(self, proxy: Proxy | None) -> HttpConnection:
        from mcai_worker_sdk.services.http_connection import HttpConnection

        is_tls = "https" in (self._address.scheme, proxy and proxy.scheme)
        if is_tls and self._context is None:
            self._context = ssl.create_default_context()
            self._context.set_alpn_protocols(["http/1.1"])
        connection = await HttpConnection.open(self._address, self._context, proxy)
        self._open.add(connection)
        return connection

    async def _exchange(self, connection: HttpConnection, request: h11.Request, payload: bytes) -> JsonValue:
        try:
            response = await connection.send(request, payload)
            return await _read_answer(connection, response)
        finally:
            self._put_back(connection)

    def _put_back(self, connection: HttpConnection) -> None:
        if connection.finish() and self._kept is None:
            self._kept = connection
        else:
            self._drop(connection)

    def _drop(self, connection: HttpConnection) -> None:
        self._open.discard(connection)
        connection.close()

    def _fault(self, error: OSError | ValueError) -> HttpError:
        if isinstance(error, TimeoutError) and error.errno is None:  # ours; the system's has a number
            return HttpError(f"gave no answer within {self._timeout_seconds:g} s", transient=True)
        status = getattr(error, "status", None)
        if isinstance(status, int):  # of a TunnelError, whose module loads with the first request
            transient = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _TRANSIENT_STATUSES
            return HttpError(f"could not be reached (answer {_named_status(status)})", transient=transient)
        if isinstance(error, ssl.SSLError):
            return HttpError(f"could not be trusted ({type(error).__name__}: {_tls_reason(error)})")
        if isinstance(error, OSError):
            return HttpError(f"could not be reached ({_connection_reason(error)})", transient=True)
        # A token with a line break, an address with a port beyond 65535.
        return HttpError(f"cannot be asked: address or token is malformed ({type(error).__name__})")


def shown_address(url: str) -> str:
    """The address without user name, password and query: fit for logs and errors."""
    parts = _split(url)
    if parts is None:
        return "an address that cannot be read"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:  # brackets that hold no IPv6 address
        return None


async def _read_answer(connection: HttpConnection, response: h11.Response) -> JsonValue:
    status = response.status_code
    if status in range(300, 400):
        target = shown_address(dict(response.headers).get(b"location", b"").decode(errors="replace"))
        raise HttpError(f"answered {status}, a redirect to {target}, which is not followed", status=status)
    if status not in range(200, 300):
        transient = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _TRANSIENT_STATUSES
        raise HttpError(f"answered {_named_status(status)}", status=status, transient=transient)
    body = bytearray()
    while chunk := await connection.read():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise HttpError(f"answered with more than {MAX_ANSWER_BYTES} bytes", status=status)
    if not body.strip():
        return None
    try:
        return read_json(bytes(body))
    except ValueError:
        # The parser's text can quote the body, and the body can hold a secret.
        raise HttpError(f"answered {status} with a body that is not JSON", status=status) from None


def _named_status(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _connection_reason(error: OSError) -> str:
    number = error.errno
    if number is None and (among_several := re.search(r"\[Errno (\d+)\]", str(error))):
        number = int(among_several[1])  # asyncio joins the faults of a host's addresses into one text
    if number is not None and number > 0:
        return os.strerror(number)  # asyncio's own text repeats the address
    return error.strerror or type(error).__name__


def _tls_reason(error: ssl.SSLError) -> str:
    return str(getattr(error, "verify_message", "") or error.reason or "TLS handshake failed")

"""
The optional health and metrics endpoint (``MCAI_HTTP_PORT``): ``/live``, ``/ready``, ``/metrics``.

It lives on the supervisor's event loop, so an answer proves that the loop turns. A worker without its broker is alive
and not ready; a worker with a long job is both.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, NamedTuple

import h11

from mcai_worker_sdk.errors import MissingExtraError, SettingsError, UnsupportedVersionError
from mcai_worker_sdk.logs import get_logger

__all__ = ["HttpEndpoint"]

_logger = get_logger(__name__)

#: Time for one request, from when it may begin to the last byte of its answer, seconds.
EXCHANGE_SECONDS = 10.0

#: Connections beyond these are closed at once: a client must not use up the files the worker may open.
_MAX_CONNECTIONS = 100

#: Longest head of a request, and longest body that is read to be ignored, bytes.
_MAX_REQUEST_BYTES = 2**14

_JSON = "application/json; charset=utf-8"
_TEXT = "text/plain; charset=utf-8"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


class _Answer(NamedTuple):
    status: int
    content_type: str
    body: bytes


class HttpEndpoint:
    """
    Serves health and metrics.

    Args:
        host: Address to listen on.
        port: Port to listen on.
        readiness: Gives whether the worker is ready, and why, as JSON.
        metrics: Gives the metrics' text.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        readiness: Callable[[], tuple[bool, Mapping[str, Any]]],
        metrics: Callable[[], bytes],
    ) -> None:
        self._host = host
        self._port = port
        self._readiness = readiness
        self._metrics = metrics
        self._routes = {b"/live": self._live, b"/ready": self._ready, b"/metrics": self._show_metrics}
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """
        Begin to listen.

        Raises:
            SettingsError: The address cannot be had.
        """
        try:
            self._server = await asyncio.start_server(self._accept, self._host, self._port)
        except OSError as error:
            raise SettingsError(
                f"MCAI_HTTP_HOST:MCAI_HTTP_PORT is {self._host}:{self._port}; expected an address this worker can "
                f"listen on ({error.strerror or error}). Choose another port."
            ) from error
        _logger.info("Health and metrics are served on http://%s:%d.", self._host, self._port)

    async def close(self) -> None:
        """Stop listening, and end open connections at once. Idempotent."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None or len(self._clients) >= _MAX_CONNECTIONS:
            writer.transport.abort()
            return
        client = asyncio.create_task(_Client(reader, writer).serve(self._answer), name="mcai-http-client")
        self._clients.add(client)

        def end(client: asyncio.Task[None]) -> None:
            self._clients.discard(client)
            writer.transport.abort()

        client.add_done_callback(end)

    def _answer(self, request: h11.Request) -> _Answer:
        path = request.target.partition(b"?")[0]
        route = self._routes.get(path)
        if route is None:
            return _refusal(HTTPStatus.NOT_FOUND)
        if request.method not in (b"GET", b"HEAD"):
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED)
        try:
            return route()
        except Exception:  # a fault of one answer must not end the connection, let alone the worker
            _logger.exception("The health endpoint could not answer %s.", path.decode())
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR)

    def _live(self) -> _Answer:
        return _Answer(HTTPStatus.OK, _JSON, json.dumps({"live": True}).encode())

    def _ready(self) -> _Answer:
        ready, reasons = self._readiness()
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        return _Answer(status, _JSON, json.dumps({"ready": ready, **reasons}).encode())

    def _show_metrics(self) -> _Answer:
        try:
            return _Answer(HTTPStatus.OK, _METRICS, self._metrics())
        except (MissingExtraError, UnsupportedVersionError) as error:
            return _Answer(HTTPStatus.NOT_IMPLEMENTED, _TEXT, f"{error}\n".encode())


class _Client:
    """One connection of a client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_REQUEST_BYTES)

    async def serve(self, answer: Callable[[h11.Request], _Answer]) -> None:
        """Answer one request after another, until the client is done, too slow, or not understood."""
        # An answer that was sent whole is in the system's hands: closing at once does not cut it off.
        self._writer.transport.set_write_buffer_limits(high=0)
        # A client that is slow, leaves or breaks the protocol is none of the worker's business.
        with contextlib.suppress(OSError, h11.ProtocolError):
            while await self._serve_one(answer):
                pass

    async def _serve_one(self, answer: Callable[[h11.Request], _Answer]) -> bool:
        async with asyncio.timeout(EXCHANGE_SECONDS):
            try:
                request = await self._read_request()
            except h11.RemoteProtocolError as error:
                await self._send(_refusal(HTTPStatus(error.error_status_hint)), with_body=True)
                return False
            if request is None:
                return False
            await self._send(answer(request), with_body=request.method != b"HEAD")
        return self._is_ready_for_another()

    async def _read_request(self) -> h11.Request | None:
        request: h11.Request | None = None
        unread_bytes = _MAX_REQUEST_BYTES
        while unread_bytes > 0 and not self._protocol.they_are_waiting_for_100_continue:
            event = self._protocol.next_event()
            if event is h11.NEED_DATA:
                self._protocol.receive_data(await self._reader.read(_MAX_REQUEST_BYTES))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                unread_bytes -= len(event.data)
            else:
                break
        return request

    async def _send(self, answer: _Answer, *, with_body: bool) -> None:
        headers = [
            ("Content-Type", answer.content_type),
            ("Content-Length", str(len(answer.body))),
            ("Date", formatdate(usegmt=True)),
        ]
        if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append(("Allow", "GET, HEAD"))
        head = h11.Response(status_code=answer.status, headers=headers, reason=HTTPStatus(answer.status).phrase)
        events = [head, *([h11.Data(data=answer.body)] if with_body else []), h11.EndOfMessage()]
        self._writer.write(b"".join(self._protocol.send(event) or b"" for event in events))
        await self._writer.drain()

    def _is_ready_for_another(self) -> bool:
        # A client that sends requests without awaiting the answers could keep the loop for itself.
        is_pipelined = bool(self._protocol.trailing_data[0])
        if is_pipelined or self._protocol.states != {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
            return False
        self._protocol.start_next_cycle()
        return True


def _refusal(status: HTTPStatus) -> _Answer:
    return _Answer(status, _TEXT, f"{status.value}: {status.phrase}".encode())

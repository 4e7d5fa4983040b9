"""The health endpoint and the clients it gets: wrong ones, slow ones, and those that never ask."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from mcai_worker_sdk.supervisor import http_endpoint
from mcai_worker_sdk.supervisor.http_endpoint import HttpEndpoint


class Served:
    """An endpoint, and raw connections to it."""

    def __init__(self, endpoint: HttpEndpoint) -> None:
        self.endpoint = endpoint
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        server = self.endpoint._server
        assert server is not None
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        self._writers.append(writer)
        return reader, writer

    async def says(self, request: bytes) -> tuple[str, dict[str, str], bytes]:
        """Status line, headers and body of the answer to the last request of a connection."""
        reader, writer = await self.connect()
        writer.write(request)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        return status, {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}, body

    def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def endpoint(metrics: bytes | Exception = b"mcai_jobs 1\n") -> AsyncIterator[Served]:
    def show() -> bytes:
        if isinstance(metrics, Exception):
            raise metrics
        return metrics

    served = Served(HttpEndpoint("127.0.0.1", 0, readiness=lambda: (True, {"job_id": None}), metrics=show))
    await served.endpoint.start()
    try:
        yield served
    finally:
        await served.endpoint.close()
        served.close()


def request(target: str, method: str = "GET", *, connection: str = "close") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\n\r\n".encode()


async def test_a_get_is_answered_with_its_headers():
    async with endpoint() as served:
        status, headers, body = await served.says(request("/metrics?x=y"))

    assert (status, body) == ("HTTP/1.1 200 OK", b"mcai_jobs 1\n")
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert headers["content-length"] == "12"
    assert headers["date"].endswith(" GMT")


async def test_head_has_the_headers_of_get_and_no_body():
    async with endpoint() as served:
        status, headers, body = await served.says(request("/ready", "HEAD"))

    assert (status, headers["content-length"], body) == ("HTTP/1.1 200 OK", "31", b"")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_unknown_path_is_not_found(method: str):
    async with endpoint() as served:
        status, _, body = await served.says(request("/live/", method))

    assert (status, body) == ("HTTP/1.1 404 Not Found", b"404: Not Found")


async def test_another_method_is_not_allowed():
    with_body = b"POST /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
    async with endpoint() as served:
        status, headers, body = await served.says(with_body)

    assert (status, body) == ("HTTP/1.1 405 Method Not Allowed", b"405: Method Not Allowed")
    assert headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("garbage", "status"),
    [
        (b"garbage\r\n\r\n", "400 Bad Request"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "400 Bad Request"),
        (b"GET /live HTTP/1.1\r\n\r\n", "400 Bad Request"),
        (b"HEAD /live HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", None),
        (b"GET /live HTTP/1.1\r\nx: " + b"x" * 2**15, "431 Request Header Fields Too Large"),
    ],
    ids=["no-line", "tls", "no-host", "bad-chunk-of-head", "too-long"],
)
async def test_a_request_that_is_none_harms_nobody(
    garbage: bytes, status: str | None, caplog: pytest.LogCaptureFixture
):
    async with endpoint() as served:
        if status is None:
            reader, writer = await served.connect()
            writer.write(garbage)
            assert await reader.read() == b""
        else:
            assert (await served.says(garbage))[0] == f"HTTP/1.1 {status}"
        assert (await served.says(request("/live")))[0] == "HTTP/1.1 200 OK"

    assert caplog.text == ""


async def test_a_fault_of_an_answer_is_logged_and_ends_nothing(caplog: pytest.LogCaptureFixture):
    async with endpoint(metrics=RuntimeError("boom")) as served:
        status, _, body = await served.says(request("/metrics"))
        assert (await served.says(request("/live")))[0] == "HTTP/1.1 200 OK"

    assert (status, body) == ("HTTP/1.1 500 Internal Server Error", b"500: Internal Server Error")
    assert "The health endpoint could not answer /metrics." in caplog.text


async def test_a_connection_is_used_again():
    async with endpoint() as served:
        reader, writer = await served.connect()
        for path, end in [("/live", b"}"), ("/metrics", b"\n"), ("/live", b"}")]:
            writer.write(request(path, connection="keep-alive"))
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            await reader.readuntil(b"\r\n\r\n")
            await reader.readuntil(end)


async def test_requests_that_await_no_answer_get_one_answer():
    async with endpoint() as served:
        reader, writer = await served.connect()
        writer.write(request("/live", connection="keep-alive") * 3)

        assert (await reader.read()).count(b"HTTP/1.1 200 OK") == 1


async def test_a_client_that_sends_slowly_or_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http_endpoint, "EXCHANGE_SECONDS", 0.05)
    async with endpoint() as served:
        silent, _ = await served.connect()
        slow, writer = await served.connect()
        writer.write(b"GET /live HTT")

        assert await silent.read() == b""
        assert await slow.read() == b""


async def test_a_client_that_reads_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http_endpoint, "EXCHANGE_SECONDS", 0.05)
    longer_than_the_system_holds = b"x" * 2**25
    async with endpoint(metrics=longer_than_the_system_holds) as served:
        reader, writer = await served.connect()
        writer.write(request("/metrics"))
        await reader.readline()
        await asyncio.wait(served.endpoint._clients)
        with contextlib.suppress(ConnectionError):
            assert len(await reader.read()) < len(longer_than_the_system_holds)


async def test_close_ends_open_connections_at_once():
    async with endpoint() as served:
        silent, _ = await served.connect()
        asked, writer = await served.connect()
        writer.write(request("/live", connection="keep-alive"))
        await asked.readuntil(b"}")
        await served.endpoint.close()

        assert await silent.read() == b""
        assert await asked.read() == b""


async def test_more_clients_than_the_worker_can_bear_are_turned_away(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http_endpoint, "_MAX_CONNECTIONS", 1)
    async with endpoint() as served:
        first, writer = await served.connect()
        writer.write(request("/live", connection="keep-alive"))
        await first.readuntil(b"}")
        second, _ = await served.connect()

        with contextlib.suppress(ConnectionError):
            assert await second.read() == b""

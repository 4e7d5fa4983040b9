"""The JSON client against servers that answer byte by byte what a test says."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from mcai_worker_sdk.services.http import HttpError, JsonClient
from tests.support.tls import Authority

ONE = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1"
TWO = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n2"


class RawServer:
    """
    Gives each connection its own answers, and closes it when it is asked for more.

    Args:
        connections: For each connection, in the order they come, the answers to its requests.
    """

    def __init__(self, connections: Sequence[Sequence[bytes]]) -> None:
        self.port = 0
        self.requests: list[tuple[int, bytes]] = []
        """Number of the connection, from 1, and the request as it came."""
        self.writers: list[asyncio.StreamWriter] = []
        self.arrivals: asyncio.Queue[int] = asyncio.Queue()
        """The connection of each request, to be awaited."""
        self.departures: asyncio.Queue[int] = asyncio.Queue()
        """Each connection that its client closed, to be awaited."""
        self._connections = connections

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    def seen(self) -> list[int]:
        """The connection each request came by."""
        return [number for number, _ in self.requests]

    async def arrived(self, count: int) -> None:
        while len(self.requests) < count:
            await self.arrivals.get()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        number = len(self.writers)
        answers = self._connections[number - 1] if number <= len(self._connections) else []
        try:
            for answer in [*answers, b""]:
                self.requests.append((number, await read_request(reader)))
                self.arrivals.put_nowait(number)
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.departures.put_nowait(number)
        finally:
            writer.transport.abort()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return head + await reader.readexactly(int(length[1]) if length else 0)


@contextlib.asynccontextmanager
async def serve(
    *connections: Sequence[bytes], tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[RawServer]:
    raw = RawServer(connections)
    server = await asyncio.start_server(raw.handle, host, 0, ssl=tls)
    raw.port = server.sockets[0].getsockname()[1]
    try:
        yield raw
    finally:
        server.close()
        for writer in raw.writers:
            writer.transport.abort()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def client_of(url: str, *, timeout_seconds: float = 10.0) -> AsyncIterator[JsonClient]:
    client = JsonClient(url, timeout_seconds=timeout_seconds)
    try:
        yield client
    finally:
        await client.close()


async def answer_to(raw_answer: bytes) -> object:
    """What the client makes of an answer whose connection is closed after it."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(raw_answer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server, client_of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        return await client.request("GET", "/x")


# Requests


async def test_a_request_says_what_a_server_must_know():
    async with serve([ONE]) as server, client_of(server.url) as client:
        await client.request("POST", "/sessions", headers={"authorization": "tök en "}, body={"ä": 1})

    head, _, body = server.requests[0][1].partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    assert first == "POST /api/sessions HTTP/1.1"
    assert headers == {
        "host": f"127.0.0.1:{server.port}",
        "user-agent": "mcai-worker-sdk",
        "accept-encoding": "identity",
        "accept": "application/json",
        "authorization": "tök en",
        "content-type": "application/json",
        "content-length": str(len(body)),
    }
    assert body == b'{"\\u00e4": 1}'


async def test_an_address_of_ipv6_is_in_brackets_only_where_http_wants_them():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("This machine has no IPv6.")
    async with serve([ONE], host="::1") as server, client_of(f"http://[::1]:{server.port}") as client:
        assert await client.request("GET", "/x") == 1

    assert f"\r\nHost: [::1]:{server.port}\r\n".encode() in server.requests[0][1]


@pytest.mark.parametrize("token", ["hidden\r\nx: y", "hidden\n", "hidden\0", "hidden\udcff"])
async def test_a_token_that_no_header_can_carry_never_leaves(token: str):
    async with serve([ONE]) as server, client_of(server.url) as client:
        with pytest.raises(HttpError, match="cannot be asked: address or token is malformed") as caught:
            await client.request("GET", "/x", headers={"authorization": token})

    assert "hidden" not in str(caught.value)
    assert not caught.value.transient
    assert server.writers == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:65536", "http://:80", "http://" + "a" * 64])
async def test_an_address_nobody_can_have_is_malformed(url: str):
    async with client_of(url) as client:
        with pytest.raises(HttpError, match="cannot be asked: address or token is malformed"):
            await client.request("GET", "/x")


@pytest.mark.parametrize("url", ["", "ftp://host", "http://", "http:///x", "http://a b", "http://[::1", "http://x?y"])
def test_what_is_no_http_address_is_refused_at_once(url: str):
    with pytest.raises(HttpError, match="an address that does not read http://HOST or https://HOST"):
        JsonClient(url, timeout_seconds=1)


# Answers


@pytest.mark.parametrize(
    ("raw_answer", "value"),
    [
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n[1\r\n3;x=y\r\n,2]\r\n0\r\nt: z\r\n\r\n", [1, 2]),
        (b"HTTP/1.1 200 OK\r\n\r\n[1,2]", [1, 2]),
        (b"HTTP/1.0 200 OK\r\n\r\n[1,2]", [1, 2]),
        (b"HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", None),
        (b"HTTP/1.1 204 No Content\r\n\r\n", None),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + ONE, 1),
    ],
    ids=["chunked", "until-close", "http-1.0", "empty", "204", "1xx"],
)
async def test_an_answer_is_read_however_its_end_is_told(raw_answer: bytes, value: object):
    assert await answer_to(raw_answer) == value


@pytest.mark.parametrize(
    ("raw_answer", "reason"),
    [
        (b"hidden nonsense\r\n\r\n", "Protocol error"),
        (b"HTTP/1.1 200 OK\r\nhidden\r\n\r\n", "Protocol error"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"hidden" * 2**14, "Protocol error"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nhidden\r\n", "Protocol error"),
        (b"", "Connection reset by peer"),
        (b"HTTP/1.1 200 OK\r\nhidden: ", "Connection reset by peer"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhidden", "Connection reset by peer"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhidden", "Connection reset by peer"),
    ],
)
async def test_a_malformed_or_broken_answer_may_be_better_next_time(raw_answer: bytes, reason: str):
    with pytest.raises(HttpError) as caught:
        await answer_to(raw_answer)

    assert str(caught.value) == f"could not be reached ({reason})"
    assert caught.value.transient


async def test_an_answer_304_is_a_redirect_without_a_body():
    with pytest.raises(HttpError, match="answered 304, a redirect to"):
        await answer_to(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n")


async def test_a_redirect_to_an_unreadable_address_is_a_redirect():
    with pytest.raises(HttpError, match="a redirect to an address that cannot be read, which is not followed"):
        await answer_to(b"HTTP/1.1 302 Found\r\nlocation: http://[hidden\r\ncontent-length: 0\r\n\r\n")


async def test_an_answer_that_drips_ends_at_the_time_out():
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while not await end_within(reader, seconds=0.01):
                writer.write(b" ")
        left.set()
        writer.transport.abort()

    left = asyncio.Event()
    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, client_of(url, timeout_seconds=0.2) as client:
        with pytest.raises(HttpError, match=r"gave no answer within 0\.2 s") as caught:
            await client.request("GET", "/x")
        await left.wait()

    assert caught.value.transient


async def end_within(reader: asyncio.StreamReader, *, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await reader.read(1) == b""
    except TimeoutError:
        return False


# Connections


async def test_a_connection_is_used_again():
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n2\r\n0\r\n\r\n"
    refused = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\n{}"
    async with serve([ONE, chunked, refused, TWO]) as server, client_of(server.url) as client:
        assert await client.request("GET", "/a") == 1
        assert await client.request("GET", "/b") == 2
        with pytest.raises(HttpError, match="answered 401 Unauthorized"):
            await client.request("GET", "/c")
        assert await client.request("GET", "/d") == 2

    assert server.seen() == [1, 1, 1, 1]


async def test_requests_at_once_have_connections_of_their_own_and_one_is_kept():
    async with serve(*[[ONE, ONE]] * 4) as server, client_of(server.url) as client:
        assert await asyncio.gather(*(client.request("GET", "/x") for _ in range(3))) == [1, 1, 1]
        closed = {await server.departures.get(), await server.departures.get()}
        assert await client.request("GET", "/x") == 1

    assert sorted(server.seen()[:3]) == [1, 2, 3]
    assert {server.seen()[3]} == {1, 2, 3} - closed


async def test_a_kept_connection_the_server_closed_is_replaced_once():
    async with serve([ONE], [TWO]) as server, client_of(server.url) as client:
        assert await client.request("POST", "/a", body=[1]) == 1
        assert await client.request("POST", "/b", body=[2]) == 2

    assert server.seen() == [1, 1, 2]  # read by the first, which closed instead of answering, and by the second
    assert server.requests[1][1] == server.requests[2][1]


async def test_a_request_is_sent_again_once_only():
    async with serve([ONE], [], [TWO]) as server, client_of(server.url) as client:
        await client.request("GET", "/a")
        with pytest.raises(HttpError, match="could not be reached"):
            await client.request("GET", "/b")

    assert server.seen() == [1, 1, 2]


async def test_a_late_answer_nobody_asked_for_answers_no_request():
    forged = b'HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n"forged"'
    async with serve([ONE, b""], [ONE], [TWO]) as server, client_of(server.url) as client:
        await client.request("GET", "/a")
        server.writers[0].write(forged)
        async with client_of(server.url) as other:
            await other.request("GET", "/b")  # what was written before has come
        assert await client.request("GET", "/c") == 2

    assert server.seen() == [1, 2, 3]


async def test_a_kept_connection_that_was_closed_meanwhile_costs_nothing():
    async with serve([ONE], [TWO]) as server, client_of(server.url) as client:
        await client.request("GET", "/a")
        server.writers[0].close()
        await server.writers[0].wait_closed()
        assert await client.request("GET", "/b") == 2

    assert server.seen() == [1, 2]


async def test_a_new_connection_that_is_closed_is_not_tried_again():
    async with serve([], [ONE]) as server, client_of(server.url) as client:
        with pytest.raises(HttpError, match="could not be reached"):
            await client.request("GET", "/a")

    assert server.seen() == [1]


async def test_a_request_that_got_part_of_an_answer_is_not_sent_again():
    async with serve([ONE, b"HTTP/1.1 2"], [TWO]) as server, client_of(server.url) as client:
        await client.request("GET", "/a")
        second = asyncio.ensure_future(client.request("GET", "/b"))
        await server.arrived(2)
        server.writers[0].close()
        with pytest.raises(HttpError, match=r"could not be reached \(Connection reset by peer\)"):
            await second

    assert server.seen() == [1, 1]


async def test_an_answer_nobody_asked_for_answers_no_request():
    forged = b'HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n"forged"'
    async with serve([ONE + forged], [TWO]) as server, client_of(server.url) as client:
        assert await client.request("GET", "/a") == 1
        assert await client.request("GET", "/b") == 2

    assert server.seen() == [1, 2]


async def test_a_request_that_ends_at_the_time_out_takes_its_connection_with_it():
    silent = b""
    async with serve([ONE, silent, TWO], [ONE]) as server, client_of(server.url, timeout_seconds=0.2) as client:
        await client.request("GET", "/a")
        with pytest.raises(HttpError, match="gave no answer within"):
            await client.request("GET", "/b")
        assert await client.request("GET", "/c") == 1

    assert server.seen() == [1, 1, 2]


async def test_a_cancelled_request_leaves_no_connection_behind():
    async with serve([ONE, b""], [TWO]) as server, client_of(server.url) as client:
        await client.request("GET", "/a")
        second = asyncio.ensure_future(client.request("GET", "/b"))
        await server.arrived(2)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert await client.request("GET", "/c") == 2

    assert server.seen() == [1, 1, 2]


async def test_close_ends_the_request_that_is_under_way():
    async with serve([ONE, b""], [TWO]) as server, client_of(server.url) as client:
        await client.request("GET", "/a")
        second = asyncio.ensure_future(client.request("GET", "/b"))
        await server.arrived(2)
        await client.close()
        with pytest.raises(HttpError, match="could not be reached"):
            await second

    assert server.seen() == [1, 1]


async def test_a_name_with_several_dead_addresses_says_why(monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    async def two_addresses(*_args: object, **_options: object) -> list[object]:
        addresses = [("127.0.0.1", port), ("127.0.0.2", port)]
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two_addresses)
    async with client_of(f"http://two.example:{port}") as client:
        with pytest.raises(HttpError, match=r"could not be reached \(Connection refused\)"):
            await client.request("GET", "/x")


# TLS


async def test_a_server_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    tls = authority.good().server_context()
    async with serve([ONE, TWO], tls=tls) as server, client_of(f"HTTPS://localhost:{server.port}") as client:
        assert await client.request("GET", "/a") == 1
        assert await client.request("GET", "/b") == 2

    assert server.seen() == [1, 1]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("expired", "certificate has expired"),
        ("wrong_host", "IP address mismatch, certificate is not valid for '127.0.0.1'."),
        ("self_signed", "self-signed certificate"),
    ],
)
async def test_a_server_that_cannot_be_trusted_gets_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, reason: str
):
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    tls = getattr(authority, kind)().server_context()
    async with serve([ONE], tls=tls) as server, client_of(f"https://127.0.0.1:{server.port}") as client:
        with pytest.raises(HttpError, match=r"could not be trusted \(SSLCertVerificationError: ") as caught:
            await client.request("GET", "/a", headers={"authorization": "token"})

    assert reason in str(caught.value).replace("self signed", "self-signed")
    assert not caught.value.transient
    assert server.requests == []

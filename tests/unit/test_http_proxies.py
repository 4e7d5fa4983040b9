"""Proxies of the environment: which is chosen, what it is told, and what is said when it fails."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mcai_worker_sdk.errors import BackendError
from mcai_worker_sdk.services.backend import BackendClient
from mcai_worker_sdk.services.http import HttpError, JsonClient
from mcai_worker_sdk.settings import Proxies, Settings
from tests.support.http_proxy import forwarding_proxy
from tests.support.tls import Authority

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1"


@contextlib.asynccontextmanager
async def server(answer: bytes = ANSWER, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Gives every request the same answer; the port is what it serves on."""

    writers: list[asyncio.StreamWriter] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                writer.write(answer)
                await writer.drain()
                if b"\r\nConnection: close\r\n" in head:
                    writer.write_eof()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for writer in writers:
            writer.transport.abort()
        await listening.wait_closed()


async def ask(url: str, environ: dict[str, str], *, times: int = 1) -> object:
    client = JsonClient(url, timeout_seconds=20, proxies=Settings.load(environ).proxies)
    try:
        for _ in range(times):
            answer = await client.request("GET", "/x", headers={"authorization": "token"})
        return answer
    finally:
        await client.close()


# Which proxy


def chosen(url: str, **environ: str) -> str | None:
    proxy = Settings.load(environ).proxies.proxy_for(urlsplit(url))
    return None if proxy is None else f"{proxy.variable} {proxy.address}"


@pytest.mark.parametrize(
    ("url", "environ", "expected"),
    [
        ("http://a", {}, None),
        ("http://a", {"HTTP_PROXY": "http://p:3128"}, "HTTP_PROXY http://p:3128"),
        ("http://a", {"http_proxy": "http://p:3128"}, "HTTP_PROXY http://p:3128"),
        ("http://a", {"HTTP_PROXY": "http://p:1", "http_proxy": "http://p:2"}, "HTTP_PROXY http://p:1"),
        ("http://a", {"HTTP_PROXY": "", "http_proxy": "http://p:2"}, "HTTP_PROXY http://p:2"),
        ("http://a", {"HTTPS_PROXY": "http://p:1"}, None),
        ("https://a", {"HTTPS_PROXY": "http://p:1"}, "HTTPS_PROXY http://p:1"),
        ("https://a", {"https_proxy": "https://p:1"}, "HTTPS_PROXY https://p:1"),
        ("https://a", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://a", {"ALL_PROXY": "http://p:1"}, "ALL_PROXY http://p:1"),
        ("https://a", {"all_proxy": "http://p:1"}, "ALL_PROXY http://p:1"),
        ("https://a", {"ALL_PROXY": "http://p:1", "HTTPS_PROXY": "http://p:2"}, "HTTPS_PROXY http://p:2"),
        ("http://a", {"HTTP_PROXY": "p:3128"}, "HTTP_PROXY http://p:3128"),
        ("http://a", {"HTTP_PROXY": "http://p"}, "HTTP_PROXY http://p:80"),
        ("http://a", {"HTTP_PROXY": "https://p/"}, "HTTP_PROXY https://p:443"),
        ("http://a", {"HTTP_PROXY": "http://[::1]:3128"}, "HTTP_PROXY http://[::1]:3128"),
        ("http://a", {"HTTP_PROXY": "http://me:secret@p:1"}, "HTTP_PROXY http://p:1"),
        ("http://127.0.0.1", {"HTTP_PROXY": "http://p:1"}, "HTTP_PROXY http://p:1"),
    ],
)
def test_the_proxy_of_the_scheme_is_taken_else_the_one_for_all(url: str, environ: dict[str, str], expected: str | None):
    assert chosen(url, **environ) == expected


@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize(
    ("entries", "bypassed", "others"),
    [
        ("host", ["host", "HOST", "host.", "sub.host", "host:81"], ["ahost", "host.org"]),
        ("a.example", ["a.example", "b.a.example"], ["example", "aa.example"]),
        (".example", ["example", "a.example"], ["anexample"]),
        ("*.example", ["example", "a.example"], ["anexample"]),
        ("Example", ["EXAMPLE"], ["exam"]),
        ("*", ["host", "127.0.0.1", "[::1]"], []),
        ("host:81", ["host:81", "sub.host:81"], ["host", "host:8"]),
        (".host:81", ["host:81"], ["host"]),
        ("10.0.0.1", ["10.0.0.1"], ["10.0.0.2", "10.0.0.1.example"]),
        ("10.0.0.1:81", ["10.0.0.1:81"], ["10.0.0.1"]),
        ("10.0.0.0/8", ["10.1.2.3", "10.1.2.3:81"], ["11.0.0.1", "host"]),
        ("10.9.9.9/8", ["10.1.2.3"], ["11.0.0.1"]),
        ("::1", ["[::1]", "[0:0::1]:81"], ["[::2]", "127.0.0.1"]),
        ("[::1]", ["[::1]"], ["[::2]"]),
        ("[::1]:81", ["[::1]:81"], ["[::1]"]),
        ("fd00::/8", ["[fd12::1]"], ["[fe80::1]"]),
        (" a , b\tc,,", ["a", "b", "c"], ["d"]),
        ("bücher.example", ["bücher.example"], ["a"]),
        (".", [], ["host"]),
        ("", [], ["host"]),
    ],
)
def test_a_host_is_reached_without_a_proxy_in_every_form_in_which_it_is_named(
    variable: str, entries: str, bypassed: list[str], others: list[str]
):
    environ = {"HTTP_PROXY": "http://p:1", variable: entries}

    assert [host for host in bypassed if chosen(f"http://{host}/api", **environ)] == []
    assert [host for host in others if not chosen(f"http://{host}/api", **environ)] == []


@pytest.mark.parametrize(
    "value", ["socks5://p:1080", "http://", "http://p:99999", "http://p q:1", "http://[x]:1", "ftp://p", "://"]
)
def test_what_is_no_proxy_is_passed_over_and_told(value: str):
    proxies = Settings.load({"HTTP_PROXY": value, "ALL_PROXY": "http://p"}).proxies

    assert proxies.proxy_for(urlsplit("http://a")) is None
    (fault,) = proxies.faults()
    assert fault == (
        f"The environment variable HTTP_PROXY is {value!r}; expected http:// or https://, a host and, if wanted, a "
        "port. It is not used: the backend and the credential stores are reached without a proxy."
    )


def test_no_password_of_a_proxy_is_shown():
    settings = Settings.load({"HTTP_PROXY": "ftp://me:s%40cret@p", "ALL_PROXY": "me:pa:ss@p:1", "HTTPS_PROXY": "p"})
    proxy = settings.proxies.proxy_for(urlsplit("https://a"))
    every = Settings.load({"ALL_PROXY": "me:pa:ss@p:1"}).proxies.proxy_for(urlsplit("https://a"))

    assert {"s%40cret", "s@cret", "pa:ss"} <= set(settings.secrets())
    assert every is not None
    assert every.password == "pa:ss"
    for shown in (repr(settings), repr(settings.proxies), repr(proxy), repr(every), *settings.proxies.faults()):
        assert "@cret" not in shown
        assert "40cret" not in shown
        assert "pa:ss" not in shown


def test_without_variables_there_is_none():
    assert Settings.load({}).proxies == Proxies()
    assert Settings.load({}).proxies.faults() == []


# What it is told


async def test_a_request_goes_through_the_proxy_with_the_whole_address():
    async with forwarding_proxy() as proxy, server() as port:
        answer = await ask(f"http://127.0.0.1:{port}/api", {"HTTP_PROXY": f"http://127.0.0.1:{proxy.port}"}, times=2)

        assert answer == 1
        assert proxy.requests == [f"GET http://127.0.0.1:{port}/api/x"] * 2
        assert proxy.header("host") == f"127.0.0.1:{port}"
        assert proxy.header("authorization") == "token"
        assert proxy.header("proxy-authorization") is None


async def test_a_login_at_the_proxy_is_given_to_the_proxy():
    async with forwarding_proxy() as proxy, server() as port:
        await ask(f"http://127.0.0.1:{port}", {"ALL_PROXY": f"m%C3%A9:s%40cret@127.0.0.1:{proxy.port}"})

        scheme, _, login = (proxy.header("proxy-authorization") or "").partition(" ")
        assert (scheme, base64.b64decode(login).decode()) == ("Basic", "mé:s@cret")


async def test_an_address_by_name_is_left_to_the_proxy_to_find():
    async with forwarding_proxy(refusal="502 Bad Gateway") as proxy:
        with pytest.raises(HttpError, match=r"answered 502 Bad Gateway, through the proxy http://127\.0\.0\.1:"):
            await ask("http://store.invalid/api", {"HTTP_PROXY": f"http://127.0.0.1:{proxy.port}"})

        assert proxy.requests == ["GET http://store.invalid/api/x"]


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    made = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.file))
    return made


async def test_an_encrypted_address_is_reached_through_a_tunnel_that_shows_nothing(authority: Authority):
    async with forwarding_proxy() as proxy, server(tls=authority.good().server_context()) as port:
        proxies = {"HTTPS_PROXY": f"http://me:secret@127.0.0.1:{proxy.port}"}
        assert await ask(f"https://localhost:{port}/api", proxies, times=2) == 1

        assert proxy.requests == [f"CONNECT localhost:{port}"]
        assert proxy.header("host") == f"localhost:{port}"
        assert proxy.header("proxy-authorization") == f"Basic {base64.b64encode(b'me:secret').decode()}"
        assert proxy.header("authorization") is None


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_the_way_to_the_proxy_may_be_encrypted_itself(authority: Authority, scheme: str):
    tls = authority.good().server_context()
    async with forwarding_proxy(tls=tls) as proxy, server(tls=tls if scheme == "https" else None) as port:
        answer = await ask(f"{scheme}://localhost:{port}", {"ALL_PROXY": f"https://localhost:{proxy.port}"})

        assert answer == 1
        assert len(proxy.requests) == 1


async def test_a_server_behind_a_tunnel_is_verified(authority: Authority):
    async with forwarding_proxy() as proxy, server(tls=authority.expired().server_context()) as port:
        with pytest.raises(HttpError, match=r"could not be trusted \(.*expired\), through the proxy http://127.0.0.1"):
            await ask(f"https://localhost:{port}", {"ALL_PROXY": f"http://127.0.0.1:{proxy.port}"})


async def test_a_host_without_a_proxy_is_asked_itself():
    async with forwarding_proxy() as proxy, server() as port:
        environ = {"HTTP_PROXY": f"http://127.0.0.1:{proxy.port}", "NO_PROXY": "127.0.0.0/8"}
        assert await ask(f"http://127.0.0.1:{port}", environ) == 1

        assert proxy.requests == []


# What is said when it fails


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_is_not_there_is_named(scheme: str):
    port = closed_port()

    with pytest.raises(HttpError) as caught:
        await ask(f"{scheme}://store.invalid", {"ALL_PROXY": f"http://me:secret@127.0.0.1:{port}"})

    assert str(caught.value) == (
        f"could not be reached (Connection refused), through the proxy http://127.0.0.1:{port} of ALL_PROXY"
    )
    assert caught.value.transient


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("status", "is_transient"),
    [("407 Proxy Authentication Required", False), ("403 Forbidden", False), ("503 Service Unavailable", True)],
)
async def test_a_proxy_that_refuses_is_named_with_its_answer(scheme: str, status: str, is_transient: bool):
    async with forwarding_proxy(refusal=status) as proxy:
        with pytest.raises(HttpError) as caught:
            await ask(f"{scheme}://store.invalid", {"ALL_PROXY": f"http://127.0.0.1:{proxy.port}"})

    assert str(caught.value).endswith(f", through the proxy http://127.0.0.1:{proxy.port} of ALL_PROXY")
    assert status in str(caught.value)
    assert caught.value.transient is is_transient


async def test_a_proxy_that_is_silent_ends_at_the_time_out():
    left = asyncio.Event()

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.transport.abort()
        left.set()

    listening = await asyncio.start_server(silence, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    proxies = Settings.load({"ALL_PROXY": f"http://127.0.0.1:{port}"}).proxies
    client = JsonClient("https://store.invalid", timeout_seconds=0.1, proxies=proxies)
    async with listening:
        with pytest.raises(HttpError, match=r"gave no answer within 0.1 s, through the proxy http://127.0.0.1"):
            await client.request("GET", "/x")
        await client.close()
        await left.wait()


async def test_the_backend_that_a_proxy_keeps_away_is_told_with_the_proxy():
    async with forwarding_proxy(refusal="403 Forbidden") as proxy:
        settings = Settings.load(
            {"HTTP_PROXY": f"127.0.0.1:{proxy.port}", "BACKEND_HOSTNAME": "http://backend.invalid"}
        )
        client = BackendClient(settings.backend, proxies=settings.proxies)
        with pytest.raises(BackendError) as caught:
            await client.black_list()
        await client.close()

    assert (
        f"backend.invalid refused the login (403), through the proxy http://127.0.0.1:{proxy.port} of HTTP_PROXY"
        in str(caught.value)
    )

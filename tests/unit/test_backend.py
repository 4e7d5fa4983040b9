"""The StepFlow backend client, against a real HTTP server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr

from mcai_worker_sdk.errors import BackendError
from mcai_worker_sdk.services.backend import BackendClient, supports_black_list
from mcai_worker_sdk.settings import BackendSettings
from tests.support.backend import Answer, BackendStandIn

LOGIN = ("POST", "/api/sessions")
VERSION = ("GET", "/api/step_flow")
BLACK_LIST = ("GET", "/api/step_flow/blacklist")


@pytest.fixture
def backend() -> Iterator[BackendStandIn]:
    with BackendStandIn() as stand_in:
        yield stand_in


@pytest.fixture
async def client(backend: BackendStandIn) -> AsyncIterator[BackendClient]:
    async with _client(_settings(backend)) as client:
        yield client


@asynccontextmanager
async def _client(settings: BackendSettings, *, timeout_seconds: float = 10.0) -> AsyncIterator[BackendClient]:
    client = BackendClient(settings, timeout_seconds=timeout_seconds)
    try:
        yield client
    finally:
        await client.close()


def _settings(backend: BackendStandIn, *, hostname: str | None = None, password: str | None = None) -> BackendSettings:
    return BackendSettings(
        hostname=hostname or backend.url,
        username=backend.email,
        password=SecretStr(password or backend.password),
    )


async def test_one_session_serves_the_version_and_the_black_list(
    backend: BackendStandIn, client: BackendClient
) -> None:
    backend.black_list = [4242, 7, 2**64 - 1]

    assert await client.step_flow_version() == "1.8.2"
    assert await client.black_list() == {4242, 7, 2**64 - 1}
    assert backend.lines() == ["POST /api/sessions", "GET /api/step_flow", "GET /api/step_flow/blacklist"]


async def test_the_token_is_sent_as_it_is(backend: BackendStandIn, client: BackendClient) -> None:
    await client.black_list()

    assert backend.requests[0].body == {"session": {"email": backend.email, "password": backend.password}}
    assert backend.requests[1].headers["authorization"] == "stand-in session 1"


async def test_requests_at_the_same_time_share_one_login(backend: BackendStandIn, client: BackendClient) -> None:
    await asyncio.gather(client.step_flow_version(), client.black_list(), client.black_list())

    assert backend.lines().count("POST /api/sessions") == 1


async def test_an_expired_session_is_renewed_once(backend: BackendStandIn, client: BackendClient) -> None:
    await client.black_list()
    backend.revoke_tokens()
    backend.black_list = [5]

    assert await client.black_list() == {5}
    assert backend.lines().count("POST /api/sessions") == 2


async def test_a_token_that_never_worked_is_not_renewed(backend: BackendStandIn, client: BackendClient) -> None:
    backend.always(*BLACK_LIST, Answer(status=401))

    with pytest.raises(BackendError, match="401 Unauthorized"):
        await client.black_list()
    assert backend.lines() == ["POST /api/sessions", "GET /api/step_flow/blacklist"]


async def test_a_session_that_is_refused_again_after_its_renewal_ends_in_an_error(
    backend: BackendStandIn, client: BackendClient
) -> None:
    await client.black_list()
    backend.requests.clear()
    backend.always(*BLACK_LIST, Answer(status=401))

    with pytest.raises(BackendError, match="401 Unauthorized"):
        await client.black_list()
    assert backend.lines() == ["GET /api/step_flow/blacklist", "POST /api/sessions", "GET /api/step_flow/blacklist"]


async def test_deleting_a_black_listed_job_returns_what_is_left(backend: BackendStandIn, client: BackendClient) -> None:
    backend.black_list = [4242, 7]

    assert await client.delete_black_listed(4242) == {7}
    assert backend.lines()[-1] == "DELETE /api/step_flow/blacklist/4242"


async def test_deleting_without_a_list_in_the_answer_returns_none(
    backend: BackendStandIn, client: BackendClient
) -> None:
    backend.script("DELETE", "/api/step_flow/blacklist/1", Answer(status=204, body=b""))

    assert await client.delete_black_listed(1) is None


@pytest.mark.parametrize(
    ("body", "job_ids"),
    [
        ({"data": [], "total": 0}, set()),
        ({"data": [1, 2]}, {1, 2}),
        ([3], {3}),
        ({"data": [{"job_id": 4, "reason": "x"}], "total": 1}, {4}),
    ],
)
async def test_known_forms_of_the_black_list_are_read(
    backend: BackendStandIn, client: BackendClient, body: object, job_ids: set[int]
) -> None:
    backend.script(*BLACK_LIST, Answer(body=body))

    assert await client.black_list() == job_ids


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"data": None},
        {"data": {"1": 2}},
        {"data": ["4242"]},
        {"data": [True]},
        {"data": [-1]},
        {"data": [2**64]},
        {"data": [1.5]},
        {"data": [{"id": 1}]},
        b"",
        b"null",
        b"<html>maintenance</html>",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"data": [NaN]}',
    ],
)
async def test_a_malformed_black_list_is_an_error_and_never_an_empty_list(
    backend: BackendStandIn, client: BackendClient, body: object
) -> None:
    backend.script(*BLACK_LIST, Answer(body=body))

    with pytest.raises(BackendError, match=r"GET /step_flow/blacklist"):
        await client.black_list()


@pytest.mark.parametrize("body", [{}, {"version": 1}, [], b"nonsense"])
async def test_a_malformed_version_is_an_error(backend: BackendStandIn, client: BackendClient, body: object) -> None:
    backend.script(*VERSION, Answer(body=body))

    with pytest.raises(BackendError, match="GET /step_flow"):
        await client.step_flow_version()


@pytest.mark.parametrize("body", [{}, {"access_token": None}, {"access_token": ""}, [], b"nonsense"])
async def test_a_login_without_a_token_is_an_error(
    backend: BackendStandIn, client: BackendClient, body: object
) -> None:
    backend.script(*LOGIN, Answer(body=body))

    with pytest.raises(BackendError, match="GET /step_flow"):
        await client.step_flow_version()


@pytest.mark.parametrize("status", [400, 404, 418, 500, 502, 503, 599])
async def test_a_bad_status_is_named(backend: BackendStandIn, client: BackendClient, status: int) -> None:
    backend.script(*VERSION, Answer(status=status, body=b"secret details"))

    with pytest.raises(BackendError, match=f"answered {status}") as caught:
        await client.step_flow_version()
    assert "secret details" not in str(caught.value)


async def test_the_client_recovers_when_the_backend_does(backend: BackendStandIn, client: BackendClient) -> None:
    backend.script(*LOGIN, Answer(status=500))
    with pytest.raises(BackendError, match="500 Internal Server Error"):
        await client.black_list()

    assert await client.black_list() == set()


async def test_a_refused_login_names_the_variables_and_no_password(backend: BackendStandIn) -> None:
    async with _client(_settings(backend, password="wrong password")) as client:
        with pytest.raises(BackendError) as caught:
            await client.step_flow_version()

    assert str(caught.value) == (
        f"The StepFlow backend at {backend.url} refused the login (401) (on GET /step_flow). "
        "Check BACKEND_HOSTNAME, BACKEND_USERNAME and BACKEND_PASSWORD, and that the backend runs."
    )


async def test_a_slow_backend_ends_in_a_time_out(backend: BackendStandIn) -> None:
    backend.always(*LOGIN, Answer(delay_seconds=3600))
    async with _client(_settings(backend), timeout_seconds=0.1) as client:
        with pytest.raises(BackendError, match=r"gave no answer within 0\.1 s"):
            await client.step_flow_version()


async def test_a_backend_that_hangs_up_is_an_error(backend: BackendStandIn, client: BackendClient) -> None:
    backend.always(*LOGIN, Answer(hang_up=True))

    with pytest.raises(BackendError, match="could not be reached"):
        await client.step_flow_version()


async def test_a_backend_that_is_not_there_is_an_error() -> None:
    async with _client(BackendSettings(hostname=f"http://127.0.0.1:{_closed_port()}/api")) as client:
        with pytest.raises(BackendError, match=r"could not be reached \(Connection refused\)"):
            await client.black_list()


async def test_an_unknown_host_is_an_error() -> None:
    async with _client(BackendSettings(hostname="http://nowhere.invalid/api")) as client:
        with pytest.raises(BackendError, match=r"http://nowhere\.invalid/api could not be reached"):
            await client.black_list()


async def test_tls_to_a_server_without_it_is_an_error(backend: BackendStandIn) -> None:
    async with _client(_settings(backend, hostname=backend.url.replace("http://", "https://"))) as client:
        with pytest.raises(BackendError, match="could not be trusted"):
            await client.black_list()


async def test_a_login_inside_the_address_is_refused_and_not_shown(backend: BackendStandIn) -> None:
    hostname = f"http://someone:hidden@127.0.0.1:{_closed_port()}/api"
    async with _client(_settings(backend, hostname=hostname)) as client:
        with pytest.raises(BackendError, match="a user name in it, which is not used") as caught:
            await client.black_list()

    assert "hidden" not in str(caught.value)
    assert "someone" not in str(caught.value)


async def test_a_redirect_is_refused_so_that_no_token_leaves(backend: BackendStandIn, client: BackendClient) -> None:
    with BackendStandIn() as other:
        backend.script(*BLACK_LIST, Answer(status=307, headers={"location": f"{other.url}/step_flow/blacklist?a=b"}))

        with pytest.raises(BackendError, match=f"a redirect to {other.url}/step_flow/blacklist, which is not followed"):
            await client.black_list()
        assert other.requests == []


async def test_an_endless_answer_is_cut_off(backend: BackendStandIn, client: BackendClient) -> None:
    backend.script(*BLACK_LIST, Answer(body=b" " * (16 * 2**20 + 1)))

    with pytest.raises(BackendError, match="answered with more than 16777216 bytes"):
        await client.black_list()


async def test_closing_twice_and_asking_again_works(backend: BackendStandIn, client: BackendClient) -> None:
    await client.black_list()
    await client.close()
    await client.close()

    assert await client.black_list() == set()
    assert backend.lines().count("POST /api/sessions") == 2


@pytest.mark.parametrize("version", ["1.8.2", "1.8.3", "1.9.0-rc2", "1.10.0", "2.0.0", "1.8.2+build"])
def test_step_flow_from_1_8_2_on_has_a_black_list(version: str) -> None:
    assert supports_black_list(version)


@pytest.mark.parametrize("version", ["1.0.0", "1.8.1", "1.7.10", "1.8.2-rc1", "", "latest"])
def test_older_and_unreadable_versions_have_none(version: str) -> None:
    assert not supports_black_list(version)


def _closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port

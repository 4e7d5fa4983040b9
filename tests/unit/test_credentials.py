"""Credential stores, against a real HTTP server where they are asked over HTTP."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from mcai_worker_sdk.errors import CredentialError
from mcai_worker_sdk.protocol.orders import OrderParameter
from mcai_worker_sdk.services.credentials import CredentialResolver
from mcai_worker_sdk.services.http import HttpError, RetryPolicy, with_retries
from mcai_worker_sdk.settings import Settings
from tests.support.backend import Answer, BackendStandIn

#: As many tries as usual, without the pauses.
IMPATIENT = RetryPolicy(delays_seconds=(0.0, 0.0))


@pytest.fixture
def backend() -> Iterator[BackendStandIn]:
    with BackendStandIn() as stand_in:
        yield stand_in


def _parameter(store: str | None, value: JsonValue, *, name: str = "secret", kind: str = "string") -> OrderParameter:
    return OrderParameter(id=name, type=kind, value=value, store=store)


def _resolve(
    environ: Mapping[str, str],
    *parameters: OrderParameter,
    policy: RetryPolicy = IMPATIENT,
    secrets: list[str] | None = None,
) -> dict[str, JsonValue]:
    on_secret = (lambda _: None) if secrets is None else secrets.append
    return CredentialResolver(Settings.load(environ), on_secret, policy=policy).resolve(parameters)


# Plain values


def test_plain_values_and_defaults_arrive_as_they_are() -> None:
    secrets: list[str] = []
    parameters = (
        OrderParameter(id="both", type="string", value="v", default="d"),
        OrderParameter(id="default", type="string", default={"a": [1, None]}),
        OrderParameter(id="false", type="boolean", value=False, default=True),
        OrderParameter(id="neither", type="string"),
        OrderParameter(id="store without key", type="string", store="env"),
    )

    assert _resolve({}, *parameters, secrets=secrets) == {"both": "v", "default": {"a": [1, None]}, "false": False}
    assert secrets == []


def test_the_last_of_several_with_one_id_counts() -> None:
    first, second = _parameter("env", "UNSET"), _parameter(None, "second")

    assert _resolve({}, first, second) == {"secret": "second"}


# The environment


@pytest.mark.parametrize("store", ["env", "ENV", "environment", "Environment"])
def test_the_environment_is_a_store_by_any_case_of_its_names(store: str) -> None:
    secrets: list[str] = []

    assert _resolve({"DB": "pässword"}, _parameter(store, "DB"), secrets=secrets) == {"secret": "pässword"}
    assert secrets == ["pässword"]


def test_the_default_is_the_key_when_there_is_no_value() -> None:
    parameter = OrderParameter(id="secret", type="string", default="DB", store="env")

    assert _resolve({"DB": "password"}, parameter) == {"secret": "password"}


def test_a_missing_variable_is_named_with_store_parameter_and_remedy() -> None:
    with pytest.raises(CredentialError) as caught:
        _resolve({}, _parameter("env", "DB"))

    assert str(caught.value) == (
        "Credential 'DB' of store 'env', for parameter 'secret', is not there: "
        "the environment variable DB is unset or empty. Set it where the worker starts."
    )


@pytest.mark.parametrize("key", [5, True, {"a": "hidden"}, ["hidden"], ""])
def test_a_key_that_is_no_name_is_an_error_that_does_not_show_it(key: JsonValue) -> None:
    with pytest.raises(CredentialError, match="expected its key, a string") as caught:
        _resolve({}, _parameter("env", key))
    assert "hidden" not in str(caught.value)


# Texts and types


@pytest.mark.parametrize("text", ["42", "true", "null", '{"a": 1}', '"quoted"', "-3", "1e5", " padded "])
@pytest.mark.parametrize("kind", ["string", "credential", "template", "extended", "anything"])
def test_a_text_stays_a_text_unless_the_type_says_otherwise(text: str, kind: str) -> None:
    assert _resolve({"KEY": text}, _parameter("env", "KEY", kind=kind)) == {"secret": text}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("integer", "-42", -42),
        ("int", "42", 42),
        ("float", "1.5", 1.5),
        ("number", "3", 3),
        ("boolean", "true", True),
        ("object", '{"user": "u", "n": [1]}', {"user": "u", "n": [1]}),
        ("requirements", '{"paths": []}', {"paths": []}),
        ("array_of_strings", '["a", "b"]', ["a", "b"]),
        ("array_of_templates", "[]", []),
    ],
)
def test_a_text_is_read_as_json_where_the_type_asks_for_it(kind: str, text: str, value: JsonValue) -> None:
    resolved = _resolve({"KEY": text}, _parameter("env", "KEY", kind=kind))

    assert resolved == {"secret": value}
    assert type(resolved["secret"]) is type(value)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("integer", "an integer"),
        ("float", "a number"),
        ("boolean", "true or false"),
        ("object", "a JSON object"),
        ("array_of_strings", "a JSON array"),
    ],
)
@pytest.mark.parametrize("text", ["hidden", '"hidden"', "null", "[hidden", "NaN", "1e400"])
def test_a_text_that_does_not_fit_its_type_is_an_error_that_does_not_show_it(
    kind: str, expected: str, text: str
) -> None:
    with pytest.raises(CredentialError, match=f"does not fit; expected {expected}") as caught:
        _resolve({"KEY": text}, _parameter("env", "KEY", kind=kind))
    assert "hidden" not in str(caught.value)


def test_true_is_not_an_integer() -> None:
    with pytest.raises(CredentialError, match="expected an integer"):
        _resolve({"KEY": "true"}, _parameter("env", "KEY", kind="integer"))


def test_every_text_and_number_inside_a_structured_secret_is_reported(backend: BackendStandIn) -> None:
    secrets: list[str] = []
    text = '{"user": "u1", "nested": [{"password": "p1", "pin": 12345678}, "", true]}'
    backend.vault["db"] = {"user": "u2", "hosts": ["h2"]}

    _resolve(
        {"KEY": text, **backend.vault_environ()},
        _parameter("env", "KEY", name="a", kind="object"),
        _parameter("VAULT", "db", name="b"),
        secrets=secrets,
    )

    assert secrets == [text, "u1", "p1", "12345678", "u2", "h2"]


# StepFlow-style backends


def test_a_backend_store_is_asked_for_its_key_within_one_session(backend: BackendStandIn) -> None:
    backend.credentials.update({"A": "first", "B": "second"})
    secrets: list[str] = []

    resolved = _resolve(
        backend.environ("MYSTORE"),
        _parameter("MYSTORE", "A", name="a"),
        _parameter("MYSTORE", "B", name="b"),
        _parameter("MYSTORE", "A", name="again"),
        secrets=secrets,
    )

    assert resolved == {"a": "first", "b": "second", "again": "first"}
    assert sorted(backend.lines()) == ["GET /api/credentials/A", "GET /api/credentials/B", "POST /api/sessions"]
    assert backend.requests[1].headers["authorization"] == "stand-in session 1"
    assert set(secrets) == {"first", "second"}


@pytest.mark.parametrize("store", ["BACKEND", "backend", "Backend"])
def test_the_workers_own_backend_is_a_store(backend: BackendStandIn, store: str) -> None:
    backend.credentials["KEY"] = "value"

    assert _resolve(backend.environ(), _parameter(store, "KEY")) == {"secret": "value"}


def test_variables_with_the_stores_name_as_written_win(backend: BackendStandIn) -> None:
    backend.credentials["KEY"] = "value"
    elsewhere = {"BACKEND_HOSTNAME": f"http://127.0.0.1:{_closed_port()}"}

    assert _resolve({**elsewhere, **backend.environ("backend")}, _parameter("backend", "KEY")) == {"secret": "value"}


def test_two_stores_are_asked_with_their_own_logins(backend: BackendStandIn) -> None:
    backend.credentials["KEY"] = "one"
    with BackendStandIn() as other:
        other.password = "another"
        other.credentials["KEY"] = "two"

        resolved = _resolve(
            {**backend.environ("ONE"), **other.environ("TWO")},
            _parameter("ONE", "KEY", name="a"),
            _parameter("TWO", "KEY", name="b"),
        )

    assert resolved == {"a": "one", "b": "two"}


@pytest.mark.parametrize("value", [42, -1.5, True, ["a"], {"a": None}])
def test_a_json_value_of_a_backend_passes_as_it_is(backend: BackendStandIn, value: JsonValue) -> None:
    backend.credentials["KEY"] = value

    assert _resolve(backend.environ(), _parameter("BACKEND", "KEY")) == {"secret": value}


@pytest.mark.parametrize("key", ["a b", "a/b", "é?&#%", "..hidden", "a%2Fb", "+", "名"])
def test_a_key_is_escaped_as_one_step_of_the_path(backend: BackendStandIn, key: str) -> None:
    backend.credentials[key] = "value"

    assert _resolve(backend.environ(), _parameter("BACKEND", key)) == {"secret": "value"}


@pytest.mark.parametrize("key", [".", "..", "../users", "a/../b", "a//b", "/a"])
@pytest.mark.parametrize("store", ["BACKEND", "vault"])
def test_a_key_that_leads_to_another_path_is_not_asked_for(backend: BackendStandIn, store: str, key: str) -> None:
    environ = {**backend.environ(), **backend.vault_environ("vault")}

    with pytest.raises(CredentialError, match="is not asked for a key with"):
        _resolve(environ, _parameter(store, key))
    assert [line for line in backend.lines() if line != "POST /api/sessions"] == []


def test_an_unknown_store_is_an_error_and_nobody_is_asked(backend: BackendStandIn) -> None:
    with pytest.raises(CredentialError) as caught:
        _resolve(backend.environ(), _parameter("BAKEND", "KEY"))

    assert str(caught.value) == (
        "Credential 'KEY' of store 'BAKEND', for parameter 'secret', cannot be read: nothing is known of the store; "
        "expected env, vault, BACKEND or a store with an address. "
        "Set BAKEND_HOSTNAME, BAKEND_USERNAME and BAKEND_PASSWORD, or correct the order."
    )
    assert backend.requests == []


def test_the_store_with_the_empty_name_is_unknown() -> None:
    with pytest.raises(CredentialError, match="of store '', for parameter"):
        _resolve({}, _parameter("", "KEY"))


def test_a_missing_key_is_not_asked_for_again(backend: BackendStandIn) -> None:
    with pytest.raises(CredentialError) as caught:
        _resolve(backend.environ(), _parameter("BACKEND", "KEY"))

    assert str(caught.value) == (
        f"Credential 'KEY' of store 'BACKEND', for parameter 'secret', is not there: the store at {backend.url} "
        "answered 404 Not Found. Create it, or correct the key in the order."
    )
    assert backend.lines() == ["POST /api/sessions", "GET /api/credentials/KEY"]


def test_a_refused_login_is_not_tried_again(backend: BackendStandIn) -> None:
    environ = {**backend.environ(), "BACKEND_PASSWORD": "wrong password"}

    with pytest.raises(CredentialError) as caught:
        _resolve(environ, _parameter("BACKEND", "KEY"))

    assert str(caught.value) == (
        f"Credential 'KEY' of store 'BACKEND', for parameter 'secret', is refused: the store at {backend.url} refused "
        "the login (401). Check BACKEND_HOSTNAME, BACKEND_USERNAME, BACKEND_PASSWORD and the rights they give."
    )
    assert backend.lines() == ["POST /api/sessions"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 302])
def test_a_refusal_is_not_tried_again(backend: BackendStandIn, status: int) -> None:
    backend.always("GET", "/api/credentials/KEY", Answer(status=status, body=b"hidden"))

    with pytest.raises(CredentialError, match=str(status)) as caught:
        _resolve(backend.environ(), _parameter("BACKEND", "KEY"))
    assert "hidden" not in str(caught.value)
    assert backend.lines().count("GET /api/credentials/KEY") == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_fault_is_tried_again(backend: BackendStandIn, status: int) -> None:
    backend.credentials["KEY"] = "value"
    backend.script("POST", "/api/sessions", Answer(status=status), Answer(hang_up=True))
    backend.script("GET", "/api/credentials/KEY", Answer(status=status), Answer(status=status))

    assert _resolve(backend.environ(), _parameter("BACKEND", "KEY")) == {"secret": "value"}


def test_a_lasting_fault_ends_after_three_tries(backend: BackendStandIn) -> None:
    backend.always("GET", "/api/credentials/KEY", Answer(status=500))

    with pytest.raises(CredentialError, match="answered 500 Internal Server Error"):
        _resolve(backend.environ(), _parameter("BACKEND", "KEY"))
    assert backend.lines().count("GET /api/credentials/KEY") == 3


def test_a_dead_store_is_asked_for_its_session_only_whatever_the_number_of_keys(backend: BackendStandIn) -> None:
    backend.always("POST", "/api/sessions", Answer(status=503))

    with pytest.raises(CredentialError) as caught:
        _resolve(backend.environ(), *(_parameter("BACKEND", f"K{i}", name=f"p{i}") for i in range(5)))
    assert backend.lines() == ["POST /api/sessions"] * 3
    assert str(caught.value).count("answered 503 Service Unavailable") == 5


def test_a_store_that_is_not_there_is_an_error() -> None:
    environ = {"STORE_HOSTNAME": f"http://127.0.0.1:{_closed_port()}/api"}

    with pytest.raises(CredentialError, match=r"could not be reached \(Connection refused\)"):
        _resolve(environ, _parameter("STORE", "KEY"))


def test_an_unresponsive_store_ends_in_a_time_out(backend: BackendStandIn) -> None:
    backend.always("POST", "/api/sessions", Answer(delay_seconds=3600))
    policy = RetryPolicy(delays_seconds=(0.0,), attempt_seconds=0.1, total_seconds=30.0)

    with pytest.raises(CredentialError, match=r"gave no answer within 0\.1 s"):
        _resolve(backend.environ(), _parameter("BACKEND", "KEY"), policy=policy)
    assert backend.lines() == ["POST /api/sessions"] * 2


def test_all_tries_together_are_bounded(backend: BackendStandIn) -> None:
    backend.always("POST", "/api/sessions", Answer(delay_seconds=3600))
    policy = RetryPolicy(attempt_seconds=30.0, total_seconds=0.1)

    with pytest.raises(CredentialError, match=r"gave no answer within 0\.1 s"):
        _resolve(backend.environ(), _parameter("BACKEND", "KEY"), policy=policy)


@pytest.mark.parametrize(
    "hostname", ["127.0.0.1:4000/api", "ftp://host/", "http://", "http://host?x=1", "http://u:hidden@h"]
)
@pytest.mark.parametrize("store", ["STORE", "vault"])
def test_an_address_that_is_none_is_an_error(store: str, hostname: str) -> None:
    with pytest.raises(CredentialError, match="has an address") as caught:
        _resolve({f"{store}_HOSTNAME": hostname}, _parameter(store, "KEY"))
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"data": None},
        {"data": {}},
        {"data": {"value": None}},
        {"data": "hidden"},
        b"",
        b"hidden",
        b'{"data":',
        b'{"data": {"value": NaN}}',
        b'{"data": {"value": 1e400}}',
    ],
)
def test_a_malformed_answer_is_an_error_that_does_not_show_it(backend: BackendStandIn, body: object) -> None:
    backend.always("GET", "/api/credentials/KEY", Answer(body=body))

    with pytest.raises(CredentialError, match="answered") as caught:
        _resolve(backend.environ(), _parameter("BACKEND", "KEY"))
    assert "hidden" not in str(caught.value)
    assert backend.lines().count("GET /api/credentials/KEY") == 1


# Vault


@pytest.mark.parametrize("store", ["vault", "VAULT", "Vault"])
def test_vault_gives_the_whole_object_kept_under_a_key(backend: BackendStandIn, store: str) -> None:
    backend.vault["team a/db"] = {"value": "42", "port": 5432}

    resolved = _resolve(backend.vault_environ(store), _parameter(store, "team a/db"))

    assert resolved == {"secret": {"value": "42", "port": 5432}}
    assert backend.lines() == ["GET /v1/secret/data/team%20a/db"]


def test_vault_without_an_address_is_asked_on_its_usual_port() -> None:
    with pytest.raises(CredentialError, match=r"the store at http://127\.0\.0\.1:8200/v1 "):
        _resolve({}, _parameter("vault", "KEY"))


def test_a_wrong_vault_token_is_an_error_that_names_its_variables(backend: BackendStandIn) -> None:
    environ = {**backend.vault_environ("vault"), "vault_TOKEN": "hidden"}

    with pytest.raises(CredentialError) as caught:
        _resolve(environ, _parameter("vault", "KEY"))

    assert str(caught.value) == (
        f"Credential 'KEY' of store 'vault', for parameter 'secret', is refused: the store at {backend.vault_url} "
        "answered 403 Forbidden. Check vault_HOSTNAME, vault_TOKEN and the rights they give."
    )


def test_a_token_that_no_header_can_carry_is_an_error_that_does_not_show_it(backend: BackendStandIn) -> None:
    environ = {**backend.vault_environ("vault"), "vault_TOKEN": "hidden\nx: y"}

    with pytest.raises(CredentialError, match="token is malformed") as caught:
        _resolve(environ, _parameter("vault", "KEY"))
    assert "hidden" not in str(caught.value)
    assert backend.requests == []


# The whole


def test_every_fault_of_an_order_is_named_and_no_found_value(backend: BackendStandIn) -> None:
    backend.credentials["GOOD"] = "hidden"

    with pytest.raises(CredentialError) as caught:
        _resolve(
            backend.environ(),
            _parameter("env", "UNSET", name="a"),
            _parameter("BACKEND", "GOOD", name="b"),
            _parameter("BACKEND", "BAD", name="c"),
            _parameter("NOWHERE", "KEY", name="d"),
        )

    lines = str(caught.value).splitlines()
    assert [line.split(" is ")[0].split(" cannot ")[0] for line in lines] == [
        "Credential 'UNSET' of store 'env', for parameter 'a',",
        "Credential 'BAD' of store 'BACKEND', for parameter 'c',",
        "Credential 'KEY' of store 'NOWHERE', for parameter 'd',",
    ]
    assert "hidden" not in str(caught.value)


def test_nothing_is_kept_between_jobs(backend: BackendStandIn) -> None:
    backend.credentials["KEY"] = "first"
    resolver = CredentialResolver(Settings.load(backend.environ()), lambda _: None, policy=IMPATIENT)
    first = resolver.resolve([_parameter("BACKEND", "KEY")])
    backend.credentials["KEY"] = "second"

    assert (first, resolver.resolve([_parameter("BACKEND", "KEY")])) == ({"secret": "first"}, {"secret": "second"})


async def test_resolving_works_where_a_loop_is_running(backend: BackendStandIn) -> None:
    backend.credentials["KEY"] = "value"

    assert _resolve(backend.environ(), _parameter("BACKEND", "KEY")) == {"secret": "value"}


def test_resolving_leaves_the_callers_event_loop_alone(backend: BackendStandIn) -> None:
    backend.credentials["KEY"] = "value"
    with asyncio.Runner() as runner:
        mine = runner.get_loop()
        asyncio.set_event_loop(mine)

        _resolve(backend.environ(), _parameter("BACKEND", "KEY"))

        assert asyncio.get_event_loop() is mine


def test_no_secret_is_logged(backend: BackendStandIn, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    backend.credentials["KEY"] = "hidden value"
    backend.script("GET", "/api/credentials/KEY", Answer(status=500))

    _resolve({**backend.environ(), "DB": "hidden too"}, _parameter("BACKEND", "KEY"), _parameter("env", "DB", name="b"))

    assert "A request failed (it answered 500 Internal Server Error); next try in 0.0 s." in caplog.text
    assert "hidden" not in caplog.text
    assert backend.password not in caplog.text
    assert "stand-in session" not in caplog.text


def test_the_environment_store_needs_no_http_library() -> None:
    program = """
import sys
from mcai_worker_sdk.protocol.orders import OrderParameter
from mcai_worker_sdk.services.credentials import CredentialResolver
from mcai_worker_sdk.settings import Settings
resolver = CredentialResolver(Settings.load({"DB": "x"}), lambda _: None)
assert resolver.resolve([OrderParameter(id="a", type="string", value="DB", store="env")]) == {"a": "x"}
print([name for name in ("h11", "http.client") if name in sys.modules])
"""

    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)

    assert done.stdout == "[]\n"


@given(
    secret=st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=8),
    kind=st.sampled_from(["integer", "boolean", "object", "array_of_strings", "float"]),
)
def test_no_message_ever_holds_a_secret(secret: str, kind: str) -> None:
    """Long texts only: one of a few letters can be part of any message by chance."""
    marked = f"<{secret}>"  # is no JSON, so that every one of these types refuses it

    with pytest.raises(CredentialError) as caught:
        _resolve({"KEY": marked}, _parameter("env", "KEY", kind=kind))

    assert marked not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


# Retries


async def test_pauses_grow_and_the_last_fault_is_reported() -> None:
    pauses: list[float] = []
    faults = iter("abc")

    async def attempt() -> Any:
        raise HttpError(next(faults), transient=True)

    async def sleep(delay_seconds: float) -> None:
        pauses.append(delay_seconds)

    with pytest.raises(HttpError) as caught:
        await with_retries(attempt, RetryPolicy(), sleep=sleep)

    assert (pauses, caught.value.reason) == ([0.5, 1.0], "c")


def _closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port

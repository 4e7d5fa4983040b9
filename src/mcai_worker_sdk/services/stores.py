"""
Credential stores that are asked over HTTP: StepFlow-style backends and Vault's key/value store, version 2.

A store is asked for all its keys at once, so that a dead one costs its time-out once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol, TypeAlias
from urllib.parse import quote

from pydantic import JsonValue, SecretStr

from mcai_worker_sdk.services.http import HttpError, JsonClient, RetryPolicy, shown_address, with_retries
from mcai_worker_sdk.services.stepflow import StepFlowConnection
from mcai_worker_sdk.settings import NO_PROXIES, Proxies

__all__ = ["Found", "HttpStore", "Lookup", "NotFound", "StepFlowStore", "VaultStore", "look_up_all"]


@dataclass(frozen=True, slots=True)
class Found:
    """What a store holds under a key."""

    value: JsonValue

    def __repr__(self) -> str:
        return "Found(***)"


@dataclass(frozen=True, slots=True)
class NotFound:
    """Why there is no value."""

    reason: str
    """A clause that goes on from the credential's name, and a sentence with the remedy."""


Lookup: TypeAlias = Found | NotFound


class HttpStore(Protocol):
    """A store that is asked over HTTP."""

    async def look_up(self, keys: Sequence[str], policy: RetryPolicy) -> dict[str, Lookup]:
        """Look up each key; one that cannot be had is a :class:`NotFound`, nothing is raised."""
        ...


@dataclass(frozen=True, slots=True)
class StepFlowStore:
    """A StepFlow-style backend: one ``POST /sessions``, then ``GET /credentials/KEY`` for each key."""

    name: str
    """Prefix of the variables that configure it."""
    hostname: str
    username: str
    password: SecretStr
    proxies: Proxies = NO_PROXIES

    async def look_up(self, keys: Sequence[str], policy: RetryPolicy) -> dict[str, Lookup]:
        """Look up each key in one session; without a session all keys fail alike."""

        def explain(fault: HttpError) -> NotFound:
            return _explain(fault, self.hostname, f"{self.name}_HOSTNAME, {self.name}_USERNAME, {self.name}_PASSWORD")

        try:
            client = JsonClient(self.hostname, timeout_seconds=policy.attempt_seconds, proxies=self.proxies)
        except HttpError as fault:
            return dict.fromkeys(keys, explain(fault))
        connection = StepFlowConnection(client, username=self.username, password=self.password.get_secret_value())

        async def ask(key: str) -> JsonValue:
            answer = await connection.request("GET", f"/credentials/{_escape_key(key, keep='')}")
            return _member_of_data(answer, "value")

        try:
            await with_retries(connection.open, policy)
            return await _ask_each(keys, ask, explain, policy)
        except HttpError as fault:
            return dict.fromkeys(keys, explain(fault))
        finally:
            await connection.close()


@dataclass(frozen=True, slots=True)
class VaultStore:
    """Vault: ``GET /secret/data/KEY`` with ``X-Vault-Token``; the value is the whole object kept there."""

    name: str
    """Prefix of the variables that configure it."""
    hostname: str
    token: SecretStr
    proxies: Proxies = NO_PROXIES

    async def look_up(self, keys: Sequence[str], policy: RetryPolicy) -> dict[str, Lookup]:
        """Look up each key. Slashes of a key separate folders, as in Vault itself."""

        def explain(fault: HttpError) -> NotFound:
            return _explain(fault, self.hostname, f"{self.name}_HOSTNAME, {self.name}_TOKEN")

        try:
            client = JsonClient(self.hostname, timeout_seconds=policy.attempt_seconds, proxies=self.proxies)
        except HttpError as fault:
            return dict.fromkeys(keys, explain(fault))
        headers = {"X-Vault-Token": self.token.get_secret_value()}

        async def ask(key: str) -> JsonValue:
            answer = await client.request("GET", f"/secret/data/{_escape_key(key, keep='/')}", headers=headers)
            return _member_of_data(answer, "data")

        try:
            return await _ask_each(keys, ask, explain, policy)
        finally:
            await client.close()


async def look_up_all(
    wanted: Sequence[tuple[HttpStore, Sequence[str]]], policy: RetryPolicy
) -> list[dict[str, Lookup]]:
    """
    Ask several stores at the same time.

    Args:
        wanted: Each store with the keys wanted of it.
        policy: How long to try each request.

    Returns:
        What became of each key, store by store in the order of ``wanted``.
    """
    return list(await asyncio.gather(*(store.look_up(keys, policy) for store, keys in wanted)))


async def _ask_each(
    keys: Sequence[str],
    ask: Callable[[str], Awaitable[JsonValue]],
    explain: Callable[[HttpError], NotFound],
    policy: RetryPolicy,
) -> dict[str, Lookup]:
    async def look_up(key: str) -> Lookup:
        try:
            return Found(await with_retries(lambda: ask(key), policy))
        except HttpError as fault:
            return explain(fault)

    return dict(zip(keys, await asyncio.gather(*map(look_up, keys)), strict=True))


def _member_of_data(answer: JsonValue, name: str) -> JsonValue:
    data = answer.get("data") if isinstance(answer, dict) else None
    value = data.get(name) if isinstance(data, dict) else None
    if value is None:
        raise HttpError(f"answered without a data.{name}")
    return value


def _escape_key(key: str, *, keep: str) -> str:
    # "." and ".." survive percent-escaping and would lead a server to another path, with our token.
    if any(step in ("", ".", "..") for step in key.split("/")):
        raise HttpError("is not asked for a key with an empty, '.' or '..' step in it")
    return quote(key, safe=keep)


def _explain(fault: HttpError, hostname: str, variables: str) -> NotFound:
    happened = f"the store at {shown_address(hostname)} {fault.reason}"
    if fault.status == HTTPStatus.NOT_FOUND:
        return NotFound(f"is not there: {happened}. Create it, or correct the key in the order.")
    if fault.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return NotFound(f"is refused: {happened}. Check {variables} and the rights they give.")
    return NotFound(f"cannot be read: {happened}. Check {variables}, and that the store runs.")

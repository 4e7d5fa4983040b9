"""The StepFlow way of asking: one session token, sent with every request, renewed once when it expired."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from pydantic import JsonValue

from mcai_worker_sdk.services.http import HttpError, JsonClient

__all__ = ["StepFlowConnection"]


class StepFlowConnection:
    """
    A logged-in connection to a StepFlow-style backend: the orchestrator's own, or a credential store.

    Belongs to one event loop; several requests may run at once and share one session.

    Source: StepFlow's HTTP interface. ``POST /sessions`` with ``{"session": {"email", "password"}}`` gives
    ``access_token``, which goes into the header ``authorization`` as it is, without "Bearer".
    """

    def __init__(self, client: JsonClient, *, username: str, password: str) -> None:
        """
        Args:
            client: Where to send requests; closed by :meth:`close`.
            username: The session's ``email``.
            password: The session's ``password``.
        """
        self._client = client
        self._username = username
        self._password = password
        self._token: str | None = None
        self._token_worked = False
        self._login = asyncio.Lock()

    @property
    def address(self) -> str:
        """The backend's address as it may be shown."""
        return self._client.address

    async def open(self) -> None:
        """
        Log in, unless there is a session already.

        Raises:
            HttpError: The backend gave no session.
        """
        await self._current_token(stale=None)

    async def request(self, method: str, path: str) -> JsonValue:
        """
        Send one request within the session.

        A token that worked before and gets 401 has expired and is renewed, once. One that never worked is not: another
        would fare no better.

        Raises:
            HttpError: See :meth:`JsonClient.request`; also when the session cannot be opened or renewed.
        """
        token = await self._current_token(stale=None)
        try:
            answer = await self._client.request(method, path, headers={"authorization": token})
        except HttpError as fault:
            if fault.status != HTTPStatus.UNAUTHORIZED or not self._token_worked:
                raise
            token = await self._current_token(stale=token)
            answer = await self._client.request(method, path, headers={"authorization": token})
        self._token_worked = True
        return answer

    async def close(self) -> None:
        """Forget the session and close the connections. Idempotent."""
        self._token = None
        self._token_worked = False
        await self._client.close()

    async def _current_token(self, *, stale: str | None) -> str:
        async with self._login:
            if self._token is None or self._token == stale:
                self._token = None
                self._token = await self._open_session()
            return self._token

    async def _open_session(self) -> str:
        login: JsonValue = {"session": {"email": self._username, "password": self._password}}
        try:
            answer = await self._client.request("POST", "/sessions", body=login)
        except HttpError as fault:
            if fault.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise HttpError(f"refused the login ({fault.status})", status=fault.status, via=fault.via) from None
            raise
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token:
            raise HttpError("opened no session: its answer has no access_token")
        return token

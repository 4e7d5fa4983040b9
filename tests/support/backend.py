"""
A real HTTP server that stands in for the StepFlow backend and for Vault's key/value store.

It runs on a free loopback port in its own thread, so that blocking tests and workers in other processes can use it::

    with BackendStandIn() as backend:
        backend.credentials["DATABASE"] = "secret"
        backend.script("GET", "/api/step_flow", Answer(status=500), Answer(status=500))
        ...
        assert [request.line for request in backend.requests] == ["POST /api/sessions", ...]

The two share one port: StepFlow under ``/api``, Vault under ``/v1``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

__all__ = ["Answer", "BackendStandIn", "RecordedRequest"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One scripted answer; it replaces what the stand-in would have said."""

    status: int = 200
    body: Any = None
    """``bytes`` go out as they are; anything else is dumped as JSON."""
    delay_seconds: float = 0.0
    """Wait before answering; a stand-in that is closed does not wait on."""
    hang_up: bool = False
    """Close the connection instead of answering."""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request as it arrived."""

    method: str
    path: str
    """Path as sent, percent-escapes kept."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: Any
    """The JSON body, its text when it is not JSON, ``None`` when there is none."""

    @property
    def line(self) -> str:
        """Method and path."""
        return f"{self.method} {self.path}"


class BackendStandIn:
    """
    The stand-in. Its attributes may be changed at any time, from any thread, and count from the next request.

    Attributes:
        email: The one login that ``POST /sessions`` accepts, with ``password``.
        step_flow_version: What ``GET /step_flow`` says.
        black_list: Entries of ``data`` in the black list's answers, in order.
        credentials: Values of ``GET /credentials/KEY``, any JSON.
        vault: Objects of ``GET /v1/secret/data/KEY``.
        vault_token: The one ``X-Vault-Token`` accepted.
        requests: Everything that arrived, oldest first.
    """

    def __init__(self) -> None:
        self.email = "worker@example.org"
        self.password = "stand-in password"
        self.step_flow_version = "1.8.2"
        self.black_list: list[Any] = []
        self.credentials: dict[str, Any] = {}
        self.vault: dict[str, Any] = {}
        self.vault_token = "stand-in vault token"
        self.requests: list[RecordedRequest] = []
        self.port = 0
        self._tokens: set[str] = set()
        self._sessions_opened = 0
        self._scripts: dict[tuple[str, str], deque[Answer]] = {}
        self._permanent: dict[tuple[str, str], Answer] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name="backend-stand-in", daemon=True)

    @property
    def url(self) -> str:
        """``*_HOSTNAME`` of the StepFlow backend."""
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def vault_url(self) -> str:
        """``*_HOSTNAME`` of the Vault store."""
        return f"http://127.0.0.1:{self.port}/v1"

    def environ(self, store: str = "BACKEND") -> dict[str, str]:
        """Environment variables that make this stand-in the backend, or the StepFlow-style store of that name."""
        return {f"{store}_HOSTNAME": self.url, f"{store}_USERNAME": self.email, f"{store}_PASSWORD": self.password}

    def vault_environ(self, store: str = "VAULT") -> dict[str, str]:
        """Environment variables that make this stand-in the Vault store, by the name as orders write it."""
        return {f"{store}_HOSTNAME": self.vault_url, f"{store}_TOKEN": self.vault_token}

    def script(self, method: str, path: str, *answers: Answer) -> None:
        """Give these answers, once each and in order, to the next requests of that method and path."""
        self._scripts.setdefault((method, path), deque()).extend(answers)

    def always(self, method: str, path: str, answer: Answer | None) -> None:
        """Give this answer to every request of that method and path; ``None`` ends it. Scripted answers go first."""
        if answer is None:
            self._permanent.pop((method, path), None)
        else:
            self._permanent[method, path] = answer

    def revoke_tokens(self) -> None:
        """Make every session invalid: requests with an old token get 401."""
        self._tokens.clear()

    def lines(self) -> list[str]:
        """Method and path of every request, oldest first."""
        return [request.line for request in list(self.requests)]

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise RuntimeError("The backend stand-in did not start.") from self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and end the thread. Idempotent."""
        if self._loop is not None and self._closing is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def _serve(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits in __enter__
            self._failure = error
        finally:
            self._ready.set()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        application = web.Application(client_max_size=64 * 2**20)
        application.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.port = runner.addresses[0][1]
            self._ready.set()
            await self._closing.wait()
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        recorded = RecordedRequest(
            method=request.method,
            path=request.raw_path,
            headers={name.lower(): value for name, value in request.headers.items()},
            body=_readable(await request.read()),
        )
        self.requests.append(recorded)
        answer = self._scripted(recorded)
        if answer is None:
            return self._ordinary(recorded)
        if answer.delay_seconds and self._closing is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), answer.delay_seconds)
        if answer.hang_up:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        return web.Response(
            status=answer.status, body=body, headers=dict(answer.headers), content_type=answer.content_type
        )

    def _scripted(self, request: RecordedRequest) -> Answer | None:
        key = (request.method, request.path)
        answers = self._scripts.get(key)
        return answers.popleft() if answers else self._permanent.get(key)

    def _ordinary(self, request: RecordedRequest) -> web.Response:
        if request.path.startswith("/v1/secret/data/"):
            return self._vault_secret(request)
        if request.line == "POST /api/sessions":
            return self._session(request)
        if request.headers.get("authorization") not in self._tokens:
            return web.json_response({"errors": {"detail": "Unauthorized"}}, status=401)
        return self._step_flow(request)

    def _session(self, request: RecordedRequest) -> web.Response:
        if request.body != {"session": {"email": self.email, "password": self.password}}:
            return web.json_response({"errors": {"detail": "Unauthorized"}}, status=401)
        self._sessions_opened += 1
        token = f"stand-in session {self._sessions_opened}"
        self._tokens.add(token)
        return web.json_response({"access_token": token, "user": {"id": 1, "email": self.email}})

    def _step_flow(self, request: RecordedRequest) -> web.Response:
        if request.line == "GET /api/step_flow":
            return web.json_response({"application": "Step Flow", "version": self.step_flow_version})
        if request.line == "GET /api/step_flow/blacklist":
            return self._black_list()
        if request.method == "DELETE" and request.path.startswith("/api/step_flow/blacklist/"):
            job_id = int(request.path.rpartition("/")[2])
            self.black_list = [entry for entry in self.black_list if entry != job_id]
            return self._black_list()
        if request.method == "GET" and request.path.startswith("/api/credentials/"):
            return self._credential(request.path.removeprefix("/api/credentials/"))
        return web.json_response({"errors": {"detail": "Not Found"}}, status=404)

    def _black_list(self) -> web.Response:
        return web.json_response({"data": self.black_list, "total": len(self.black_list)})

    def _credential(self, escaped_key: str) -> web.Response:
        for number, (key, value) in enumerate(self.credentials.items(), start=1):
            if _escape(key, keep="") == escaped_key:
                data = {"id": number, "key": key, "value": value, "inserted_at": "2024-01-01T00:00:00"}
                return web.json_response({"data": data})
        return web.json_response({"errors": {"detail": "Not Found"}}, status=404)

    def _vault_secret(self, request: RecordedRequest) -> web.Response:
        if request.headers.get("x-vault-token") != self.vault_token:
            return web.json_response({"errors": ["permission denied"]}, status=403)
        escaped_key = request.path.removeprefix("/v1/secret/data/")
        for key, value in self.vault.items():
            if _escape(key, keep="/") == escaped_key:
                return web.json_response({"data": {"data": value, "metadata": {"version": 1}}})
        return web.json_response({"errors": []}, status=404)


def _escape(text: str, *, keep: str) -> str:
    """Percent-escape all but unreserved characters, independently of what the SDK uses."""
    unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~" + keep
    return "".join(chr(byte) if chr(byte) in unreserved else f"%{byte:02X}" for byte in text.encode())


def _readable(body: bytes) -> Any:
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", errors="replace")

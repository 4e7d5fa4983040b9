"""What is around a worker in a test: its environment, its credential stores, its log."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from mcai_worker_sdk.logs import configure_relay
from mcai_worker_sdk.settings import Settings

__all__ = ["LogLine", "Stores", "surrounded"]

#: Credentials by store, and by key.
Stores = Mapping[str, Mapping[str, Any]]

_ENVIRONMENT_STORES = frozenset({"env", "environment"})
_TOKEN = "token-of-the-test"  # noqa: S105 - opens nothing but a server of this process
_POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class LogLine:
    """One record of the log, as the worker would write it: secrets are masked."""

    level: int
    """As ``logging`` counts."""
    logger: str
    message: str
    exception: str | None
    """The traceback, if there is one."""
    job_id: int
    """The job that ran, -1 for none."""
    created: float
    """Seconds since 1970, UTC."""


@contextmanager
def surrounded(
    environment: Mapping[str, str], credentials: Stores, on_line: Callable[[LogLine], None]
) -> Iterator[Settings]:
    """
    Change the process's environment and logging, and run credential stores, until the end of the block.

    Args:
        environment: Variables beside those that are set.
        credentials: What each store holds. ``env`` is the environment; every other store is a server on loopback.
        on_line: Called with each record of the log.

    Yields:
        The settings that the environment says.

    Raises:
        SettingsError: A variable has a value that is not allowed.
    """
    variables = dict(environment)
    with ExitStack() as stack:
        served: dict[str, Mapping[str, Any]] = {}
        for store, values in credentials.items():
            if store.casefold() in _ENVIRONMENT_STORES:
                variables.update({key: str(value) for key, value in values.items()})
            else:
                served[store] = values
        if served:
            variables.update(stack.enter_context(_served(served)))
        stack.enter_context(_environment(variables))
        settings = Settings.load()
        stack.enter_context(_logging(settings.log.level, on_line))
        yield settings


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """User code reads the environment itself: it is the process's own that is changed."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _logging(level: int, on_line: Callable[[LogLine], None]) -> Iterator[None]:
    """The same relay as in a job process. What was set up before, by the test's own tools too, is put back after."""
    root = logging.root
    handlers, root_level, factory = root.handlers[:], root.level, logging.getLogRecordFactory()
    configure_relay(level, lambda record: on_line(LogLine(**record)))
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(root_level)
        logging.setLogRecordFactory(factory)


@contextmanager
def _served(stores: Stores) -> Iterator[dict[str, str]]:
    """Serve the stores on loopback, in a thread, by the protocols of StepFlow and Vault; yields their variables."""

    class Handler(_StoreHandler):
        contents = stores

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), daemon=True)
        thread.start()
        try:
            yield _variables_of(stores, server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def _variables_of(stores: Stores, port: int) -> dict[str, str]:
    # A proxy of the machine's is not asked for a server of this process.
    variables = {"NO_PROXY": "127.0.0.1"}
    for store in stores:
        variables[f"{store}_HOSTNAME"] = f"http://127.0.0.1:{port}/{store}"
        variables |= {f"{store}_USERNAME": "test", f"{store}_PASSWORD": _TOKEN, f"{store}_TOKEN": _TOKEN}
    return variables


class _StoreHandler(BaseHTTPRequestHandler):
    contents: Stores
    protocol_version = "HTTP/1.0"  # Connections that stay open would hold up the server's end.

    def do_POST(self) -> None:
        """Open a session of a StepFlow-style store."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(HTTPStatus.OK, {"access_token": _TOKEN})

    def do_GET(self) -> None:
        """Look a credential up: ``/STORE/credentials/KEY``, or ``/STORE/secret/data/KEY`` as Vault has it."""
        store, _, path = self.path.lstrip("/").partition("/")
        values = self.contents.get(unquote(store), {})
        is_vault = path.startswith("secret/data/")
        key = unquote(path.removeprefix("secret/data/").removeprefix("credentials/"))
        if key in values:
            self._answer(HTTPStatus.OK, {"data": {"data" if is_vault else "value": values[key]}})
        else:
            self._answer(HTTPStatus.NOT_FOUND, {"errors": [f"there is no {key}"]})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Say nothing on standard error."""

    def _answer(self, status: HTTPStatus, body: Mapping[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

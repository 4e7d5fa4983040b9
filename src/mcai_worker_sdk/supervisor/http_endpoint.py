"""
The optional health and metrics endpoint (``MCAI_HTTP_PORT``): ``/live``, ``/ready``, ``/metrics``.

It lives on the supervisor's event loop, so an answer proves that the loop turns. A worker without its broker is alive
and not ready; a worker with a long job is both.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from mcai_worker_sdk.errors import MissingExtraError, SettingsError

__all__ = ["HttpEndpoint"]

_logger = logging.getLogger(__name__)


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
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """
        Begin to listen.

        Raises:
            SettingsError: The address cannot be had.
        """
        application = web.Application()
        application.add_routes(
            [web.get("/live", self._live), web.get("/ready", self._ready), web.get("/metrics", self._show_metrics)]
        )
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            raise SettingsError(
                f"MCAI_HTTP_HOST:MCAI_HTTP_PORT is {self._host}:{self._port}; expected an address this worker can "
                f"listen on ({error.strerror or error}). Choose another port."
            ) from error
        _logger.info("Health and metrics are served on http://%s:%d.", self._host, self._port)

    async def close(self) -> None:
        """Stop listening. Idempotent."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _live(self, _request: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def _ready(self, _request: web.Request) -> web.Response:
        ready, reasons = self._readiness()
        return web.json_response({"ready": ready, **reasons}, status=200 if ready else 503)

    async def _show_metrics(self, _request: web.Request) -> web.Response:
        try:
            body = self._metrics()
        except MissingExtraError as error:
            return web.Response(text=f"{error}\n", status=501)
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

"""The backend's black list, kept in step beside the jobs: the backend may be slow, wrong or away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from mcai_worker_sdk.errors import BackendError
from mcai_worker_sdk.lifecycle import events as ev
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.services.backend import BackendClient, supports_black_list

__all__ = ["BackendBlackList"]

_logger = get_logger(__name__)

#: How long the worker's start waits for the first answer, in seconds; the fetching goes on in the background.
FIRST_FETCH_SECONDS = 2.0
#: Between two tries while the backend does not answer, in seconds.
RETRY_SECONDS = 30.0


class BackendBlackList:
    """
    Fetches and deletes in tasks of their own; a failure is a warning, never the worker's end.

    Args:
        client: The backend.
        on_event: Called with ``BlackListFetched``.
    """

    def __init__(self, client: BackendClient, on_event: Callable[[ev.Event], None]) -> None:
        self._client = client
        self._on_event = on_event
        self._fetching: asyncio.Task[None] | None = None
        self._answered = asyncio.Event()
        self._asked = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Fetch the list for the first time; return when it is there, was refused, or two seconds have passed."""
        self.fetch()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._answered.wait(), FIRST_FETCH_SECONDS)

    def fetch(self) -> None:
        """Fetch the list now, and again and again until the backend answers."""
        self._asked.set()
        if self._fetching is None or self._fetching.done():
            self._fetching = self._spawn(self._fetch_until_answered(), "mcai-black-list")

    def delete(self, job_id: int) -> None:
        """Tell the backend that a listed job was dropped."""
        self._spawn(self._delete(job_id), f"mcai-black-list-delete-{job_id}")

    async def close(self) -> None:
        """Give up what is under way; a deletion gets one second more."""
        if self._fetching is not None:
            self._fetching.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(BackendError):
            await self._client.close()

    async def _fetch_until_answered(self) -> None:
        while self._asked.is_set():
            self._asked.clear()
            answered = await self._fetch()
            self._answered.set()
            if not answered:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._asked.wait(), RETRY_SECONDS)
                self._asked.set()

    async def _fetch(self) -> bool:
        """Ask once; whether the backend answered."""
        try:
            version = await self._client.step_flow_version()
            if not supports_black_list(version):
                _logger.warning(
                    "StepFlow %s at the backend is older than 1.8.2 and keeps no black list: it stays empty.", version
                )
                return True
            job_ids = await self._client.black_list()
        except BackendError as error:
            _logger.warning("The black list stays as it is: %s Next try in %g s.", error, RETRY_SECONDS)
            return False
        self._on_event(ev.BlackListFetched(frozenset(job_ids)))
        return True

    async def _delete(self, job_id: int) -> None:
        try:
            job_ids = await self._client.delete_black_listed(job_id)
        except BackendError as error:
            _logger.warning(
                "The backend was not told that the black-listed job was dropped: %s", error, extra={"job_id": job_id}
            )
            return
        if job_ids is not None:
            self._on_event(ev.BlackListFetched(frozenset(job_ids)))

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

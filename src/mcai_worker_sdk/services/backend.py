"""
The StepFlow backend, as far as a worker needs it: its version and the black list of jobs.

Nothing here retries: the worker runs without the backend (an empty black list and a warning), and the supervisor
decides when to ask again.
"""

from __future__ import annotations

from packaging.version import InvalidVersion, Version
from pydantic import JsonValue

from mcai_worker_sdk.errors import BackendError
from mcai_worker_sdk.services.http import HttpError, JsonClient, shown_address
from mcai_worker_sdk.services.stepflow import StepFlowConnection
from mcai_worker_sdk.settings import NO_PROXIES, BackendSettings, Proxies

__all__ = ["BackendClient", "supports_black_list"]

#: The first StepFlow whose black list a worker asks for.
FIRST_VERSION_WITH_BLACK_LIST = Version("1.8.2")

#: Time-out of one request, seconds.
TIMEOUT_SECONDS = 10.0

#: Job ids are unsigned 64-bit integers on the wire.
_MAX_JOB_ID = 2**64 - 1

_REMEDY = "Check BACKEND_HOSTNAME, BACKEND_USERNAME and BACKEND_PASSWORD, and that the backend runs."


def supports_black_list(version: str) -> bool:
    """
    True when a StepFlow of this version has the black list (1.8.2 and later).

    Args:
        version: As :meth:`BackendClient.step_flow_version` gave it; one that cannot be read counts as too old.
    """
    try:
        return Version(version) >= FIRST_VERSION_WITH_BLACK_LIST
    except InvalidVersion:
        return False


class BackendClient:
    """
    Asks the StepFlow backend. Belongs to one event loop; :meth:`close` it there.

    The session is opened by the first request, kept, and renewed once when it has expired. Each request of the HTTP
    dialogue, the login included, may take ``timeout_seconds``.
    """

    def __init__(
        self, settings: BackendSettings, *, proxies: Proxies = NO_PROXIES, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        """
        Args:
            settings: Address and login.
            proxies: What may stand between.
            timeout_seconds: Time-out of one HTTP request.
        """
        self._settings = settings
        self._proxies = proxies
        self._timeout_seconds = timeout_seconds
        self._connection: StepFlowConnection | None = None

    async def step_flow_version(self) -> str:
        """
        The version of StepFlow behind the backend, such as ``1.8.2``.

        Raises:
            BackendError: The backend cannot be reached or answers out of form.
        """
        answer = await self._ask("GET", "/step_flow")
        version = answer.get("version") if isinstance(answer, dict) else None
        if not isinstance(version, str):
            raise self._error("GET /step_flow", "answered without a version")
        return version

    async def black_list(self) -> set[int]:
        """
        The ids of the jobs that workers must drop.

        Raises:
            BackendError: The backend cannot be reached or answers out of form.
        """
        job_ids = _read_black_list(await self._ask("GET", "/step_flow/blacklist"))
        if job_ids is None:
            raise self._error("GET /step_flow/blacklist", "answered without a list of job ids in data")
        return job_ids

    async def delete_black_listed(self, job_id: int) -> set[int] | None:
        """
        Tell the backend that a black-listed job has been dropped.

        Args:
            job_id: The dropped job.

        Returns:
            The black list as it is now, or ``None`` when the answer does not hold it.

        Raises:
            BackendError: The backend cannot be reached or refuses.
        """
        return _read_black_list(await self._ask("DELETE", f"/step_flow/blacklist/{job_id}"))

    async def close(self) -> None:
        """Close the connections and forget the session. Idempotent; a later request starts anew."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _ask(self, method: str, path: str) -> JsonValue:
        try:
            return await self._connected().request(method, path)
        except HttpError as fault:
            raise self._error(f"{method} {path}", fault.reason) from None

    def _connected(self) -> StepFlowConnection:
        if self._connection is None:
            self._connection = StepFlowConnection(
                JsonClient(self._settings.hostname, timeout_seconds=self._timeout_seconds, proxies=self._proxies),
                username=self._settings.username,
                password=self._settings.password.get_secret_value(),
            )
        return self._connection

    def _error(self, request: str, reason: str) -> BackendError:
        address = shown_address(self._settings.hostname)
        return BackendError(f"The StepFlow backend at {address} {reason} (on {request}). {_REMEDY}")


def _read_black_list(answer: JsonValue) -> set[int] | None:
    """The job ids of ``{"data": [...], "total": n}``; entries may be ids or objects with a ``job_id``."""
    data = answer.get("data") if isinstance(answer, dict) else answer
    if not isinstance(data, list):
        return None
    job_ids = set()
    for entry in data:
        job_id = entry.get("job_id") if isinstance(entry, dict) else entry
        if not isinstance(job_id, int) or isinstance(job_id, bool) or not 0 <= job_id <= _MAX_JOB_ID:
            return None
        job_ids.add(job_id)
    return job_ids

"""The result of a media job: its own part, and what the worker adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcai_worker_sdk.logs import get_logger

__all__ = ["join_results"]

_logger = get_logger(__name__)


def join_results(job_id: int, own: Mapping[str, list[Any]], returned: object) -> dict[str, Any]:
    """
    The job's own result, with what the worker's ``ending_process`` returned behind it.

    Args:
        job_id: The job, for the log.
        own: The lists of the job's own result, by their names.
        returned: What ``ending_process`` returned; what cannot be joined is left out, with a warning.
    """
    if returned is None:
        return dict(own)
    if not isinstance(returned, Mapping):
        _logger.warning(
            "ending_process of job %d returned a %s; expected a dict or None. Nothing of it is published.",
            job_id,
            type(returned).__name__,
        )
        return dict(own)
    joined: dict[Any, Any] = {**returned, **own}
    for key, entries in own.items():
        more = returned.get(key)
        if isinstance(more, list | tuple):
            joined[key] = [*entries, *more]
        elif more is not None:
            _logger.warning(
                "ending_process of job %d returned %s as a %s; expected a list. It is not published.",
                job_id,
                key,
                type(more).__name__,
            )
    return joined

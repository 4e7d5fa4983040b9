"""What a test learns of one job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mcai_worker_sdk.protocol.responses import JobState
from mcai_worker_sdk.testing.surroundings import LogLine

__all__ = ["JobRun", "Message", "read_run"]

_TERMINAL_KEYS = frozenset({"job_completed", "job_stopped", "job_error"})


@dataclass(frozen=True, slots=True)
class Message:
    """One message that the worker published."""

    exchange: str
    routing_key: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class JobRun:
    """One job from its order to its result."""

    job_id: int
    status: str
    """How it ended: ``"completed"``, ``"stopped"`` or ``"error"``."""
    progressions: list[int]
    """Every progression that was published, in percents; the first one, 0, is the SDK's own."""
    parameters: dict[str, Any]
    """The values of the result's parameters, by id; empty when the job failed."""
    destination_paths: list[str]
    error: str | None
    """The text of the ``job_error``; ``None`` when the job did not fail."""
    frame_results: list[Any]
    """What ``process_frames`` returned, batch by batch."""
    result: dict[str, Any]
    """The message that ended the job, as StepFlow gets it."""
    messages: list[Message]
    """Every message of the job, in order."""
    log: list[LogLine]
    """Every record that was logged meanwhile, in order."""


def read_run(messages: Sequence[Message], frame_results: Sequence[Any], log: Sequence[LogLine]) -> JobRun:
    """
    Read what became of a job from what was published.

    Raises:
        AssertionError: No result was published.
    """
    ends = [message for message in messages if message.routing_key in _TERMINAL_KEYS]
    if not ends:
        published = ", ".join(message.routing_key for message in messages) or "nothing"
        raise AssertionError(
            f"The order ended without a result; expected job_completed, job_stopped or job_error. The worker published "
            f"{published}, and logged: {'; '.join(line.message for line in log) or 'nothing'}"
        )
    result = ends[-1].body
    values = {entry["id"]: entry["value"] for entry in result.get("parameters", ())}
    has_failed = result["status"] == JobState.ERROR
    return JobRun(
        job_id=result.get("job_id", 0),
        status=result["status"],
        progressions=[message.body["progression"] for message in messages if message.routing_key == "job_progression"],
        parameters={} if has_failed else values,
        destination_paths=list(result.get("destination_paths", ())),
        error=str(values.get("message", result.get("message"))) if has_failed else None,
        frame_results=list(frame_results),
        result=result,
        messages=list(messages),
        log=list(log),
    )

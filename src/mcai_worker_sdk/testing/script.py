"""What happens to a job while it runs: each step comes once, after so many progressions or frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mcai_worker_sdk.testing.orders import order_parameters

__all__ = ["ScriptRun", "Step", "Stop", "Update"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _When:
    after_progressions: int | None = None
    """How many progressions the job has published by then; 0 is before its first line. The 0 that the SDK publishes
    when a job begins is not counted."""
    after_frames: int | None = None
    """How many frames ``process_frames`` has returned from by then, of all streams together. A batch is not parted."""

    def __post_init__(self) -> None:
        if (self.after_progressions is None) == (self.after_frames is None):
            raise ValueError(
                f"The step {type(self).__name__} names {'neither' if self.after_frames is None else 'both'} of "
                "after_progressions and after_frames; expected one of them."
            )

    def __str__(self) -> str:
        when = [f"{name}={getattr(self, name)}" for name in _When.__slots__ if getattr(self, name) is not None]
        return f"{type(self).__name__}({', '.join(when)})"

    def is_due(self, progressions: int, frames: int) -> bool:
        """Whether it has come to that."""
        if self.after_progressions is not None:
            return progressions >= self.after_progressions
        assert self.after_frames is not None
        return frames >= self.after_frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop(_When):
    """The orchestrator sends ``stop_process``: from then on ``is_stopped()`` is true."""

    def message(self, job_id: int) -> dict[str, Any]:
        """The direct message."""
        return {"type": "stop_process", "job_id": job_id}


@dataclass(frozen=True, slots=True, kw_only=True)
class Update(_When):
    """The orchestrator sends ``update_process`` with these parameters."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    """As in ``run_job``."""

    def message(self, job_id: int) -> dict[str, Any]:
        """The direct message."""
        return {"type": "update_process", "job_id": job_id, "parameters": order_parameters(self.parameters)}


Step: TypeAlias = Stop | Update


class ScriptRun:
    """
    The steps of one job, sent as they become due.

    Args:
        steps: In any order.
        job_id: The job.
        send: Takes a direct message.
    """

    def __init__(self, steps: Sequence[Step], job_id: int, send: Callable[[dict[str, Any]], None]) -> None:
        self._left = list(steps)
        self._job_id = job_id
        self._send = send
        # The first progression is the SDK's own.
        self._progressions = -1
        self._frames = 0

    @property
    def left(self) -> list[Step]:
        """The steps that were not due yet."""
        return list(self._left)

    def progressed(self) -> None:
        """The job published a progression."""
        self._progressions += 1
        self._send_due()

    def processed(self, frames: int) -> None:
        """``process_frames`` returned from so many frames more."""
        self._frames += frames
        self._send_due()

    def _send_due(self) -> None:
        due = [step for step in self._left if step.is_due(self._progressions, self._frames)]
        # Taken out first: what an update makes the job publish comes here again.
        self._left = [step for step in self._left if step not in due]
        for step in due:
            self._send(step.message(self._job_id))

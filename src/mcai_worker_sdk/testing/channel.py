"""A channel to call ``process`` with by hand."""

from __future__ import annotations

from mcai_worker_sdk.channel import JobStatus, McaiChannel

__all__ = ["RecordingChannel"]


class RecordingChannel(McaiChannel):
    """
    Keeps what is reported by it, and can be told that the job should stop.

    Args:
        job_id: The job it speaks for.
        stop_after_progressions: The job should stop once so many were reported; 0 is from the beginning.
    """

    def __init__(self, job_id: int = 1, *, stop_after_progressions: int | None = None) -> None:
        super().__init__(job_id, self._take_progression)
        self._stop_after = stop_after_progressions
        self.progressions: list[int] = []
        """Each progression that was reported, in whole percents."""
        self._stop_if_due()

    @property
    def status(self) -> JobStatus | None:
        """The status that was set last; ``None`` for none."""
        return self._chosen_status

    @property
    def error_message(self) -> str | None:
        """The error message that was set last; ``None`` for none."""
        return self._chosen_error_message

    def stop(self) -> None:
        """Let ``is_stopped()`` be true from now on."""
        self._request_stop()

    def _take_progression(self, job_id: int, percent: int) -> None:
        del job_id
        self.progressions.append(percent)
        self._stop_if_due()

    def _stop_if_due(self) -> None:
        if self._stop_after is not None and len(self.progressions) >= self._stop_after:
            self.stop()

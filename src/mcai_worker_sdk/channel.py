"""What user code holds while its job runs: the way to report, and to hear that it should stop."""

from __future__ import annotations

import enum
import math
import threading
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn, SupportsFloat, SupportsIndex

from mcai_worker_sdk.logs import get_logger

__all__ = ["JobStatus", "McaiChannel"]

_logger = get_logger(__name__)

_PROGRESSION_RULE = "expected a number of percents from 0 to 100"


class JobStatus(enum.IntEnum):
    """How a worker may say its job ended. The numbers and the text (``JobStatus.Error``) are those of the reference."""

    Completed = 0
    Stopped = 1
    Error = 2

    # An IntEnum shows its number.
    __str__ = __repr__ = enum.Enum.__str__
    __format__ = enum.Enum.__format__


class McaiChannel:
    """
    Report progression and status of the current job; hear that it should stop.

    Made by the SDK, one per job, and given to ``process``. Every method may be called from any thread of the job
    process, during the job and after it (when it does nothing and returns ``False``).
    """

    #: Whether there has been one in this process: its worker does, or did, a job.
    _is_in_use: ClassVar[bool] = False

    def __init__(self, job_id: int, report_progression: Callable[[int, int], None]) -> None:
        """
        Args:
            job_id: The job this channel speaks for.
            report_progression: Called with job id and whole percents; must not block.
        """
        McaiChannel._is_in_use = True
        self._job_id = job_id
        self._report_progression = report_progression
        # Held while a progression goes out, so that none can come after the end. Reentrant, for signal handlers.
        self._lock = threading.RLock()
        self._stop_requested = threading.Event()
        self._stop_seen = False
        self._closed = False
        self._warned_of_progression = False
        self._status: JobStatus | None = None
        self._error_message: str | None = None

    def __reduce__(self) -> NoReturn:
        # What starts processes by spawn or forkserver, the default of Python from 3.14 on, pickles their arguments.
        raise TypeError(
            f"The channel of job {self._job_id} cannot be pickled; expected to be used in the process of the job. "
            'Start what reports by multiprocessing.get_context("fork"), or report in process() what it sends there.'
        )

    def publish_job_progression(self, value: float) -> bool:
        """
        Report how far the job is. Costs microseconds and never waits for the network.

        Args:
            value: Percents, 0 to 100; rounded down to a whole number. Any number will do, also one of numpy or a
                Decimal. What lies outside is published as the nearer end, with one warning a job: a sum of rounded
                steps passes 100 easily, and a progression is no reason to lose a job's work.

        Returns:
            True when the value was taken, False when the job has already ended.

        Raises:
            TypeError: ``value`` is not a number.
            ValueError: ``value`` is not-a-number (NaN), which is near to neither end.
        """
        number = _read_progression(value)
        percent = math.floor(min(max(number, 0.0), 100.0))
        with self._lock:
            if self._closed:
                return False
            if not 0 <= number <= 100 and not self._warned_of_progression:  # noqa: PLR2004 - percents
                self._warned_of_progression = True
                _logger.warning(
                    "The job progression is %r; %s. It is published as %d, and further ones likewise, unsaid.",
                    number,
                    _PROGRESSION_RULE,
                    percent,
                    extra={"job_id": self._job_id},
                )
            self._report_progression(self._job_id, percent)
        return True

    def is_stopped(self) -> bool:
        """True once the orchestrator, the operator or a shutdown asked this job to stop."""
        if not self._stop_requested.is_set():
            return False
        self._stop_seen = True
        return True

    def set_job_status(self, status: JobStatus) -> bool:
        """
        Say how the job will have ended when ``process`` returns; the last call counts.

        Args:
            status: ``JobStatus.Completed``, ``.Stopped`` or ``.Error``.

        Returns:
            True when the status was taken, False when the job has already ended.

        Raises:
            TypeError: ``status`` is not a :class:`JobStatus`.
        """
        if not isinstance(status, JobStatus):
            allowed = ", ".join(f"JobStatus.{member.name}" for member in JobStatus)
            raise TypeError(f"The job status is {status!r}; expected one of {allowed}.")
        if self._closed:
            return False
        self._status = status
        return True

    def set_error_message(self, error_message: str) -> bool:
        """
        Set the text of the ``job_error``; counts only together with ``JobStatus.Error``.

        Args:
            error_message: What the orchestrator shows.

        Returns:
            True when the message was taken, False when the job has already ended.

        Raises:
            TypeError: ``error_message`` is not a string.
        """
        if not isinstance(error_message, str):
            raise TypeError(f"The error message is {error_message!r}; expected a string.")
        if self._closed:
            return False
        self._error_message = error_message
        return True

    # What follows is for the SDK: the runner's and the media session's side of the channel.

    @property
    def _chosen_status(self) -> JobStatus | None:
        return self._status

    @property
    def _chosen_error_message(self) -> str | None:
        return self._error_message

    @property
    def _saw_stop(self) -> bool:
        """Whether the job was told to stop and asked about it: it stopped. One that never asked completed."""
        return self._stop_seen

    def _request_stop(self) -> None:
        self._stop_requested.set()

    def _begin_as_copy(self) -> None:
        """In a process that user code forked: the thread that may have held the lock is not here."""
        self._lock = threading.RLock()

    def _close(self) -> None:
        with self._lock:
            self._closed = True


def _read_progression(value: Any) -> float:
    """The value as a float; too large an integer or a fraction is an infinity."""
    # The texts of numpy have __float__, as its numbers have.
    is_number = isinstance(value, SupportsFloat | SupportsIndex) and not isinstance(value, str | bytes)
    if not is_number:
        raise TypeError(f"The job progression is {value!r}; {_PROGRESSION_RULE}.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf if value > 0 else -math.inf
    except TypeError:  # an array of several numbers
        raise TypeError(f"The job progression is {value!r}; {_PROGRESSION_RULE}.") from None
    except ValueError:  # a Decimal that signals
        number = math.nan
    if math.isnan(number):
        raise ValueError(f"The job progression is {value!r}; {_PROGRESSION_RULE}.")
    return number

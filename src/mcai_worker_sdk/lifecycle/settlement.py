"""
The settlement table: for every case, what is published before the delivery is acknowledged.

The engine settles only through a :class:`Case`; the docs print this table and the tests go through it row by row.
An order that is not done with goes through the delay queue as a copy, which is published and confirmed like a result.
A broker can put a message back, or dead-letter it, by itself, but it counts as a failure what is none (quorum queues
drop what was put back too often), and drops in silence what finds no delay queue.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from mcai_worker_sdk.protocol.responses import JobState

__all__ = ["CASE_OF_STATE", "SETTLEMENT_TABLE", "Case"]


class Case(enum.Enum):
    """Why a delivery is settled."""

    COMPLETED = "the job completed"
    STOPPED = "the job was stopped"
    FAILED = "the job failed: exception, bad parameter, credential or result, death of its process, expiration"
    UNREADABLE = "the bytes are no order"
    REQUIREMENTS_MISSING = "a required path does not exist yet"
    REQUIREMENTS_LIMIT = "required paths were missing MESSAGE_SOFT_LIMIT times"
    REDELIVERED = "the order was delivered before and nobody knows how far it came"
    ATTEMPTS_LIMIT = "the order was attempted more than MESSAGE_TTL_LIMIT times after the first"
    BLACK_LISTED = "the job is on the black list"
    REPORTED = "the order came back after it was done with: its result is published, or its job dropped"
    ENGAGED = "another job is initialised or running here"
    SUSPENDED = "the worker takes no orders, and waited for one of its own only"
    SHUTTING_DOWN = "the worker ends before the job could"
    CONTROLLED = "a direct message was answered"


#: The case of a job's end.
CASE_OF_STATE: Mapping[JobState, Case] = {
    JobState.COMPLETED: Case.COMPLETED,
    JobState.STOPPED: Case.STOPPED,
    JobState.ERROR: Case.FAILED,
}

#: Of each case, what is published, and confirmed, before the settlement: its routing key, or words for it.
SETTLEMENT_TABLE: Mapping[Case, str | None] = {
    Case.COMPLETED: "job_completed",
    Case.STOPPED: "job_stopped",
    Case.FAILED: "job_error",
    Case.UNREADABLE: "job_error",
    Case.REQUIREMENTS_MISSING: "a copy to job_delayed",
    Case.REQUIREMENTS_LIMIT: "job_error",
    Case.REDELIVERED: "a copy to job_delayed",
    Case.ATTEMPTS_LIMIT: "job_error",
    Case.BLACK_LISTED: None,
    Case.REPORTED: None,
    Case.ENGAGED: "a copy to job_delayed",
    Case.SUSPENDED: "a copy to job_delayed",
    Case.SHUTTING_DOWN: "a copy to job_delayed",
    Case.CONTROLLED: "the order's answer, if it has one",
}

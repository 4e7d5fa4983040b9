"""
The settlement table: for every case, what is published before, and what happens to the delivery.

The engine settles only through a :class:`Case`; the docs print this table and the tests go through it row by row.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from mcai_worker_sdk.protocol.delivery import Settlement
from mcai_worker_sdk.protocol.responses import JobState

__all__ = ["CASE_OF_STATE", "SETTLEMENT_TABLE", "Case", "Row"]


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


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table."""

    publishes: str | None
    """Routing key of what is published, and confirmed, before the settlement."""
    settlement: Settlement
    """What happens to the delivery."""


#: The case of a job's end.
CASE_OF_STATE: Mapping[JobState, Case] = {
    JobState.COMPLETED: Case.COMPLETED,
    JobState.STOPPED: Case.STOPPED,
    JobState.ERROR: Case.FAILED,
}

SETTLEMENT_TABLE: Mapping[Case, Row] = {
    Case.COMPLETED: Row("job_completed", Settlement.ACK),
    Case.STOPPED: Row("job_stopped", Settlement.ACK),
    Case.FAILED: Row("job_error", Settlement.ACK),
    Case.UNREADABLE: Row("job_error", Settlement.ACK),
    Case.REQUIREMENTS_MISSING: Row("a copy to job_delayed", Settlement.ACK),
    Case.REQUIREMENTS_LIMIT: Row("job_error", Settlement.ACK),
    Case.REDELIVERED: Row(None, Settlement.REJECT),
    Case.ATTEMPTS_LIMIT: Row("job_error", Settlement.ACK),
    Case.BLACK_LISTED: Row(None, Settlement.ACK),
    Case.REPORTED: Row(None, Settlement.ACK),
    Case.ENGAGED: Row(None, Settlement.REQUEUE),
    Case.SUSPENDED: Row(None, Settlement.REQUEUE),
    Case.SHUTTING_DOWN: Row(None, Settlement.REQUEUE),
    Case.CONTROLLED: Row("the order's answer, if it has one", Settlement.ACK),
}

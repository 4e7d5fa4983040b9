"""What a refusal says, and the effects that say it."""

from __future__ import annotations

from mcai_worker_sdk.lifecycle import effects as fx
from mcai_worker_sdk.lifecycle.effects import Effect
from mcai_worker_sdk.protocol.responses import failed_result

__all__ = ["BUSY_MESSAGE", "EXPIRED_MESSAGE", "already_obeyed", "attempts_message", "refused"]

#: The wording of both is the reference's, which StepFlow's users know.
BUSY_MESSAGE = "Cannot initialize this job, an another job is already in progress."
EXPIRED_MESSAGE = "Job TTL has been reached."


def attempts_message(attempts: int, limit: int) -> str:
    """Why an order is given up."""
    return (
        f"The job's order came back {attempts} times without a result, each time because its worker or its connection "
        f"ended; MESSAGE_TTL_LIMIT is {limit}. The workers' logs tell why."
    )


def refused(job_id: int, message: str) -> Effect:
    """The failure of a job that does not run here."""
    return fx.PublishResult(failed_result(job_id, message), has_run=False)


def already_obeyed(job_id: int) -> Effect:
    """A direct message is acknowledged as soon as it is obeyed; one that comes twice lost its acknowledgement."""
    return fx.Warn("The direct message came a second time, after the link was lost: it is ignored.", job_id)

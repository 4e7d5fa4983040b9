"""
Test a worker without a broker: its jobs run in the calling thread, through the lifecycle and runner of production.

``run_job`` runs one job, ``StepFlow`` one worker on many orders; ``synthetic_video`` and the like write what media
workers read. pytest finds the fixtures ``mcai_worker``, ``mcai_channel`` and ``rabbitmq_broker`` by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mcai_worker_sdk.testing.channel import RecordingChannel
from mcai_worker_sdk.testing.orders import Credential
from mcai_worker_sdk.testing.runs import JobRun, Message
from mcai_worker_sdk.testing.script import Step, Stop, Update
from mcai_worker_sdk.testing.shapes import MessageShapeError, check_message
from mcai_worker_sdk.testing.sources import synthetic_audio, synthetic_subtitles, synthetic_video
from mcai_worker_sdk.testing.stepflow import StepFlow
from mcai_worker_sdk.testing.surroundings import LogLine, Stores
from mcai_worker_sdk.worker import Worker

__all__ = [
    "Credential",
    "JobRun",
    "LogLine",
    "Message",
    "MessageShapeError",
    "RecordingChannel",
    "StepFlow",
    "Stop",
    "Update",
    "check_message",
    "run_job",
    "run_order",
    "synthetic_audio",
    "synthetic_subtitles",
    "synthetic_video",
]


def run_job(
    worker: Worker | type[Worker],
    parameters: Mapping[str, Any] | None = None,
    *,
    job_id: int = 1,
    script: Sequence[Step] = (),
    environment: Mapping[str, str] | None = None,
    credentials: Stores | None = None,
) -> JobRun:
    """
    Run one job of a worker, from ``setup()`` to its end.

    Args:
        worker: The worker, or its class: then its parameters class is the one that ``process`` is annotated with.
        parameters: Values by id, each one that JSON has a form for, or a :class:`Credential`. Of a media job
            ``destination_path`` may be left out.
        job_id: The job.
        script: What happens while it runs: :class:`Stop` and :class:`Update`.
        environment: Variables beside those that are set, while the job runs.
        credentials: What each credential store holds, by key.

    Raises:
        AssertionError: A step of the script was never due, or a message has not the shape that StepFlow takes.
        HostError: ``setup()`` failed.
        WorkerSdkError: The worker could not start in production either.
    """
    with StepFlow(worker, environment=environment, credentials=credentials) as stepflow:
        return stepflow.run_job(parameters, job_id=job_id, script=script)


def run_order(
    worker: Worker | type[Worker],
    order: Mapping[str, Any] | Path | str | bytes,
    *,
    script: Sequence[Step] = (),
    environment: Mapping[str, str] | None = None,
    credentials: Stores | None = None,
) -> JobRun:
    """
    Run the job of one order, from ``setup()`` to its end.

    Args:
        worker: The worker, or its class.
        order: The order as a JSON object, the path of its file, or its bytes.
        script: What happens while it runs: :class:`Stop` and :class:`Update`.
        environment: Variables beside those that are set, while the job runs.
        credentials: What each credential store holds, by key.

    Raises:
        AssertionError: As :func:`run_job`; also when the order is not one to run a job.
        HostError: ``setup()`` failed.
        WorkerSdkError: The worker could not start in production either, or the order's file cannot be read.
    """
    with StepFlow(worker, environment=environment, credentials=credentials) as stepflow:
        return stepflow.run_order(order, script=script)

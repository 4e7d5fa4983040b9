"""Who this worker is, as every announcement says it."""

from __future__ import annotations

import importlib.metadata
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mcai_worker_sdk.description import WorkerDescription
from mcai_worker_sdk.settings import Settings

__all__ = ["sdk_version", "utc_now", "worker_identity"]


def sdk_version() -> str:
    """The version of the installed SDK."""
    return importlib.metadata.version("mcai-worker-sdk")


def utc_now() -> str:
    """Now, as a response's ``datetime``: ISO 8601, UTC, microseconds, ``Z``."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def worker_identity(
    settings: Settings, description: WorkerDescription, parameters_schema: Mapping[str, Any]
) -> dict[str, Any]:
    """
    The body of ``worker_discovery``, ``worker_created`` and ``worker_terminated``, and what ``DESCRIBE`` prints.

    Args:
        settings: Gives the queue's name and the direct-messaging identifier.
        description: The worker's name, version, description and licence.
        parameters_schema: JSON Schema of its parameters.

    Returns:
        A new identity: the instance id is drawn at random.
    """
    instance_id = str(uuid.uuid4())
    return {
        "instance_id": instance_id,
        "queue_name": settings.amqp.queue,
        "name": description.name,
        "direct_messaging_queue_name": f"direct_messaging_{settings.direct_messaging_identifier or instance_id}",
        "label": description.name,
        "description": description.description,
        "version": description.version,
        "sdk_version": sdk_version(),
        "license": description.license,
        "parameters": dict(parameters_schema),
    }

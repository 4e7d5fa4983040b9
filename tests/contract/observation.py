"""
What a run of a scenario showed, in a form in which two runs can be compared: times, ids and figures masked.

Masking checks what it masks: a duration that is no float at or above zero, a time that is not ISO 8601 in UTC with a
``Z`` or a list whose entries lack a key stays as it is, and so differs from what it is compared with.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mcai_worker_sdk.testing.shapes import SYSTEM_LISTS, is_utc_time

__all__ = ["Observation", "mask_messages"]

#: Keys of what a worker says about itself in every announcement; the first one is compared, the others refer to it.
AS_DISCOVERED = "<as discovered>"
#: Lists that may be empty on an honest machine: a container may see no disk and no network, most machines no GPU.
MAY_BE_EMPTY = frozenset({"disks", "networks"})
TEXTS = frozenset({"brand", "disk_type", "format", "mountpoint", "name", "os_version", "vendor_id"})


@dataclass(frozen=True, slots=True)
class Observation:
    """One run of one scenario."""

    messages: list[dict[str, Any]]
    """``exchange``, ``routing_key`` and masked ``body`` of what the worker published, in order."""
    properties: list[dict[str, Any]] = field(default_factory=list)
    """The different AMQP properties among them."""
    backend: list[str] = field(default_factory=list)
    """Requests to the backend, by method and path; sessions left out."""
    left_in_queue: int = 0
    """Orders in the job queue and the delay queue after the worker's end."""
    exit_code: int | None = None
    """Of the worker's process."""

    def as_json(self) -> dict[str, Any]:
        """The form in ``recordings/scenarios/``."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def mask_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """
    Mask what differs between two runs.

    Args:
        messages: In the form of the tap: ``exchange``, ``routing_key``, ``body``.
    """
    discovered = next((one["body"] for one in messages if one["routing_key"] == "worker_discovery"), {})
    return [
        {
            "exchange": message["exchange"],
            "routing_key": message["routing_key"],
            "body": _mask_body(message["routing_key"], message["body"], discovered),
        }
        for message in messages
    ]


def _mask_body(routing_key: str, body: Any, discovered: Mapping[str, Any]) -> Any:
    if not isinstance(body, dict):
        return body
    if body == discovered and routing_key != "worker_discovery":
        return AS_DISCOVERED
    body = dict(body)
    for name in ("worker", "worker_description"):
        if isinstance(body.get(name), dict):
            body[name] = _mask_description(body[name], discovered)
    if isinstance(body.get("black_list"), dict):
        # A set: its order says nothing.
        body["black_list"] = {key: sorted(value) for key, value in body["black_list"].items()}
    return {key: _mask(key, value, discovered) for key, value in body.items()}


def _mask_description(description: Mapping[str, Any], discovered: Mapping[str, Any]) -> dict[str, Any]:
    expected = {key: value for key, value in discovered.items() if key != "parameters"}
    if any(description.get(key) != value for key, value in expected.items()):
        return dict(description)
    others = {key: value for key, value in description.items() if key not in expected}
    return {**others, "description": AS_DISCOVERED}


def _mask(key: str, value: Any, discovered: Mapping[str, Any]) -> Any:
    if key == "datetime":
        return "<time>" if is_utc_time(value) else value
    if key in ("execution_duration", "cpu_time", "gpu_time"):
        return "<seconds>" if isinstance(value, float) and value >= 0 else value
    if key in ("instance_id", "docker_container_id"):
        return "<instance id>" if _is_instance_id(value, discovered) else value
    if key == "direct_messaging_queue_name":
        return "<direct queue>" if value == f"direct_messaging_{discovered.get('instance_id')}" else value
    if key == "sdk_version":
        return "<version>" if isinstance(value, str) and re.fullmatch(r"\d+\.\d+\.\d+\S*", value) else value
    if key == "system_info" and isinstance(value, dict):
        return {name: _mask_figure(name, figure, discovered) for name, figure in value.items()}
    if isinstance(value, dict):
        return {name: _mask(name, inner, discovered) for name, inner in value.items()}
    return value


def _mask_figure(name: str, value: Any, discovered: Mapping[str, Any]) -> Any:
    if name == "docker_container_id":
        return "<instance id>" if _is_instance_id(value, discovered) else value
    if name == "gpus":
        return f"<{name}>" if isinstance(value, list) and all(_is_gpu(one) for one in value) else value
    if name in SYSTEM_LISTS:
        return _mask_list(name, value, discovered)
    if isinstance(value, dict):
        return {key: _mask_figure(key, inner, discovered) for key, inner in value.items()}
    if name in TEXTS:
        return "<text>" if isinstance(value, str) else value
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return f"<{type(value).__name__}>"
    return value


def _mask_list(name: str, value: Any, discovered: Mapping[str, Any]) -> Any:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        return value
    if not value:
        return f"<{name}>" if name in MAY_BE_EMPTY else value
    for keys in SYSTEM_LISTS[name]:
        if all(one.keys() == keys for one in value):
            figures = [{key: _mask_figure(key, figure, discovered) for key, figure in one.items()} for one in value]
            if all(isinstance(figure, str) and figure.startswith("<") for one in figures for figure in one.values()):
                return f"<{name}>" if name in MAY_BE_EMPTY else [figures[0]]
    return value


def _is_gpu(value: Any) -> bool:
    return isinstance(value, dict) and {"name", "memory"} <= value.keys()


def _is_instance_id(value: Any, discovered: Mapping[str, Any]) -> bool:
    if value != discovered.get("instance_id"):
        return False
    try:
        return str(uuid.UUID(value)) == value
    except ValueError:
        return False

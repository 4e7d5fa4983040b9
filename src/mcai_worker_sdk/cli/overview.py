"""What ``watch`` knows of the workers, by what they publish. No terminal, no broker."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcai_worker_sdk.cli.broker import Heard

__all__ = ["Ended", "Overview", "WorkerView"]

#: Results that are kept, the newest first.
KEPT_RESULTS = 8
_KB_PER_GB = 1_000_000


@dataclass(slots=True)
class WorkerView:
    """One worker."""

    instance_id: str
    name: str = ""
    version: str = ""
    queue: str = ""
    activity: str = ""
    job_id: int | None = None
    progression: int | None = None
    cpu_percent: float | None = None
    """Mean of all cores of its machine."""
    memory_gb: float | None = None
    """In use on its machine."""
    gpu_percent: float | None = None
    """Mean of all GPUs of its machine; ``None`` where there is none."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended."""

    job_id: int | None
    status: str
    words: str
    """The error, or where the results are."""


class Overview:
    """The workers that have said something, and the last results."""

    def __init__(self) -> None:
        self.workers: dict[str, WorkerView] = {}
        """By instance id, in the order they were heard of."""
        self.results: deque[Ended] = deque(maxlen=KEPT_RESULTS)
        """The newest first."""

    def hear(self, heard: Heard) -> None:
        """Take one message of a worker. What has not the form of a message changes nothing."""
        body = heard.body
        if not isinstance(body, Mapping):
            return
        match heard.routing_key:
            case "worker_discovery" | "worker_created":
                self._describe(body)
            case "worker_terminated":
                self.workers.pop(str(body.get("instance_id")), None)
            case "worker_status":
                self._take_status(body)
            case "job_progression":
                self._take_progression(body)
            case "worker_initialized" | "worker_started" | "worker_updated" | "worker_black_list":
                return  # A status or a progression says the same of the worker.
            case _:
                self._take_result(body)

    def _describe(self, described: Mapping[str, Any]) -> WorkerView:
        instance_id = str(described.get("instance_id"))
        worker = self.workers.setdefault(instance_id, WorkerView(instance_id))
        worker.name = str(described.get("name", worker.name))
        worker.version = str(described.get("version", worker.version))
        worker.queue = str(described.get("queue_name", worker.queue))
        return worker

    def _take_status(self, body: Mapping[str, Any]) -> None:
        described = body.get("worker")
        if not isinstance(described, Mapping):
            return
        worker = self._describe(described)
        worker.activity = str(described.get("activity", ""))
        job = body.get("job")
        job_id = job.get("job_id") if isinstance(job, Mapping) else None
        if job_id != worker.job_id:
            worker.job_id, worker.progression = job_id, None
        memory = described.get("system_info", {}).get("memory", {})
        if isinstance(memory, Mapping) and "used_memory" in memory:
            worker.memory_gb = memory["used_memory"] / _KB_PER_GB

    def _take_progression(self, body: Mapping[str, Any]) -> None:
        instance_id = str(body.get("docker_container_id"))
        worker = self.workers.setdefault(instance_id, WorkerView(instance_id))
        worker.activity = worker.activity if worker.activity == "Suspended" else "Busy"
        worker.job_id, worker.progression = body.get("job_id"), body.get("progression")
        figures = body.get("system_info", {})
        worker.cpu_percent = _mean(figures.get("cores"))
        worker.gpu_percent = _mean(figures.get("gpus"))
        if isinstance(figures.get("memory"), int):
            worker.memory_gb = figures["memory"] / _KB_PER_GB

    def _take_result(self, body: Mapping[str, Any]) -> None:
        if "status" not in body:
            return
        job_id = body.get("job_id")
        for worker in self.workers.values():
            if job_id is not None and worker.job_id == job_id:
                worker.job_id = worker.progression = None
                worker.activity = worker.activity if worker.activity == "Suspended" else "Idle"
        values = {entry["id"]: entry["value"] for entry in body.get("parameters", ())}
        words = values.get("message", body.get("message")) if body["status"] == "error" else None
        paths = ", ".join(map(str, body.get("destination_paths", ())))
        self.results.appendleft(Ended(job_id, str(body["status"]), str(words or paths).partition("\n")[0]))


def _mean(figures: Any) -> float | None:
    if not isinstance(figures, list):
        return None
    used = [one["usage"] for one in figures if isinstance(one, Mapping) and isinstance(one.get("usage"), int | float)]
    return sum(used) / len(used) if used else None

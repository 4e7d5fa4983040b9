"""What a worker is, as the rest of the house holds it: made by ``Worker``, handed down to where jobs run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from mcai_worker_sdk.channel import McaiChannel
from mcai_worker_sdk.description import WorkerDescription
from mcai_worker_sdk.parameters import ParametersModel

__all__ = ["RunnableWorker", "WorkerDefinition"]


class RunnableWorker(Protocol):
    """What is called of a user's Worker. It may also have ``update_process`` and ``process_ebu_ttml_live``."""

    def setup(self) -> None:
        """Prepare the worker, once."""

    def process(self, channel: McaiChannel, parameters: Any, job_id: int) -> Any:
        """Do one job."""

    def init_process(self, context: Any, parameters: Any) -> Any:
        """Choose the streams of one media job."""

    def process_frames(self, job_id: str, stream_index: int, frames: Any) -> Any:
        """Work on one batch of frames."""

    def ending_process(self) -> Any:
        """Clean up after one media job; what is returned joins its result."""


@dataclass(frozen=True, slots=True)
class WorkerDefinition:
    """A worker with what it was made of."""

    worker: RunnableWorker
    model: ParametersModel
    """Builds the parameters object of each job, and publishes the schema."""
    description: WorkerDescription
    """What it says of itself."""
    is_media: bool = False
    """Whether jobs go through the worker's media methods instead of ``process``."""

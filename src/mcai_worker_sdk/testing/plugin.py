"""
The pytest plugin, which pytest finds by the entry point of the installed SDK.

Loaded with every pytest that runs beside the SDK: what it needs is imported by the fixtures that use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mcai_worker_sdk.testing import RecordingChannel, StepFlow
    from mcai_worker_sdk.testing.rabbitmq import PrivateNode, VirtualHost

__all__ = ["mcai_channel", "mcai_rabbitmq_node", "mcai_worker", "rabbitmq_broker"]


@pytest.fixture
def mcai_worker() -> Iterator[Callable[..., StepFlow]]:
    """
    Start workers that end with the test: ``mcai_worker(MyWorker)`` takes what ``StepFlow`` takes, and returns it.

    The worker's ``setup()`` has run when it returns; ``run_job`` and ``run_order`` of what is returned run jobs.
    """
    from mcai_worker_sdk.testing import StepFlow

    with ExitStack() as stack:

        def start(*arguments: Any, **options: Any) -> StepFlow:
            return stack.enter_context(StepFlow(*arguments, **options))

        yield start


@pytest.fixture
def mcai_channel() -> RecordingChannel:
    """A channel of job 1, to call ``process`` with by hand: keeps the progressions, and has a ``stop()``."""
    from mcai_worker_sdk.testing import RecordingChannel

    return RecordingChannel()


@pytest.fixture(scope="session")
def mcai_rabbitmq_node() -> Iterator[PrivateNode]:
    """The session's private RabbitMQ node, with which :func:`rabbitmq_broker` begins."""
    from mcai_worker_sdk.testing.rabbitmq import PrivateNode, rabbitmq_is_installed

    if not rabbitmq_is_installed():
        pytest.skip("RabbitMQ is not installed (Debian: rabbitmq-server).")
    node = PrivateNode()
    try:
        node.start()
        yield node
    finally:
        node.remove()


@pytest.fixture
def rabbitmq_broker(mcai_rabbitmq_node: PrivateNode) -> Iterator[VirtualHost]:
    """
    A virtual host of the test's own, on a private RabbitMQ node that lasts as long as the session.

    ``rabbitmq_broker.environment("job_my_worker")`` has the variables of a worker that connects to it. Where RabbitMQ
    is not installed, the test is skipped.
    """
    with mcai_rabbitmq_node.vhost() as host:
        yield host

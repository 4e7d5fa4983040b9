"""A scene per test, on the session's broker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults.kit import Scene
from tests.support.fixtures import authority, rabbitmq_node, vhost
from tests.support.rabbitmq import RabbitMqNode, VirtualHost
from tests.support.tap import Tap

__all__ = ["authority", "rabbitmq_node", "scene", "vhost"]


@pytest.fixture
async def scene(rabbitmq_node: RabbitMqNode, vhost: VirtualHost, tmp_path: Path) -> AsyncIterator[Scene]:
    async with Tap(vhost) as tap:
        yield Scene(rabbitmq_node, vhost, tap, tmp_path)

"""Fixtures that need a broker. A directory's ``conftest.py`` imports those it uses; the node is one per session."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.rabbitmq import RabbitMqNode, VirtualHost, rabbitmq_is_installed
from tests.support.tls import Authority

__all__ = ["authority", "rabbitmq_node", "vhost"]

#: The session's node, its authority: several directories' conftest files share them.
_SHARED: dict[str, object] = {}


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The certificate authority of the session's node."""
    found = _SHARED.setdefault("authority", None) or Authority(tmp_path_factory.mktemp("tls"))
    assert isinstance(found, Authority)
    _SHARED["authority"] = found
    return found


@pytest.fixture(scope="session")
def rabbitmq_node(authority: Authority) -> Iterator[RabbitMqNode]:
    """A private RabbitMQ node. Without RabbitMQ the tests are skipped; in CI that is a failure."""
    if not rabbitmq_is_installed():
        reason = "RabbitMQ is not installed (Debian: rabbitmq-server)."
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    node = _SHARED.get("node")
    if node is None:
        good = authority.good()
        node = RabbitMqNode(tls={"ca": authority.file, "certificate": good.certificate, "key": good.key})
        _SHARED["node"] = node
        node.start()
    assert isinstance(node, RabbitMqNode)
    yield node
    node.remove()


@pytest.fixture
def vhost(rabbitmq_node: RabbitMqNode) -> Iterator[VirtualHost]:
    """A virtual host of the test's own."""
    with rabbitmq_node.vhost() as host:
        yield host

"""The broker of the suite, and the reference where it can be had."""

from __future__ import annotations

import pytest

from tests.contract.reference import ReferenceMissingError, find_reference
from tests.support.fixtures import authority, rabbitmq_node, vhost

__all__ = ["authority", "rabbitmq_node", "reference", "vhost"]


@pytest.fixture(scope="session")
def reference() -> str:
    """The reference's interpreter; without it the tests that need it are skipped."""
    try:
        return find_reference()
    except ReferenceMissingError as error:
        pytest.skip(str(error))

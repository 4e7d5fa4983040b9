"""The same scenarios on this SDK behind RabbitMQ, on this SDK inline, and on the reference, message by message."""

from __future__ import annotations

import pytest

from tests.contract.comparison import check, find_differences
from tests.contract.differences import DIFFERENCES
from tests.contract.inline import run_inline
from tests.contract.on_rabbitmq import run_on_rabbitmq
from tests.contract.recordings import read_recording
from tests.contract.scenarios import SCENARIOS
from tests.contract.script import Scenario
from tests.support.rabbitmq import RabbitMqNode
from tests.support.workers import FOLDER

INLINE_SCENARIOS = [scenario for scenario in SCENARIOS if not scenario.needs_broker]
REPRODUCIBLE_SCENARIOS = [scenario for scenario in SCENARIOS if not scenario.reference_races]


def name_of(scenario: Scenario) -> str:
    return scenario.name


@pytest.mark.parametrize("scenario", SCENARIOS, ids=name_of)
async def test_this_sdk_behind_rabbitmq_differs_from_the_reference_as_listed(
    rabbitmq_node: RabbitMqNode, scenario: Scenario
):
    observed = await run_on_rabbitmq(rabbitmq_node, scenario)

    found = find_differences(read_recording(scenario.name), observed.as_json())
    check(scenario.name, found, DIFFERENCES)


@pytest.mark.parametrize("scenario", INLINE_SCENARIOS, ids=name_of)
def test_this_sdk_inline_differs_from_the_reference_as_listed(scenario: Scenario, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(FOLDER)

    observed = run_inline(scenario)

    seen_inline = {key: value for key, value in observed.as_json().items() if key in ("messages", "left_in_queue")}
    found = find_differences(read_recording(scenario.name), seen_inline)
    check(scenario.name, found, [row for row in DIFFERENCES if row.inline])


@pytest.mark.parametrize("scenario", REPRODUCIBLE_SCENARIOS, ids=name_of)
async def test_the_reference_does_what_was_recorded(rabbitmq_node: RabbitMqNode, reference: str, scenario: Scenario):
    observed = await run_on_rabbitmq(rabbitmq_node, scenario, reference=reference)

    found = find_differences(read_recording(scenario.name), observed.as_json())
    check(scenario.name, found, [])

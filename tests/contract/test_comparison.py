"""The comparison itself: what it must notice, or the contract tests could not fail."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.comparison import ABSENT, Difference, Text, check, find_differences
from tests.contract.observation import mask_messages

INSTANCE = "f7c794bc-d767-4c67-ad46-2c10684aee5c"
DISCOVERY = {
    "exchange": "job_response",
    "routing_key": "worker_discovery",
    "body": {"instance_id": INSTANCE, "direct_messaging_queue_name": f"direct_messaging_{INSTANCE}", "name": "w"},
}


def message(routing_key: str, **body: Any) -> dict[str, Any]:
    return {"exchange": "job_response", "routing_key": routing_key, "body": body}


def masked(**body: Any) -> Any:
    return mask_messages([DISCOVERY, message("any", **body)])[1]["body"]


def places(recorded: list[dict[str, Any]], ours: list[dict[str, Any]]) -> list[str]:
    return [found.where for found in find_differences({"messages": recorded}, {"messages": ours})]


def test_a_message_that_only_one_side_published_is_named():
    recorded = [message("job_progression", job_id=1), message("job_completed", job_id=1)]
    ours = [
        message("job_progression", job_id=1),
        message("job_progression", job_id=1),
        message("job_stopped", job_id=1),
    ]

    assert sorted(places(recorded, ours)) == ["job_completed 1", "job_progression 1 #2", "job_stopped 1"]


def test_two_messages_in_another_order_are_a_difference():
    first, second = message("worker_status"), message("job_completed", job_id=1)

    assert places([first, second], [second, first])


@pytest.mark.parametrize(
    ("recorded", "ours", "place"),
    [
        ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 3}]}}, "a.b[1].c"),
        ({"a": 1}, {"a": 1.0}, "a"),
        ({"a": 1}, {"a": True}, "a"),
        ({"a": None}, {}, "a"),
        ({}, {"a": None}, "a"),
        ({"a": [1]}, {"a": [1, 2]}, "a"),
        ({"a": "é"}, {"a": "?"}, "a"),
    ],
)
def test_one_field_that_differs_is_named_by_its_path(recorded: dict[str, Any], ours: dict[str, Any], place: str):
    assert places([message("k", **recorded)], [message("k", **ours)]) == [f"k: {place}"]


def test_another_exchange_is_a_difference():
    assert places([message("k")], [{**message("k"), "exchange": "worker_response"}]) == ["k"]


def test_a_difference_that_is_not_listed_fails():
    found = find_differences({"messages": [message("k", a=1)]}, {"messages": [message("k", a=2)]})

    with pytest.raises(AssertionError, match="not listed"):
        check("scenario", found, [Difference(("another",), "k: a", 1, 2, "")])
    with pytest.raises(AssertionError, match="not listed"):
        check("scenario", found, [Difference(("scenario",), "k: a", 1, 3, "")])
    check("scenario", found, [Difference(("scenario",), "k: *", 1, 2, "")])


def test_a_listed_difference_that_does_not_occur_fails():
    with pytest.raises(AssertionError, match="did not occur"):
        check("scenario", [], [Difference(("scenario",), "k", ABSENT, ABSENT, "")])


def test_a_text_is_matched_whole():
    assert Text("ValueError: .*") == "ValueError: boom\nand more"
    assert Text("boom") != "ValueError: boom"
    assert Text(".*") != 3


@pytest.mark.parametrize(
    "body",
    [
        {"execution_duration": 1},
        {"execution_duration": -0.5},
        {"cpu_time": "0.5"},
        {"datetime": "2026-11-22T22:18:16"},
        {"datetime": "2026-11-22T22:18:16+01:00"},
        {"datetime": 5},
        {"docker_container_id": "0f3b5dd0-8d6f-4ff2-b0a4-6f7c2a7a4d0b"},
        {"direct_messaging_queue_name": "direct_messaging_other"},
        {"sdk_version": "three"},
        {"system_info": {"memory": -1}},
        {"system_info": {"memory": True}},
        {"system_info": {"cores": []}},
        {"system_info": {"cores": [{"name": "cpu0"}]}},
        {"system_info": {"cores": [{"name": "cpu0", "usage": "100"}]}},
        {"system_info": {"networks": [{"name": "lo"}]}},
        {"system_info": {"load_average": {"one_minute": None}}},
    ],
)
def test_what_has_not_its_form_is_not_masked(body: dict[str, Any]):
    assert masked(**body) == body


def test_what_has_its_form_is_masked():
    body = {
        "execution_duration": 0.5,
        "datetime": "2026-11-22T22:18:16.343911697Z",
        "docker_container_id": INSTANCE,
        "sdk_version": "3.0.0",
        "system_info": {"memory": 5, "load_average": {"one_minute": 0.5}, "cores": [{"name": "cpu0", "usage": 3}] * 2},
    }

    assert masked(**body) == {
        "execution_duration": "<seconds>",
        "datetime": "<time>",
        "docker_container_id": "<instance id>",
        "sdk_version": "<version>",
        "system_info": {
            "memory": "<int>",
            "load_average": {"one_minute": "<float>"},
            "cores": [{"name": "<text>", "usage": "<int>"}],
        },
    }


def test_a_worker_that_says_something_else_of_itself_than_before_is_noticed():
    same, other = {"name": "w"}, {"name": "v"}

    assert masked(worker={**DISCOVERY["body"], "activity": "Idle"})["worker"] == {
        "activity": "Idle",
        "description": "<as discovered>",
    }
    assert masked(worker={**DISCOVERY["body"], **same, "instance_id": "x"})["worker"]["name"] == "w"
    assert masked(worker={**DISCOVERY["body"], **other})["worker"]["name"] == "v"

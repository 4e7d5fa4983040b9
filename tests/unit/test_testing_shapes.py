"""The shapes that StepFlow's stand-in holds messages against are those that were recorded."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcai_worker_sdk.testing.shapes import EXCHANGES, MessageShapeError, check_message

FOLDER = Path(__file__).parents[1] / "contract" / "recordings"
#: The reference published a job's own parameters beside the message, which StepFlow's consumer did not take.
NOT_TAKEN = FOLDER / "job_error_status.json"
RECORDINGS = sorted(set(FOLDER.glob("*.json")) - {NOT_TAKEN})


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a body, but for the insides of the schema, which is the author's."""
    if path:
        yield path
    if isinstance(value, dict) and path != ("parameters",):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))


def changed(body: Any, path: tuple[Any, ...], *, remove: bool) -> Any:
    body = copy.deepcopy(body)
    holder = body
    for step in path[:-1]:
        holder = holder[step]
    if remove:
        del holder[path[-1]]
    else:
        holder[path[-1]] = object()
    return body


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_every_recording_has_the_shape(path: Path):
    message = read(path)

    check_message(message["exchange"], message["routing_key"], message["body"])


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_recording_without_one_of_its_keys_has_it_no_more(path: Path):
    message = read(path)
    keys = [place for place in places(message["body"]) if isinstance(place[-1], str)]

    assert keys
    for place in keys:
        with pytest.raises(MessageShapeError):
            check_message(message["exchange"], message["routing_key"], changed(message["body"], place, remove=True))


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_recording_with_something_else_in_one_place_has_it_no_more(path: Path):
    message = read(path)

    for place in places(message["body"]):
        with pytest.raises(MessageShapeError):
            check_message(message["exchange"], message["routing_key"], changed(message["body"], place, remove=False))


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_recording_with_one_more_key_has_it_no_more(path: Path):
    message = read(path)

    with pytest.raises(MessageShapeError, match="extra"):
        check_message(message["exchange"], message["routing_key"], {**message["body"], "extra": 1})


def test_a_message_by_the_wrong_exchange_or_an_unknown_key_is_refused():
    with pytest.raises(MessageShapeError, match="expected 'worker_response'"):
        check_message("job_response", "worker_status", {})
    with pytest.raises(MessageShapeError, match="job_finished"):
        check_message("job_response", "job_finished", {})


def test_an_error_with_two_parameters_is_refused_as_stepflow_does():
    message = read(NOT_TAKEN)

    with pytest.raises(MessageShapeError, match="at most 1"):
        check_message(message["exchange"], message["routing_key"], message["body"])


def test_every_kind_that_was_recorded_is_known():
    assert {read(path)["routing_key"] for path in RECORDINGS} <= set(EXCHANGES)

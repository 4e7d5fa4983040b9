"""What a worker publishes, byte for byte: bodies as recorded from the reference, routes, text, state."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mcai_worker_sdk.protocol.responses import (
    Activity,
    BlackListReport,
    JobResult,
    JobState,
    Progression,
    Response,
    ResultParameter,
    UnknownJobError,
    UpdateRefusal,
    WorkerAnnouncement,
    WorkerStatusReport,
    dump,
    failed_result,
)
from mcai_worker_sdk.protocol.texts import MESSAGE_LIMIT_BYTES

RECORDINGS = Path(__file__).parents[1] / "contract" / "recordings"
INSTANCE_ID = "00000000-0000-4000-8000-000000000000"
NOW = "2026-11-22T22:18:16.343911Z"

IDENTITY = {
    "instance_id": INSTANCE_ID,
    "queue_name": "job_test",
    "direct_messaging_queue_name": f"direct_messaging_{INSTANCE_ID}",
    "name": "my_python_worker",
    "label": "my_python_worker",
    "description": "A dummy Python worker to help you figure out how it works!",
    "version": "1.2.3",
    "sdk_version": "2.2.1",
    "license": "MIT",
    "parameters": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": False,
        "required": ["code"],
        "properties": {
            "code": {"type": "string"},
            "number": {"type": "integer"},
            "requirements": {"type": "object"},
            "source_paths": {"type": "array", "items": {"type": "string"}},
        },
    },
}
RESULT_PARAMETERS = (ResultParameter("my_parameter", "string", "hello"), ResultParameter("n", "int", 3))
#: Differ from run to run; the recorded and the published one must be of the same JSON type.
FIGURES = {"datetime", "execution_duration", "cpu_time", "gpu_time", "system_info"}

RECORDED: dict[str, Response] = {
    "worker_discovery": WorkerAnnouncement("worker_discovery", IDENTITY),
    "worker_created": WorkerAnnouncement("worker_created", IDENTITY),
    "worker_terminated": WorkerAnnouncement("worker_terminated", IDENTITY),
    "worker_initialized": JobResult(20, JobState.READY_TO_START),
    "worker_started": JobResult(20, JobState.PROCESSING),
    "worker_status_idle": WorkerStatusReport(Activity.IDLE, IDENTITY, {}),
    "worker_status_busy": WorkerStatusReport(Activity.BUSY, IDENTITY, {}, JobResult(30, JobState.PROCESSING)),
    "worker_status_suspended": WorkerStatusReport(Activity.SUSPENDED, IDENTITY, {}),
    "worker_black_list": BlackListReport([4242], IDENTITY),
    "job_progression": Progression(1, 25, INSTANCE_ID),
    "job_completed": JobResult(1, JobState.COMPLETED, ("/path/a", "/path/b"), RESULT_PARAMETERS),
    "job_stopped": JobResult(4, JobState.STOPPED, ("/path/a",)),
    "job_error_exception": failed_result(2, "ValueError: boom"),
    "job_error_expired": failed_result(50, "Job TTL has been reached."),
    "job_error_status": JobResult(
        3,
        JobState.ERROR,
        parameters=(ResultParameter("a", "string", "b"), ResultParameter("message", "string", "custom err")),
    ),
}


def recorded(name: str) -> dict[str, Any]:
    return json.loads((RECORDINGS / f"{name}.json").read_text(encoding="utf-8"))


def masked(value: Any) -> Any:
    """The body with the name of its JSON type in place of each figure."""
    if isinstance(value, dict):
        return {key: type(item).__name__ if key in FIGURES else masked(item) for key, item in value.items()}
    return [masked(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", RECORDED)
def test_a_response_is_published_as_the_reference_published_it(name: str) -> None:
    message, response = recorded(name), RECORDED[name]
    assert masked(json.loads(dump(response, NOW))) == masked(message["body"])
    assert response.route == (message["exchange"], message["routing_key"])


def test_every_recording_is_compared() -> None:
    assert {path.stem for path in RECORDINGS.glob("*.json")} == {*RECORDED, "job_error_without_id"}


def test_an_error_without_job_id_has_the_recorded_shape() -> None:
    message = recorded("job_error_without_id")
    response = UnknownJobError(message["body"]["message"])
    assert json.loads(dump(response, NOW)) == message["body"]
    assert response.route == (message["exchange"], message["routing_key"])


def test_the_time_is_the_one_given() -> None:
    for name in ("job_completed", "job_progression"):
        assert json.loads(dump(RECORDED[name], NOW))["datetime"] == NOW
    assert json.loads(dump(RECORDED["worker_status_busy"], NOW))["job"]["datetime"] == NOW


def test_a_body_is_compact_and_its_keys_are_sorted() -> None:
    expected = (
        '{"cpu_time":0.5,"datetime":"' + NOW + '","destination_paths":["/o"],"execution_duration":1.5,"gpu_time":0.0,'
        '"job_id":1,"parameters":[{"default":null,"id":"p","store":"env","type":"string","value":"v"}],'
        '"status":"completed"}'
    )
    parameters = (ResultParameter("p", "string", "v", store="env"),)
    assert dump(JobResult(1, JobState.COMPLETED, ("/o",), parameters, 1.5, 0.5), NOW).decode() == expected


@pytest.mark.parametrize("text", ["/données/é☃😀.mp4", "日本語", '"quoted"\n\t\\', "\x00\x1f\x7f"])
def test_text_is_published_as_utf_8(text: str) -> None:
    data = dump(JobResult(1, JobState.COMPLETED, (text,)), NOW)
    assert json.loads(data.decode("utf-8"))["destination_paths"] == [text]
    assert not re.search(rb"\\u[89a-f]", data), "non-ASCII characters are themselves"


def test_half_a_character_does_not_stop_a_publication() -> None:
    data = dump(JobResult(1, JobState.COMPLETED, ("/bad\udcff/path",)), NOW)
    assert json.loads(data.decode("utf-8"))["destination_paths"] == ["/bad?/path"]


@pytest.mark.parametrize("value", [True, None, 0, -1, 2**70, 1.5, [1, None], {"a": {"b": []}}], ids=repr)
def test_a_result_parameter_keeps_its_json_type(value: object) -> None:
    data = dump(JobResult(1, JobState.COMPLETED, parameters=(ResultParameter("p", "any", value, default=value),)), NOW)
    (parameter,) = json.loads(data)["parameters"]
    assert (parameter["value"], type(parameter["value"])) == (value, type(value))
    assert parameter["default"] == value


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_json_is_never_published(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump(JobResult(1, JobState.COMPLETED, parameters=(ResultParameter("p", "float", value),)), NOW)


@pytest.mark.parametrize(
    ("state", "route"),
    [
        (JobState.READY_TO_START, ("worker_response", "worker_initialized")),
        (JobState.PROCESSING, ("worker_response", "worker_started")),
        (JobState.UPDATED, ("worker_response", "worker_updated")),
        (JobState.COMPLETED, ("job_response", "job_completed")),
        (JobState.STOPPED, ("job_response", "job_stopped")),
        (JobState.ERROR, ("job_response", "job_error")),
    ],
)
def test_the_routing_key_and_the_status_agree(state: JobState, route: tuple[str, str]) -> None:
    result = JobResult(1, state)
    assert result.route == route
    assert json.loads(dump(result, NOW))["status"] == state.value


def test_every_state_has_a_route() -> None:
    assert len({JobResult(1, state).route for state in JobState}) == len(JobState)


def test_the_message_of_a_failed_job_is_its_only_parameter() -> None:
    result = failed_result(7, "why", execution_duration_seconds=2.0, cpu_time_seconds=1.0)
    assert (result.state, result.message) == (JobState.ERROR, "why")
    body = json.loads(dump(result, NOW))
    assert body["parameters"] == [{"id": "message", "type": "string", "value": "why", "store": None, "default": None}]
    assert (body["execution_duration"], body["cpu_time"], body["destination_paths"]) == (2.0, 1.0, [])


def test_only_a_failed_job_has_a_message() -> None:
    parameters = (ResultParameter("message", "string", "hello"),)
    assert JobResult(1, JobState.COMPLETED, parameters=parameters).message is None
    assert JobResult(1, JobState.ERROR).message is None


def test_a_refused_update_says_why_and_leaves_the_job_processing() -> None:
    refusal = UpdateRefusal(7, "this worker takes no updates")
    body = json.loads(dump(refusal, NOW))
    assert refusal.route == ("worker_response", "worker_updated")
    assert (body["job_id"], body["status"], body["datetime"]) == (7, "processing", NOW)
    assert [(entry["id"], entry["value"]) for entry in body["parameters"]] == [
        ("message", "this worker takes no updates")
    ]


@pytest.mark.parametrize("name", ["worker_status_idle", "worker_black_list"])
def test_the_schema_of_the_parameters_is_published_in_announcements_only(name: str) -> None:
    assert b"2020-12" not in dump(RECORDED[name], NOW)
    assert b"2020-12" in dump(RECORDED["worker_discovery"], NOW)


def test_the_system_info_is_published_as_given() -> None:
    info = {"memory": 12, "gpus": [{"name": "g"}]}
    assert json.loads(dump(Progression(1, 5, "i", info), NOW))["system_info"] == info
    status = WorkerStatusReport(Activity.IDLE, IDENTITY, info)
    assert json.loads(dump(status, NOW))["worker"]["system_info"] == info


@pytest.mark.parametrize("letter", ["x", "é", "☃", "\ud800"])
def test_no_text_is_published_longer_than_a_message_may_be(letter: str) -> None:
    """Whatever it was made of may be as long as an order."""
    text = letter * 1_000_000
    for response in (failed_result(1, text), UnknownJobError(text), UpdateRefusal(1, text)):
        published = dump(response, "now")
        assert MESSAGE_LIMIT_BYTES // 2 < len(published) < MESSAGE_LIMIT_BYTES + 300


def test_a_text_as_long_as_a_message_may_be_is_published_whole() -> None:
    text = "é" * (MESSAGE_LIMIT_BYTES // 2)
    assert failed_result(1, text).message == text

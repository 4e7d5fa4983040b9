"""Run by ``python -m pytest`` in the example's folder."""

from py_mcai_worker.worker import GreetingParameters, GreetingWorker

from mcai_worker_sdk.testing import Credential, RecordingChannel, run_job, run_order


def test_it_greets_as_often_as_it_is_asked_to() -> None:
    run = run_job(GreetingWorker, {"name": "Ann", "times": 2})

    assert run.status == "completed"
    assert run.progressions == [0, 50, 100]
    assert run.parameters == {"greetings": 2}
    assert [line.message for line in run.log] == ["Hello, Ann!", "Hello, Ann!"]


def test_it_wants_a_name() -> None:
    run = run_job(GreetingWorker, {"times": 2})

    assert run.status == "error"
    assert "Parameter 'name' is missing" in str(run.error)


def test_it_keeps_a_name_from_a_store_out_of_the_log() -> None:
    run = run_job(GreetingWorker, {"name": Credential("vault", "GUEST")}, credentials={"vault": {"GUEST": "Ms Secret"}})

    assert {line.message for line in run.log} == {"Hello, ***!"}


def test_its_example_order_runs() -> None:
    assert run_order(GreetingWorker, "examples/source_order.json").status == "completed"


def test_process_by_hand(mcai_channel: RecordingChannel) -> None:
    GreetingWorker.process(None, mcai_channel, GreetingParameters(name="Ann", times=4), 1)  # type: ignore[arg-type]

    assert mcai_channel.progressions == [25, 50, 75, 100]

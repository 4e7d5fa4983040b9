"""
The scenarios of the contract: what is sent to a worker, step by step, and when.

A scenario says nothing of what must come back: that is in ``recordings/scenarios/``, as the reference answered, and in
``differences.py``, where this SDK answers otherwise on purpose.
"""

from __future__ import annotations

from typing import Any

from tests.contract.script import Await, AwaitBackend, Broadcast, Direct, Ended, Gate, Pause, Scenario, Step, Submit

__all__ = ["SCENARIOS"]

#: Waits in user code without a word to the SDK; the runner puts the file's name in.
GATE = "\nwhile not os.path.exists('@gate@'): time.sleep(0.01)\n"
PROGRESS = "for i in (25, 50, 75): ch.publish_job_progression(i); time.sleep(0.05)\n"
RESULT = (
    "ret = {'destination_paths': ['/path/a', '/path/b'], 'parameters': "
    "[{'id': 'my_parameter', 'kind': 'string', 'value': 'hello'}, {'id': 'n', 'kind': 'int', 'value': 3}]}"
)
SAY_NUMBER = "ret = {'destination_paths': [repr(getattr(p, 'number', None))]}"
UNTIL_STOPPED = "while not ch.is_stopped(): time.sleep(0.02)\n"
UNTIL_STOPPED_OR_GATE = "while not ch.is_stopped() and not os.path.exists('@gate@'): time.sleep(0.02)\n"
SAY_STOPPED = "if ch.is_stopped(): ch.set_job_status(mcai.JobStatus.Stopped)\nret = {'destination_paths': ['/path/a']}"
EMPTY = "ret = {}"


TYPES = {"code": "string", "number": "integer", "requirements": "requirements"}


def parameters(code: Any, **others: Any) -> list[dict[str, Any]]:
    """An order's parameters for the worker that runs the code in them."""
    return [{"id": name, "type": TYPES[name], "value": value} for name, value in {"code": code, **others}.items()]


def job(job_id: int, code: Any, **others: Any) -> dict[str, Any]:
    """A job order's body."""
    return {"job_id": job_id, "parameters": parameters(code, **others)}


def about(order_type: str, job_id: int, code: str | None = None) -> dict[str, Any]:
    """A direct message about one job."""
    return {"type": order_type, "job_id": job_id, "parameters": [] if code is None else parameters(code)}


def returning(**result: Any) -> str:
    """Code that returns this result."""
    return f"ret = {result!r}"


def result_parameters(*entries: tuple[str, Any]) -> str:
    """Code that returns result parameters named ``a``, ``b``, ... of these kinds and values."""
    names = "abcdefghijkl"
    return returning(
        parameters=[{"id": names[i], "kind": kind, "value": value} for i, (kind, value) in enumerate(entries)]
    )


def in_turn(*orders: Any, then: Await) -> tuple[Step, ...]:
    """Submit orders, each after the last one was answered."""
    return tuple(step for order in orders for step in (Submit(order), then))


STATUS = (Direct({"type": "status"}), Await("worker_status"))
COMPLETED = Await("job_completed")
FAILED = Await("job_error")
RUNNING = Await("job_progression")

_ONE_JOB = (
    Scenario("complete", (Submit(job(1, PROGRESS + RESULT)), COMPLETED)),
    Scenario("error_by_exception", (Submit(job(2, "raise ValueError('boom')")), FAILED)),
    Scenario(
        "error_by_status",
        (
            Submit(job(3, "ch.set_job_status(mcai.JobStatus.Error); ch.set_error_message('custom err')\n" + RESULT)),
            FAILED,
        ),
    ),
    Scenario(
        "error_by_status_without_message",
        (Submit(job(3, "ch.set_job_status(mcai.JobStatus.Error)")), FAILED),
    ),
    Scenario("error_by_sys_exit", (Submit(job(3, "sys.exit(4)")), FAILED, Submit(job(4, EMPTY)), COMPLETED)),
    Scenario("explicit_type_and_extra_keys", (Submit({**job(1, EMPTY), "type": "job", "extra": [1]}), COMPLETED)),
    Scenario("unicode_result", (Submit(job(1, returning(destination_paths=["/données/é☃😀.mp4"]))), COMPLETED)),
    Scenario("progression_out_of_range", (Submit(job(1, "ch.publish_job_progression(101)")), COMPLETED)),
    Scenario("requirements_met", (Submit(job(1, EMPTY, requirements={"paths": ["/"]})), COMPLETED)),
    Scenario(
        "requirements_missing",
        (Submit(job(31, EMPTY, requirements={"paths": ["/nonexistent"]}), priority=9, headers={"a": "b"}), FAILED),
        environment={"MESSAGE_SOFT_LIMIT": "1"},
    ),
    Scenario(
        "bad_parameter",
        (Submit(job(32, 3)), FAILED, Submit(job(33, EMPTY)), COMPLETED),
        environment={"MESSAGE_TTL_LIMIT": "0"},
    ),
    Scenario(
        "parameter_values",
        in_turn(
            *(job(job_id, SAY_NUMBER, number=value) for job_id, value in enumerate((5, 2**53 + 1, None, -5))),
            then=COMPLETED,
        ),
    ),
    Scenario(
        "nothing_leaks_into_the_next_job",
        in_turn(job(1, SAY_NUMBER, number=5), job(2, SAY_NUMBER), then=COMPLETED),
    ),
)

_RESULTS = (
    Scenario(
        "result_kinds",
        in_turn(
            job(
                1,
                result_parameters(
                    ("string", "text"),
                    ("string", 3),
                    ("int", -3),
                    ("int", "12"),
                    ("boolean", "true"),
                    ("array_of_strings", ["x", "y"]),
                    ("array_of_ints", [1, -2]),
                    ("array_of_templates", ["{a}"]),
                    ("array_of_strings", []),
                ),
            ),
            then=COMPLETED,
        ),
    ),
    Scenario(
        "result_kinds_the_reference_drops",
        in_turn(
            job(
                1,
                result_parameters(
                    ("integer", 3),
                    ("float", 0.5),
                    ("object", {"k": [1, None]}),
                    ("array_of_floats", [0.5]),
                    ("zzz", "text"),
                ),
            ),
            then=COMPLETED,
        ),
    ),
    Scenario(
        "result_store_and_default",
        in_turn(
            job(
                1,
                returning(
                    parameters=[{"id": "a", "kind": "string", "value": "K", "store": "VAULT", "default": "d"}],
                ),
            ),
            then=COMPLETED,
        ),
    ),
    Scenario(
        "result_of_a_true_boolean",
        in_turn(job(1, result_parameters(("boolean", True))), then=Await("job_completed", by="ours")),
    ),
    Scenario(
        "results_that_are_none",
        in_turn(
            *(job(number, f"ret = {text}") for number, text in enumerate(("None", "{}", "'text'", "[1]", "3"))),
            job(5, returning(message="x")),
            job(6, returning(destination_paths=("/a",))),
            then=COMPLETED,
        ),
    ),
    Scenario(
        "result_entries_that_are_none",
        in_turn(
            job(
                1,
                returning(
                    destination_paths=["/a", 3, None, "/b"],
                    parameters=[{"id": "a"}, 3, {"kind": "string", "value": "x"}],
                ),
            ),
            then=COMPLETED,
        ),
    ),
)

_STOPPING = (
    Scenario(
        "stopped",
        (Submit(job(4, UNTIL_STOPPED + SAY_STOPPED)), RUNNING, Direct(about("stop_process", 4)), Await("job_stopped")),
    ),
    Scenario(
        "status_stopped_without_stop_order",
        (
            Submit(job(5, "ch.set_job_status(mcai.JobStatus.Stopped); ret = {'destination_paths': ['/x']}")),
            Await("job_completed", by="reference"),
            Await("job_stopped", by="ours"),
        ),
    ),
    Scenario(
        "stop_order_ignored",
        (
            Submit(job(6, GATE + "ret = {'destination_paths': ['/x']}")),
            RUNNING,
            Direct(about("stop_process", 6)),
            Pause(),
            Gate(),
            Await("job_completed", by="ours"),
            Await("job_stopped", by="reference"),
        ),
    ),
    Scenario(
        "stop_order_then_exception",
        (
            Submit(job(8, UNTIL_STOPPED + "raise ValueError('late')")),
            RUNNING,
            Direct(about("stop_process", 8)),
            FAILED,
        ),
        wedges_reference=True,
    ),
    Scenario(
        "stop_order_with_other_id",
        (
            Submit(job(7, UNTIL_STOPPED_OR_GATE + SAY_STOPPED)),
            RUNNING,
            Direct(about("stop_process", 999)),
            Pause(),
            Gate(),
            Await("job_completed", by="ours"),
            Await("job_stopped", by="reference"),
        ),
    ),
    Scenario("stop_order_idle", (Direct(about("stop_process", 9)), *STATUS)),
)

_INITIALISED = (
    Scenario(
        "init_start",
        (
            Direct(about("init_process", 20, PROGRESS + RESULT)),
            Await("worker_initialized"),
            *STATUS,
            Direct(about("start_process", 20, PROGRESS + RESULT)),
            Await("worker_started"),
            COMPLETED,
        ),
    ),
    Scenario(
        "init_then_other_job",
        (
            Direct(about("init_process", 20, EMPTY)),
            Await("worker_initialized"),
            Submit(job(21, RESULT)),
            Await("job_error", by="reference"),
            Pause(),
            Direct(about("start_process", 20, EMPTY)),
            COMPLETED,
            COMPLETED,
        ),
    ),
    Scenario(
        "init_then_start_without_parameters",
        (
            Direct(about("init_process", 20, RESULT)),
            Await("worker_initialized"),
            Direct(about("start_process", 20)),
            Await("worker_started"),
            RUNNING,
            Await("job_completed", by="ours"),
            Submit(job(21, EMPTY)),
            COMPLETED,
        ),
    ),
    Scenario(
        "init_then_stop",
        (
            Direct(about("init_process", 20, RESULT)),
            Await("worker_initialized"),
            Direct(about("stop_process", 20)),
            Await("job_stopped", by="ours"),
            Submit(job(21, EMPTY)),
            Await("job_error", by="reference"),
            Await("job_completed", by="ours"),
        ),
        wedges_reference=True,
    ),
    Scenario(
        "init_while_busy",
        (
            Submit(job(1, GATE + "ret = {'destination_paths': ['1']}")),
            RUNNING,
            Direct(about("init_process", 22, EMPTY)),
            FAILED,
            Gate(),
            Await("job_completed", by="ours"),
        ),
    ),
    Scenario("start_without_init", (Direct(about("start_process", 20, EMPTY)), FAILED)),
    Scenario("job_by_direct_message", (Direct(job(20, RESULT)), COMPLETED)),
)

_CONTROL = (
    Scenario(
        "status_idle_busy_suspended",
        (
            *STATUS,
            Submit(job(30, GATE)),
            RUNNING,
            *STATUS,
            Gate(),
            COMPLETED,
            Direct({"type": "stop_consuming_jobs"}),
            Await("worker_status"),
            *STATUS,
            Direct({"type": "resume_consuming_jobs"}),
            Await("worker_status"),
        ),
    ),
    Scenario(
        "status_by_headers",
        tuple(
            step
            for headers in (
                {"broadcast": "true"},
                {"instance_id": "?"},
                {"job_type": "job_test"},
                {"worker_name": "my_python_worker"},
                {"worker_version": "1.2.3", "worker_name": "another"},
            )
            for step in (Broadcast(headers), Await("worker_status"))
        ),
        needs_broker="headers are the broker's to match",
    ),
    Scenario(
        "status_by_the_job_queue",
        (Submit({"type": "status"}), Await("worker_status")),
    ),
    Scenario(
        "stop_resume_consuming_idle",
        (
            Direct({"type": "stop_consuming_jobs"}),
            Await("worker_status"),
            *STATUS,
            Direct({"type": "resume_consuming_jobs"}),
            Await("worker_status"),
            Submit(job(31, RESULT)),
            COMPLETED,
        ),
    ),
    Scenario(
        "job_for_a_suspended_worker",
        (
            Direct({"type": "stop_consuming_jobs"}),
            Await("worker_status"),
            *STATUS,
            Submit(job(31, PROGRESS + RESULT)),
            Direct({"type": "resume_consuming_jobs"}),
            Await("worker_status"),
            COMPLETED,
        ),
        reference_races="it gives the order back and then cancels its consumer; delivered again in between, it is lost",
    ),
    Scenario(
        "stop_resume_consuming_busy",
        (
            Submit(job(1, GATE)),
            RUNNING,
            Direct({"type": "stop_consuming_jobs"}),
            Await("worker_status"),
            Gate(),
            COMPLETED,
            Pause(),
            *STATUS,
            Direct({"type": "resume_consuming_jobs"}),
            Await("worker_status"),
            Submit(job(2, EMPTY)),
            COMPLETED,
        ),
    ),
    Scenario("update_process_idle", (Direct(about("update_process", 1)), *STATUS)),
    Scenario(
        "update_process_busy",
        (
            Submit(job(1, "ch.publish_job_progression(25)\n" + GATE)),
            RUNNING,
            RUNNING,
            Direct({**about("update_process", 1), "parameters": [{"id": "number", "type": "integer", "value": 5}]}),
            Await("worker_updated", by="ours"),
            Pause(),
            Gate(),
            COMPLETED,
        ),
        wedges_reference=True,
    ),
    Scenario("reached_expiration_idle", (Direct(about("reached_expiration", 50)), FAILED)),
    Scenario(
        "reached_expiration_busy",
        (
            Submit(job(51, UNTIL_STOPPED_OR_GATE + SAY_STOPPED)),
            RUNNING,
            Direct(about("reached_expiration", 51)),
            FAILED,
            Gate(),
            Pause(1.0),
            Submit(job(52, EMPTY)),
            COMPLETED,
        ),
        wedges_reference=True,
    ),
    Scenario(
        "reached_expiration_of_another_job",
        (
            Submit(job(61, GATE)),
            RUNNING,
            Direct(about("reached_expiration", 999)),
            FAILED,
            Pause(),
            Gate(),
            Await("job_completed", by="ours"),
        ),
        wedges_reference=True,
    ),
    Scenario(
        "stop_worker_idle", (Direct({"type": "stop_worker"}), Await("worker_terminated"), Ended()), ends_itself=True
    ),
    Scenario(
        "stop_worker_busy",
        (
            Submit(job(60, GATE + "ret = {'destination_paths': ['/x']}")),
            RUNNING,
            Direct({"type": "stop_worker"}),
            Await("worker_terminated", by="reference"),
            Pause(),
            Gate(),
            Await("worker_terminated", by="ours"),
            Ended(),
        ),
        ends_itself=True,
    ),
)

_BLACK_LIST = (
    Scenario(
        "black_list",
        (
            Direct({"type": "get_black_list"}),
            Await("worker_black_list"),
            Direct({"type": "add_to_black_list", "job_id": 77}),
            Direct({"type": "get_black_list"}),
            Await("worker_black_list"),
            Direct({"type": "add_to_black_list", "job_id": 78}),
            Direct({"type": "delete_from_black_list", "job_id": 77}),
            Direct({"type": "get_black_list"}),
            Await("worker_black_list"),
            Direct({"type": "sync_black_list"}),
            AwaitBackend("GET /api/step_flow/blacklist"),
            Pause(),
            Direct({"type": "get_black_list"}),
            Await("worker_black_list"),
        ),
        black_list=(4242,),
    ),
    Scenario(
        "black_listed_job",
        (
            Submit(job(4242, RESULT)),
            AwaitBackend("DELETE /api/step_flow/blacklist/4242"),
            Submit(job(1, EMPTY)),
            COMPLETED,
            Direct({"type": "get_black_list"}),
            Await("worker_black_list"),
        ),
        black_list=(4242, 4243),
    ),
)

_UNREADABLE = (
    Scenario(
        "unreadable_without_job_id",
        in_turn(
            b"",
            b"   ",
            b"not json",
            b"[1]",
            b'"text"',
            b"null",
            b'{"parameters": []}',
            b'{"job_id": "5", "parameters": []}',
            b'{"job_id": -5, "parameters": []}',
            b'{"job_id": 18446744073709551616, "parameters": []}',
            b'{"job_id": 1, "parameters": [{"id": "code", "type": "string", "value": "\xff"}]}',
            then=FAILED,
        ),
    ),
    Scenario(
        "unreadable_with_job_id",
        in_turn(
            {"job_id": 1},
            {"job_id": 2, "parameters": {}},
            {"job_id": 3, "parameters": [{"id": "code", "value": "x"}]},
            {"job_id": 4, "parameters": [{"id": "code", "kind": "string", "value": "x"}]},
            {"job_id": 5, "type": "zzz"},
            then=FAILED,
        ),
    ),
    Scenario("unknown_type", (Direct({"type": "zzz"}), FAILED)),
    Scenario("largest_job_id", (Submit(job(2**64 - 1, EMPTY)), COMPLETED, Submit(job(0, EMPTY)), COMPLETED)),
)

SCENARIOS = (*_ONE_JOB, *_RESULTS, *_STOPPING, *_INITIALISED, *_CONTROL, *_BLACK_LIST, *_UNREADABLE)

"""
The one table of what this SDK does otherwise than the reference, and why.

The contract tests read it: a difference that is not listed fails, and so does a listed one that does not occur. A name
such as B3 in a reason is a decision of this SDK's design:

======  ===============================================================================================================
B1      Text is UTF-8 in both directions.
B2      One terminal message per job; its routing key and its status agree, and say what the job did.
B3      ``job_error`` has the job id whenever it can be read, and exactly one parameter: ``message``.
B4      Bad parameters and results are reported at once, once, by their own names.
B5      Missing requirements are waited for, then named.
B7      Control works at any time: every order is answered, none touches another job than its own.
B8      A black-listed job is dropped after a DELETE at the backend.
B9      A worker that is told to end lets its job finish first.
B11     Values arrive and leave with their JSON types; nothing of one job is left in the next.
B12     ``content_type`` is ``application/json``; nothing else is added to the properties.
B15     A progression outside 0 to 100 is published as the nearer of the two.
======  ===============================================================================================================
"""

from __future__ import annotations

from typing import Any

from tests.contract.comparison import ABSENT, ANY_SCENARIO, Difference, Text

__all__ = ["DIFFERENCES"]

BUSY = "Cannot initialize this job, an another job is already in progress."
EXPIRED = "Job TTL has been reached."
PARSER = Text(r"(missing field|unknown variant|invalid type|EOF|expected ident|unable to retrieve) ?.*")


def failed(message: Any) -> dict[str, Any]:
    """The body of a ``job_error`` of this SDK, as far as it matters here."""
    return {"status": "error", "destination_paths": [], "parameters": [parameter("message", "string", message)]}


def parameter(name: str, kind: str, value: Any) -> dict[str, Any]:
    """One result parameter."""
    return {"id": name, "type": kind, "value": value, "store": None, "default": None}


def traceback(first_line: str) -> Text:
    """An exception's text with the frames of user code below it."""
    return Text(first_line + r'\n(  File ".*worker\.py", line \d+, in process\n).*')


_EVERYWHERE = (
    Difference(
        ANY_SCENARIO,
        "properties",
        [{"delivery_mode": 2}],
        [{"delivery_mode": 2, "content_type": "application/json"}],
        "B12: whoever looks at a message sees what it holds.",
        inline=False,
    ),
)

_ERRORS = (
    Difference(
        ["error_by_exception"],
        "job_error 2: parameters[0].value",
        "ValueError: boom",
        traceback("ValueError: boom"),
        "B3: the message says where the exception came from.",
    ),
    Difference(
        ["stop_order_then_exception"],
        "job_error 8: parameters[0].value",
        "ValueError: late",
        traceback("ValueError: late"),
        "B3: the message says where the exception came from.",
    ),
    Difference(
        ["error_by_sys_exit"],
        "job_error 3: parameters[0].value",
        "SystemExit: 4",
        traceback("SystemExit: 4"),
        "B3: the message says where the exception came from.",
    ),
    Difference(
        ["error_by_status"],
        "job_error 3: parameters",
        [
            parameter("my_parameter", "string", "hello"),
            parameter("n", "int", 3),
            parameter("message", "string", "custom err"),
        ],
        [parameter("message", "string", "custom err")],
        "B3: StepFlow's consumer takes a job_error with one parameter only.",
    ),
    Difference(
        ["progression_out_of_range"],
        "job_progression 1 #2: progression",
        101,
        100,
        "B15: a progression is a percentage, and never fails a job.",
    ),
    Difference(
        ["requirements_missing"],
        "job_error 31: parameters[0].value",
        EXPIRED,
        "The job's requirements do not exist: /nonexistent.",
        "B5: the message names what is missing.",
    ),
    Difference(
        ["bad_parameter"],
        "job_error 32: parameters[0].value",
        EXPIRED,
        "Parameter 'code' is 3; expected a string. Correct the order.",
        "B4: the real reason, at once, instead of a time-out after every attempt failed alike.",
    ),
)

_VALUES = (
    Difference(
        ["parameter_values"],
        "job_completed 2: destination_paths[0]",
        str(2**53 + 1),
        "None",
        "B11: null is None, not what the last job had.",
    ),
    Difference(
        ["parameter_values"],
        "job_completed 3: destination_paths[0]",
        "None",
        "-5",
        "B11: negative integers arrive.",
    ),
    Difference(
        ["nothing_leaks_into_the_next_job"],
        "job_completed 2: destination_paths[0]",
        "5",
        "None",
        "B11: an absent parameter is absent, not what the last job had.",
    ),
    Difference(
        ["unicode_result"],
        "job_completed 1: destination_paths[0]",
        "/donn?es/???.mp4",
        "/données/é☃😀.mp4",
        "B1: a path with a question mark in it is another path.",
    ),
    *(
        Difference(
            ["result_kinds_the_reference_drops"],
            f"job_completed 1: parameters[{index}].value",
            None,
            value,
            "B11: the value of every kind leaves with its JSON type.",
        )
        for index, value in enumerate((3, 0.5, {"k": [1, None]}, [0.5], "text"))
    ),
    Difference(
        ["result_of_a_true_boolean"],
        "job_completed 1",
        ABSENT,
        {"status": "completed", "parameters": [parameter("a", "boolean", True)]},
        "B4, B11: a boolean is a boolean; the reference never ends the job.",
    ),
    Difference(
        ["result_of_a_true_boolean"],
        "worker_status: job",
        {"status": "processing"},
        None,
        "The job ended: the reference is busy with it for ever.",
    ),
    Difference(
        ["result_of_a_true_boolean"], "worker_status: worker.activity", "Busy", "Idle", "As above: the job ended."
    ),
    Difference(["result_of_a_true_boolean"], "left_in_queue", 1, 0, "As above: its order is settled."),
    Difference(
        ["results_that_are_none"],
        "job_completed 6: destination_paths",
        [],
        ["/a"],
        "B11: a tuple of paths is a list of paths; dropping it in silence loses a result.",
    ),
)

_ENDS = (
    Difference(
        ["status_stopped_without_stop_order"],
        "job_completed 5",
        {"status": "stopped"},
        ABSENT,
        "B2: routing key and status disagree.",
    ),
    Difference(
        ["status_stopped_without_stop_order"],
        "job_stopped 5",
        ABSENT,
        {"status": "stopped", "destination_paths": ["/x"]},
        "B2: the worker said that it stopped.",
    ),
    Difference(
        ["stop_order_ignored"],
        "job_stopped 6",
        {"status": "completed"},
        ABSENT,
        "B2: routing key and status disagree.",
    ),
    Difference(
        ["stop_order_ignored"],
        "job_completed 6",
        ABSENT,
        {"status": "completed", "destination_paths": ["/x"]},
        "B2: the job did all it had to do.",
    ),
    Difference(
        ["stop_order_with_other_id"],
        "job_stopped 7",
        {"status": "stopped"},
        ABSENT,
        "B7: the order was for job 999.",
    ),
    Difference(
        ["stop_order_with_other_id"],
        "job_completed 7",
        ABSENT,
        {"status": "completed"},
        "B7: the order was for job 999.",
    ),
    Difference(
        ["stop_worker_busy"],
        "job_completed 60",
        ABSENT,
        {"status": "completed", "destination_paths": ["/x"]},
        "B9: the running job may finish; the reference breaks it off in the middle.",
    ),
    Difference(["stop_worker_busy"], "left_in_queue", 1, 0, "B9: its order is settled."),
)

_CONTROL = (
    Difference(
        [
            "stop_order_then_exception",
            "init_then_stop",
            "update_process_busy",
            "reached_expiration_busy",
            "reached_expiration_of_another_job",
        ],
        "worker_status",
        ABSENT,
        {"job": None, "worker": {"activity": "Idle"}},
        "B7: the reference keeps the last direct message unsettled and so gets no other any more.",
    ),
    Difference(
        ["init_then_other_job"],
        "job_error 21",
        failed(BUSY),
        ABSENT,
        "B2, B7: the job waits for its turn; the reference reports it failed and then completed.",
    ),
    Difference(
        ["init_then_start_without_parameters"],
        "job_completed 20",
        ABSENT,
        {"status": "completed", "destination_paths": ["/path/a", "/path/b"]},
        "B7: start_process without parameters means those of init_process; the reference never ends the job.",
    ),
    Difference(
        ["init_then_stop"],
        "job_stopped 20",
        ABSENT,
        {"status": "stopped", "destination_paths": [], "parameters": []},
        "B7: an initialised job can be stopped.",
    ),
    Difference(["init_then_stop"], "job_error 21", failed(BUSY), ABSENT, "B7: the worker is free for the next job."),
    Difference(
        ["init_then_stop"], "job_progression 21", ABSENT, {"progression": 0}, "B7: the worker is free for the next job."
    ),
    Difference(
        ["init_then_stop"],
        "job_completed 21",
        ABSENT,
        {"status": "completed"},
        "B7: the worker is free for the next job.",
    ),
    Difference(["init_then_stop"], "left_in_queue", 1, 0, "As above: the order of job 21 is settled."),
    Difference(
        ["init_while_busy"],
        "job_completed 1",
        ABSENT,
        {"status": "completed", "destination_paths": ["1"]},
        "B7: job 22 is refused; the reference then loses the result of job 1.",
    ),
    Difference(
        ["update_process_busy"],
        "worker_updated 1",
        ABSENT,
        {"status": "processing", "parameters": [parameter("message", "string", Text(".+"))]},
        "B7: the orchestrator hears that, and why, its update was not taken.",
    ),
    Difference(
        ["reached_expiration_of_another_job"],
        "job_completed 61",
        ABSENT,
        {"status": "completed"},
        "B7: job 999 has expired, not the running one, whose result the reference then loses.",
    ),
    Difference(
        ["black_list"],
        "backend",
        ["GET /api/step_flow", "GET /api/step_flow/blacklist", "GET /api/step_flow/blacklist"],
        ["GET /api/step_flow", "GET /api/step_flow/blacklist"] * 2,
        "B8: the version is asked for again, since the backend may have been replaced.",
        inline=False,
    ),
    Difference(
        ["black_listed_job"],
        "backend",
        [
            "GET /api/step_flow",
            "GET /api/step_flow/blacklist",
            "GET /api/step_flow",
            "DELETE /api/step_flow/blacklist/4242",
        ],
        ["GET /api/step_flow", "GET /api/step_flow/blacklist", "DELETE /api/step_flow/blacklist/4242"],
        "B8: the DELETE itself tells an old backend.",
        inline=False,
    ),
)

_UNREADABLE = (
    *(
        Difference(
            ["unreadable_without_job_id"],
            "job_error" + ("" if number == 1 else f" #{number}") + ": message",
            PARSER,
            Text(r"The order .*" + named + ".*"),
            "B3, B4: the message names the fault in the order, not in a parser.",
        )
        for number, named in enumerate(
            (
                "empty",
                "empty",
                "not JSON",
                "array",
                "string",
                "null",
                "job_id is missing",
                r"job_id: .*\(got '5'\)",
                r"job_id: .*\(got -5\)",
                r"job_id: .*\(got 18446744073709551616\)",
                "unicode",
            ),
            start=1,
        )
    ),
    *(
        Difference(
            ["unreadable_with_job_id"],
            "job_error" + ("" if job_id == 1 else f" #{job_id}"),
            {"message": PARSER, "status": "error"},
            ABSENT,
            "B3: the job id can be read.",
        )
        for job_id in range(1, 6)
    ),
    *(
        Difference(
            ["unreadable_with_job_id"],
            f"job_error {job_id}",
            ABSENT,
            failed(Text(f".*{named}.*")),
            "B3: a job whose order has a fault is reported under its id.",
        )
        for job_id, named in enumerate(
            ("parameters is missing", "valid array", "type is missing", "type is missing", "type is 'zzz'"), start=1
        )
    ),
    Difference(
        ["unknown_type"],
        "job_error: message",
        PARSER,
        Text("The order's type is 'zzz'; expected one of job, .*"),
        "B4: the message names the fault in the order.",
    ),
)

DIFFERENCES: tuple[Difference, ...] = (*_EVERYWHERE, *_ERRORS, *_VALUES, *_ENDS, *_CONTROL, *_UNREADABLE)

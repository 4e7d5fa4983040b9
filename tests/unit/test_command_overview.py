"""What ``watch`` knows of the workers by what they publish, and how it draws that."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mcai_worker_sdk.cli.broker import Heard
from mcai_worker_sdk.cli.overview import KEPT_RESULTS, Ended, Overview
from mcai_worker_sdk.cli.screen import draw

RECORDINGS = Path(__file__).parents[1] / "contract" / "recordings"
INSTANCE = "00000000-0000-4000-8000-000000000000"


def recorded(name: str, **changes: Any) -> Heard:
    message = json.loads((RECORDINGS / f"{name}.json").read_text())
    return Heard(message["routing_key"], {**message["body"], **changes})


def after(*messages: Heard) -> Overview:
    overview = Overview()
    for message in messages:
        overview.hear(message)
    return overview


def test_a_worker_is_there_from_its_first_word_to_its_last():
    assert list(after(recorded("worker_discovery")).workers) == [INSTANCE]
    assert list(after(recorded("worker_status_idle")).workers) == [INSTANCE]
    assert list(after(recorded("job_progression")).workers) == [INSTANCE]
    assert not after(recorded("worker_created"), recorded("worker_terminated")).workers


def test_a_status_says_what_the_worker_is_and_does():
    (worker,) = after(recorded("worker_status_busy")).workers.values()

    assert (worker.name, worker.version, worker.queue) == ("my_python_worker", "1.2.3", "job_test")
    assert (worker.activity, worker.job_id, worker.progression) == ("Busy", 30, None)
    assert worker.memory_gb == pytest.approx(0.542729)


def test_a_progression_says_how_far_the_job_and_how_busy_the_machine_is():
    (worker,) = after(recorded("worker_status_idle"), recorded("job_progression")).workers.values()

    assert (worker.activity, worker.job_id, worker.progression) == ("Busy", 1, 25)
    assert (worker.cpu_percent, worker.gpu_percent) == (100, None)


def test_a_result_ends_the_job_of_its_worker_and_no_other():
    overview = after(recorded("job_progression"), recorded("job_completed"))
    (worker,) = overview.workers.values()

    assert (worker.activity, worker.job_id, worker.progression) == ("Idle", None, None)
    assert list(overview.results) == [Ended(1, "completed", "/path/a, /path/b")]
    (other,) = after(recorded("job_progression", job_id=99), recorded("job_completed")).workers.values()
    assert other.job_id == 99


def test_an_error_is_kept_with_the_first_line_of_its_words():
    (ended,) = after(recorded("job_error_exception")).results
    (nameless,) = after(recorded("job_error_without_id")).results

    assert ended.status == "error"
    assert "boom" in ended.words
    assert "\n" not in ended.words
    assert (nameless.job_id, nameless.words[:15]) == (None, "unknown variant")


def test_a_suspended_worker_stays_suspended_while_its_job_goes_on():
    overview = after(recorded("worker_status_suspended"), recorded("job_progression"), recorded("job_completed"))
    (worker,) = overview.workers.values()

    assert worker.activity == "Suspended"


def test_the_newest_results_are_kept():
    overview = after(*(recorded("job_stopped", job_id=number) for number in range(20)))

    assert [ended.job_id for ended in overview.results] == list(range(19, 19 - KEPT_RESULTS, -1))


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*.json")), ids=lambda path: path.stem)
@pytest.mark.parametrize("body", ["text", None, [], {}])
def test_what_is_no_message_changes_nothing_that_cannot_be_drawn(path: Path, body: Any):
    overview = after(Heard(json.loads(path.read_text())["routing_key"], body))

    Console(width=120, quiet=True).print(draw(overview, 0))


def test_the_picture_shows_workers_jobs_and_results():
    overview = after(
        recorded("worker_status_busy"), recorded("job_progression", job_id=30), recorded("job_error_exception")
    )
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(draw(overview, 0))
    shown = console.export_text()

    assert [
        word
        for word in (INSTANCE[:8], "my_python_worker 1.2.3", "Busy", "30", "100 %", "boom", "q ends")
        if word not in shown
    ] == []


def test_markup_in_names_and_errors_is_shown_as_it_stands():
    overview = after(recorded("worker_status_idle"))
    overview.results.append(Ended(1, "error", "list[int] [/x] is wrong"))
    next(iter(overview.workers.values())).name = "[red]name[/nope]"
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(draw(overview, 0))

    assert "list[int] [/x] is wrong" in (shown := console.export_text())
    assert "[red]name[/nope]" in shown

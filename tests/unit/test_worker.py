"""``Worker``: what may be built, what is refused and in which words."""

from __future__ import annotations

import io
import json
import logging
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

import mcai_worker_sdk as mcai
from mcai_worker_sdk.errors import MissingExtraError, WorkerDefinitionError
from mcai_worker_sdk.launch import LAUNCH, GivenLink
from mcai_worker_sdk.supervisor import start as start_module


class Parameters(mcai.WorkerParameters):
    """What an order may say."""

    text: str
    number: int = 3


class Plain(mcai.Worker):
    """A worker of the usual kind."""

    def process(self, channel: Any, parameters: Any, job_id: int) -> None:
        """Do nothing."""


class Media(mcai.Worker):
    """A media worker."""

    def init_process(self, context: Any, parameters: Any) -> list[Any]:
        """Choose nothing."""
        return []

    def process_frames(self, job_id: str, stream_index: int, frames: Any) -> None:
        """Do nothing."""


@pytest.fixture
def description(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> mcai.WorkerDescription:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "w"\nversion = "1.0"\nlicense = "MIT"\n')
    monkeypatch.chdir(tmp_path)
    return mcai.WorkerDescription(None)


def refusal(worker_class: type, *arguments: Any) -> str:
    with pytest.raises(WorkerDefinitionError) as refused:
        worker_class(*arguments)
    return str(refused.value)


# What may be built


def test_arguments_go_by_position_and_by_name(description: mcai.WorkerDescription):
    for worker in (Plain(Parameters, description), Plain(parameters=Parameters, description=description)):
        assert worker._parameters is Parameters
        assert worker._description is description
        assert set(worker._model.json_schema["properties"]) >= {"text", "number"}
        assert not worker._is_media


def test_a_subclass_may_leave_the_base_uncalled(description: mcai.WorkerDescription):
    class Careless(Plain):
        def __init__(self, params: type, desc: mcai.WorkerDescription) -> None:
            self.model = (params, desc)

    assert Careless(Parameters, description)._parameters is Parameters


def test_a_subclass_may_have_arguments_of_its_own(description: mcai.WorkerDescription):
    class Own(Plain):
        def __init__(self, *, model: str) -> None:
            super().__init__(Parameters, description)
            self.model = model

    assert Own(model="m")._description is description


def test_a_class_with_both_kinds_of_methods_is_a_plain_worker(description: mcai.WorkerDescription):
    class Both(Media):
        def process(self, channel: Any, parameters: Any, job_id: int) -> None: ...

    assert not Both(Parameters, description)._is_media


def test_a_method_may_come_from_a_mixin(description: mcai.WorkerDescription):
    class Mixin:
        def process(self, channel: Any, parameters: Any, job_id: int) -> None: ...

    class Mixed(Mixin, mcai.Worker):
        pass

    assert not Mixed(Parameters, description)._is_media


def test_a_worker_travels_by_pickle_with_what_it_holds(description: mcai.WorkerDescription):
    worker = Plain(Parameters, description)
    worker.model = {"weights": [1, 2]}  # type: ignore[attr-defined]
    copy = pickle.loads(pickle.dumps(worker))

    assert copy.model == {"weights": [1, 2]}
    assert copy._parameters is Parameters


# What is refused


def test_parameters_must_be_a_class_and_not_an_instance(description: mcai.WorkerDescription):
    assert "expected" in refusal(Plain, Parameters(text="x"), description)
    assert "expected" in refusal(Plain, None, description)
    assert "expected" in refusal(Plain, "Parameters", description)


@pytest.mark.parametrize("wrong", [None, "package", mcai.WorkerDescription])
def test_a_description_must_be_one(wrong: object):
    text = refusal(Plain, Parameters, wrong)

    assert text.startswith(f"The description of Plain is {wrong!r}; expected a WorkerDescription. ")
    assert text.endswith("Pass mcai.WorkerDescription(__package__).")


def test_a_worker_without_a_method_that_works_is_refused(description: mcai.WorkerDescription):
    class Empty(mcai.Worker):
        pass

    class Half(mcai.Worker):
        def init_process(self, context: Any, parameters: Any) -> list[Any]:
            return []

    assert refusal(Empty, Parameters, description).startswith(
        "Empty does not define init_process and process_frames; expected process(channel, parameters, job_id), or for"
    )
    assert refusal(Half, Parameters, description).startswith("Half does not define process_frames; expected ")
    assert refusal(mcai.Worker, Parameters, description).startswith("Worker does not define ")


def test_a_live_subtitle_worker_needs_no_process_frames(
    description: mcai.WorkerDescription, monkeypatch: pytest.MonkeyPatch
):
    _hide_extra(monkeypatch, None)

    class Live(mcai.Worker):
        def init_process(self, context: Any, parameters: Any) -> list[Any]:
            return []

        def process_ebu_ttml_live(self, *_: Any) -> None: ...

    assert Live(Parameters, description)._is_media


@pytest.mark.parametrize(
    "name", ["setup", "process", "init_process", "process_frames", "ending_process", "update_process"]
)
def test_a_coroutine_function_is_refused_with_the_remedy(description: mcai.WorkerDescription, name: str):
    async def method(self: Any, *_: Any) -> None: ...

    worker_class = type("Async", (Plain,), {name: method})

    assert refusal(worker_class, Parameters, description) == (
        f"Async.{name} is a coroutine function; expected an ordinary method. Call asyncio.run(...) inside it."
    )


def test_a_generator_function_is_refused_with_the_remedy(description: mcai.WorkerDescription):
    def method(self: Any, *_: Any) -> Any:
        yield 1

    async def async_method(self: Any, *_: Any) -> Any:
        yield 1

    for process in (method, async_method):
        assert refusal(type("Lazy", (Plain,), {"process": process}), Parameters, description) == (
            "Lazy.process is a generator function; expected an ordinary method. Return a value, and do not yield."
        )


class _Without:
    """A finder before all others, for which one module of the extra does not exist and the others do."""

    def __init__(self, missing: str | None) -> None:
        self.missing = missing

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name == self.missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return ModuleSpec(name, None) if name in {"av", "numpy"} else None


def _hide_extra(monkeypatch: pytest.MonkeyPatch, missing: str | None) -> None:
    for name in {"av", "numpy"} & set(sys.modules):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Without(missing), *sys.meta_path])


@pytest.mark.parametrize("missing", ["av", "numpy"])
def test_a_media_worker_without_the_extra_is_refused_with_the_command(
    description: mcai.WorkerDescription, monkeypatch: pytest.MonkeyPatch, missing: str
):
    _hide_extra(monkeypatch, missing)

    with pytest.raises(MissingExtraError) as refused:
        Media(Parameters, description)

    assert str(refused.value) == (
        f"A media worker needs the module {missing!r}, which is not installed. "
        'Install it with: pip install "mcai-worker-sdk[media]".'
    )
    assert Plain(Parameters, description)._parameters is Parameters


def test_a_media_worker_is_built_where_the_extra_is(
    description: mcai.WorkerDescription, monkeypatch: pytest.MonkeyPatch
):
    _hide_extra(monkeypatch, None)

    assert Media(Parameters, description)._is_media


def test_methods_that_are_not_overridden_say_so(description: mcai.WorkerDescription):
    plain, media = Plain(Parameters, description), object.__new__(mcai.Worker)

    with pytest.raises(NotImplementedError, match="must be defined by the worker's class"):
        plain.init_process(None, None)  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError, match="must be defined by the worker's class"):
        plain.process_frames("1", 0, [])
    with pytest.raises(NotImplementedError, match="must be defined by the worker's class"):
        media.process(None, None, 1)  # type: ignore[arg-type]
    assert plain.setup() is None  # type: ignore[func-returns-value]
    assert plain.ending_process() is None  # type: ignore[func-returns-value]


def _is_imported_by_a_child_of_multiprocessing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)


def _is_a_copy_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_module._starts, "running_pid", os.getppid())


def _was_started_on_the_way_to_the_job_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_module, "LAUNCH", replace(LAUNCH, is_below_job_process=True))


def _was_forked_on_the_way_to_the_job_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_module, "LAUNCH", replace(LAUNCH, pid=1, given_link=GivenLink(5, 1, 1)))


def _is_of_an_earlier_worker_of_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    given = GivenLink(5, os.getppid(), start_module._starts.count + 2)
    monkeypatch.setattr(start_module, "LAUNCH", replace(LAUNCH, given_link=given))


@pytest.mark.parametrize(
    "where",
    [
        _is_imported_by_a_child_of_multiprocessing,
        _is_a_copy_of_a_worker,
        _was_started_on_the_way_to_the_job_process,
        _was_forked_on_the_way_to_the_job_process,
        _is_of_an_earlier_worker_of_the_script,
    ],
)
def test_start_does_nothing_where_no_worker_belongs(
    description: mcai.WorkerDescription,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    where: Callable[[pytest.MonkeyPatch], None],
):
    where(monkeypatch)
    monkeypatch.setenv("MCAI_LOG", "not a level")

    with caplog.at_level(logging.DEBUG):
        assert Plain(Parameters, description).start() is None  # type: ignore[func-returns-value]

    assert "start() does nothing here: " in caplog.text


def test_start_without_such_a_reason_reads_the_settings(
    description: mcai.WorkerDescription, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MCAI_LOG", "not a level")

    with pytest.raises(SystemExit, match="The worker cannot start"):
        Plain(Parameters, description).start()


# A worker that is never started

SCRIPT = """
import mcai_worker_sdk as mcai

class Parameters(mcai.WorkerParameters):
    pass

class MyWorker(mcai.Worker):
    def __init__(self, *arguments):
        super().__init__(*arguments)

    def process(self, channel, parameters, job_id):
        return None

def make():
    return MyWorker(Parameters, mcai.WorkerDescription(None))

"""
FORGOTTEN = "The program ends, and the worker MyWorker was made but never started. Call its start()."


def run_script(folder: Path, lines: str, *options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    project = '[project]\nname = "w"\nversion = "1.2.3"\nlicense = "MIT"\ndescription = "Ça mâche ☃"\n'
    (folder / "pyproject.toml").write_text(project, encoding="utf-8")
    (folder / "script.py").write_text(SCRIPT + lines)
    command = [sys.executable, *options, *([] if options else ["script.py"])]
    environment = {**os.environ, **environ}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=50, check=False
    )


@pytest.mark.parametrize("options", [(), ("-m", "script")], ids=["script", "module"])
@pytest.mark.parametrize(
    "lines",
    [
        "worker = MyWorker(Parameters, mcai.WorkerDescription(None))",
        "def main():\n    worker = MyWorker(Parameters, mcai.WorkerDescription(None))\nmain()",
    ],
    ids=["line", "main"],
)
def test_a_worker_that_a_script_forgot_to_start_is_told_at_its_end(tmp_path: Path, lines: str, options: tuple[str]):
    done = run_script(tmp_path, lines, *options)

    assert done.returncode == 0
    assert done.stderr.strip() == FORGOTTEN


@pytest.mark.parametrize(
    "lines",
    [
        "make().start()",
        "make(); MyWorker(Parameters, mcai.WorkerDescription(None)).start()",
        "MyWorker(Parameters, mcai.WorkerDescription(None)).process(mcai.McaiChannel(1, print), Parameters(), 1)",
        "def test_it():\n    make()\ntest_it()",
        "if False:\n    make()",
    ],
    ids=["started", "one of two started", "by hand", "test", "not made"],
)
def test_a_worker_that_is_started_or_tried_by_hand_is_not_told(tmp_path: Path, lines: str):
    done = run_script(tmp_path, lines, DESCRIBE="1")

    assert (done.returncode, done.stderr) == (0, "")


def test_a_script_that_fails_before_the_start_says_only_why(tmp_path: Path):
    done = run_script(tmp_path, "worker = MyWorker(Parameters, mcai.WorkerDescription(None))\n1 / 0")

    assert "ZeroDivisionError" in done.stderr
    assert "never started" not in done.stderr


# Locales

LOCALES = [
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
]


@pytest.mark.parametrize("locale", LOCALES, ids=str)
def test_a_description_is_utf_8_in_every_locale(tmp_path: Path, locale: dict[str, str]):
    done = run_script(tmp_path, "make().start()", DESCRIBE="1", **locale)

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["description"] == "Ça mâche ☃"
    assert "Ça mâche ☃" in done.stdout


def test_a_description_goes_to_whatever_stands_for_standard_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stream = io.StringIO()
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "é"\nversion = "1.2.3"\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DESCRIBE", "1")
    monkeypatch.setattr(sys, "stdout", stream)

    Plain(Parameters, mcai.WorkerDescription()).start()

    assert json.loads(stream.getvalue())["name"] == "é"


@pytest.mark.parametrize("locale", LOCALES, ids=str)
def test_a_log_of_json_lines_is_json_in_every_locale(tmp_path: Path, locale: dict[str, str]):
    done = run_script(tmp_path, "make().start()", ONLY_JSON_LOGS="1", SOURCE_ORDERS="ünlesbar.json", **locale)

    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert any("nlesbar.json" in line["message"] for line in lines)

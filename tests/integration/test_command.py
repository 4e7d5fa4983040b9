"""The command ``mcai-worker``, as a person and a script call it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MINIMAL = ROOT / "examples" / "minimal"
SCRIPT = "py_mcai_worker/worker.py"
CLASS = "py_mcai_worker.worker:GreetingWorker"
MAY_LOAD = "typer"
KINDS = ["minimal", "file", "video", "audio", "subtitles"]


def command(*arguments: str, folder: Path = MINIMAL, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mcai_worker_sdk.cli", *arguments],
        cwd=folder,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_script_of_the_installed_package_is_the_command():
    done = subprocess.run(
        [Path(sys.executable).parent / "mcai-worker", "--help"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0
    assert [
        name for name in ("new", "run", "check", "order", "describe", "schema") if f"  {name} " not in done.stdout
    ] == []


def test_help_loads_nothing_that_takes_long():
    code = (
        "import sys; sys.argv = ['mcai-worker', '--help']\n"
        "from mcai_worker_sdk.cli import main\n"
        "try: main()\n"
        "finally: print(sorted({'pydantic', 'rich', 'pika', 'av', 'numpy', 'psutil', 'h11'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_without_typer_the_command_says_what_to_install(tmp_path: Path):
    (tmp_path / "typer.py").write_text("raise ModuleNotFoundError('no', name='typer')")
    done = command("--help", PYTHONPATH=str(tmp_path))

    assert done.returncode == 1
    assert done.stderr == "The command mcai-worker needs typer, which is not installed. Install mcai-worker-sdk[cli].\n"


@pytest.mark.parametrize("target", [SCRIPT, CLASS])
def test_orders_run_with_the_log_and_a_line_for_each(target: str):
    done = command("run", target, "examples/source_order.json", "examples/source_order.json")

    assert done.returncode == 0, done.stderr
    assert [line.partition(" in ")[0] for line in done.stdout.splitlines()] == ["source_order.json: completed"] * 2
    assert done.stderr.count("Hello, Media Cloud AI!") == 8
    assert "Feedback" not in done.stderr


def test_verbose_logs_the_responses():
    assert command("run", "-v", SCRIPT, "examples/source_order.json").stderr.count('{"Feedback"') == 5


def test_parameters_by_hand_have_the_last_word_over_their_file(tmp_path: Path):
    (tmp_path / "values.json").write_text('{"name": "Ann", "times": 1}')
    done = command("run", SCRIPT, "--param-file", str(tmp_path / "values.json"), "-p", "times=2", "--json")

    assert done.returncode == 0, done.stderr
    (line,) = map(json.loads, done.stdout.splitlines())
    assert line["failure"] is None
    assert [entry["value"] for entry in line["result"]["parameters"]] == [2]
    assert done.stderr.count("Hello, Ann!") == 2


def test_an_order_that_fails_is_told_by_the_line_and_the_exit_code():
    done = command("run", SCRIPT, "-p", "times=many")

    assert done.returncode == 1
    assert "Parameter 'name' is missing" in done.stdout
    assert "Parameter 'times' is \"many\"" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", SCRIPT], "There is no order to run"),
        (["run", "nowhere.py", "-p", "name=a"], "is no file"),
        (["run", "nowhere:Worker"], "in no module that can be found"),
        (["run", "json:JSONDecoder"], "expected a class that extends Worker"),
        (["run", "py_mcai_worker/__init__.py"], "starts no worker"),
        (["run", SCRIPT, "-p", "name"], "expected NAME=VALUE"),
        (["run", SCRIPT, "--param-file", "nowhere.json"], "cannot be read"),
        (["run", SCRIPT, "--param-file", "README.md"], "is not JSON"),
        (["new", "no/name"], "Choose another one"),
        (["new", "py_mcai_worker"], "exists; expected a new one"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_told_in_one_line(arguments: Sequence[str], told: str):
    done = command(*arguments)

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("mcai-worker: ")
    assert told in line


def test_code_that_fails_when_it_is_loaded_is_told_with_its_own_lines(tmp_path: Path):
    (tmp_path / "broken.py").write_text("def f():\n    return 1 / 0\n\n\nf()\n")
    done = command("describe", "broken.py", folder=tmp_path)

    assert done.returncode == 1
    assert "in f" in done.stderr
    assert "target.py" not in done.stderr
    assert done.stderr.splitlines()[-1].endswith("ZeroDivisionError: division by zero. Correct its code.")


def test_check_names_every_fault_and_runs_nothing(tmp_path: Path):
    wrong = tmp_path / "wrong.json"
    parameters = [
        {"id": "nam", "type": "string", "value": "Ann"},
        {"id": "times", "type": "integer", "value": "many"},
        {"id": "requirements", "type": "requirements", "value": {"paths": ["/nowhere/at/all"]}},
    ]
    wrong.write_text(json.dumps({"job_id": 1, "parameters": parameters}))
    done = command("check", SCRIPT, "examples/source_order.json", str(wrong), "nowhere.json")

    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "examples/source_order.json: fits"
    assert [
        word for word in ("'nam'", "'name'", "'times'", "/nowhere/at/all", "nowhere.json") if word not in done.stdout
    ] == []
    assert done.stderr == ""
    found = json.loads(command("check", "--json", SCRIPT, "examples/source_order.json").stdout)
    assert found == [{"order": "examples/source_order.json", "faults": []}]


def test_check_takes_a_value_from_a_store_for_one_that_fits(tmp_path: Path):
    order = tmp_path / "order.json"
    parameters = [{"id": "name", "type": "string", "store": "vault", "value": "KEY"}]
    order.write_text(json.dumps({"job_id": 1, "parameters": parameters}))

    assert command("check", SCRIPT, str(order)).returncode == 0


def test_the_example_order_is_one_that_fits(tmp_path: Path):
    order = tmp_path / "order.json"
    order.write_text(command("order", CLASS, "--job-id", "7").stdout)

    assert json.loads(order.read_text())["job_id"] == 7
    assert command("check", CLASS, str(order)).stdout == f"{order}: fits\n"


def test_a_worker_describes_itself_to_a_person_and_to_a_script():
    told = command("describe", SCRIPT).stdout
    described = json.loads(command("describe", "--json", SCRIPT).stdout)

    assert told.splitlines()[0] == "my_python_worker 1.2.3"
    assert "default 3" in told
    assert "requirements" not in told
    assert (described["name"], described["parameters"]["required"]) == ("my_python_worker", ["name"])
    assert json.loads(command("schema", SCRIPT).stdout) == described["parameters"]


def test_a_job_of_a_script_may_start_processes_by_spawn(tmp_path: Path):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "pooled"\nversion = "1.2.3"\n')
    (tmp_path / "worker.py").write_text(
        "import multiprocessing\n"
        "import mcai_worker_sdk as mcai\n"
        "def double(number): return 2 * number\n"
        "class Parameters(mcai.WorkerParameters): ...\n"
        "class Pooled(mcai.Worker):\n"
        "    def process(self, channel, parameters, job_id):\n"
        "        with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "            return {'destination_paths': [str(pool.map(double, [21]))]}\n"
        "if __name__ == '__main__':\n"
        "    Pooled(Parameters, mcai.WorkerDescription(None)).start()\n"
    )
    done = command("run", "worker.py", folder=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "[42]" in done.stdout


def test_watch_runs_again_after_a_change(tmp_path: Path):
    folder = shutil.copytree(MINIMAL, tmp_path / "minimal")
    watching = subprocess.Popen(
        [sys.executable, "-m", "mcai_worker_sdk.cli", "run", "--watch", SCRIPT, "examples/source_order.json"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert watching.stdout is not None
    try:
        assert watching.stdout.readline().startswith("source_order.json: completed")
        (folder / "examples" / "source_order.json").write_text("{}")
        assert watching.stdout.readline().startswith("source_order.json: not run")
    finally:
        watching.kill()
        watching.communicate()


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_project_lints_passes_its_tests_and_runs_its_order_as_it_is_made(kind: str, tmp_path: Path):
    assert command("new", f"my-{kind}", "--kind", kind, folder=tmp_path).returncode == 0
    folder = tmp_path / f"my-{kind}"

    def run(*arguments: str) -> None:
        done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    run("-m", "ruff", "check", ".")
    run("-m", "ruff", "format", "--check", ".")
    if (folder / "make_source.py").exists():
        run("make_source.py")
    run("-m", "pytest", "-q", "-p", "no:cacheprovider")
    done = command("run", f"my_{kind}.worker:My{kind.capitalize()}Worker", "orders/example.json", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "completed" in done.stdout

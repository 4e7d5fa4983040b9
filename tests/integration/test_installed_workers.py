"""The tutorial's project: installed as the messages advise, with a second file, started in every way it names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

MINIMAL = Path(__file__).resolve().parents[2] / "examples" / "minimal"
SCRIPT = ("py_mcai_worker/worker.py",)
MODULE = ("-m", "py_mcai_worker.worker")
DESCRIBED = ("my_python_worker", "1.2.3", "MIT")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the tutorial's project whose worker takes its words from a second file."""
    folder = tmp_path / "project"
    shutil.copytree(MINIMAL, folder, ignore=shutil.ignore_patterns("__pycache__"))
    worker = folder / "py_mcai_worker" / "worker.py"
    code = worker.read_text()
    assert '"Hello, %s!"' in code
    code = code.replace('"Hello, %s!"', "GREETING").replace(
        "import mcai_worker_sdk as mcai\n",
        "import mcai_worker_sdk as mcai\nfrom py_mcai_worker.words import GREETING\n",
    )
    worker.write_text(code)
    (folder / "py_mcai_worker" / "words.py").write_text('GREETING = "Good morning, %s!"\n')
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment that has this SDK."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    interpreter = folder / "bin" / "python"
    question = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(
        subprocess.run([interpreter, "-c", question], capture_output=True, text=True, check=True).stdout.strip()
    )
    (site / "sdk.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    return interpreter


def run(interpreter: Path | str, folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [str(interpreter), *arguments]
    environ = {**os.environ, **variables}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=300, check=False)


def described(done: subprocess.CompletedProcess[str]) -> tuple[str, str, str]:
    assert done.returncode == 0, done.stderr
    description = json.loads(done.stdout)
    return description["name"], description["version"], description["license"]


@pytest.mark.timeout(400)
def test_the_project_is_installed_as_advised_and_started_as_a_script_and_as_a_module(
    project: Path, environment: Path, tmp_path: Path
):
    # What the messages say, for that environment.
    pip = ["-m", "pip", "--python", str(environment), "install", "-e", "."]
    installed = run(sys.executable, project, *pip)
    assert installed.returncode == 0, installed.stderr

    order = str(MINIMAL / "examples" / "source_order.json")
    for start in (SCRIPT, MODULE):
        done = run(environment, project, *start, SOURCE_ORDERS=order)
        assert (done.returncode, done.stderr.count("Good morning, Media Cloud AI!")) == (0, 4), done.stderr
        assert described(run(environment, project, *start, DESCRIBE="1")) == DESCRIBED
    # An installed worker is started from anywhere.
    assert described(run(environment, tmp_path, *MODULE, DESCRIBE="1")) == DESCRIBED


def test_a_module_of_a_project_that_is_not_installed_is_started_from_its_folder(project: Path):
    done = run(sys.executable, project, *MODULE, SOURCE_ORDERS="examples/source_order.json")

    assert (done.returncode, done.stderr.count("Good morning, Media Cloud AI!")) == (0, 4), done.stderr
    assert described(run(sys.executable, project, *MODULE, DESCRIBE="1")) == DESCRIBED

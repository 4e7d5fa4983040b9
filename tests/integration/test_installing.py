"""The lines of the documentation that install the SDK: each runs as it stands there, in a fresh environment."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.contract.reference import MACHINE, PYTHON
from tests.contract.reference import VERSION as REFERENCE_VERSION

ROOT = Path(__file__).resolve().parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
#: What of a checkout the lines need; nothing in the copy is built or installed already.
PARTS = [".ci", "docs", "examples", "packaging", "src", "LICENSE", "Makefile", "README.md", "pyproject.toml"]
DEPLOY = "docs/howto/deploy.md"
MIGRATE = "docs/howto/migrate.md"
TUTORIAL = "docs/tutorial.md"
#: The pages that install the SDK, each with the folder of a checkout that its lines are for.
PAGES = {
    "README.md": ".",
    "docs/howto/install.md": ".",
    MIGRATE: ".",
    "packaging/media/README.md": ".",
    **{f"examples/{name}/README.md": f"examples/{name}" for name in ("file_digest", "loudness", "minimal")},
    "examples/scene_changes/README.md": "examples/scene_changes",
}
BUILD = "make dist"
MEDIA_WORKER = """
import mcai_worker_sdk as mcai
class MediaWorker(mcai.Worker):
    def init_process(self, context, parameters): ...
    def process_frames(self, job_id, stream_index, frames): ...
MediaWorker(mcai.WorkerParameters, mcai.WorkerDescription("mcai_worker_sdk"))
"""
#: A fresh environment is made and filled, from PyPI at the worst.
pytestmark = pytest.mark.timeout(900)


def shell_blocks(page: str) -> list[list[str]]:
    """The lines of each shell block of a page."""
    blocks = re.findall(r"^```shell\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    return [block.splitlines() for block in blocks]


def scripts() -> dict[str, list[tuple[str, str]]]:
    """
    What a reader runs after each line that installs the SDK: pages and scripts by that line.

    A block that installs twice offers two ways. What is built is built once, by a fixture.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for page in PAGES:
        for block in shell_blocks(page):
            lines = [line for line in block if line != BUILD]
            installing = [line for line in lines if line.startswith("pip install")]
            for line in installing:
                script = lines if len(installing) == 1 else [line]
                found.setdefault(line, []).append((page, "\n".join(script)))
    return found


class Environment:
    """A virtual environment that somebody has just made and activated."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        self._python = folder / "bin" / "python"
        self._variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
            "VIRTUAL_ENV": str(folder),
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_COMPILE": "1",  # Most of the time goes into bytecode that is run once.
        }

    def run(self, script: str, folder: Path, **variables: str) -> str:
        """Run lines of a shell, the first that fails ends them; what they wrote, to both outputs."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            env={**self._variables, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}"
        return done.stdout

    def has(self, module: str) -> bool:
        found = subprocess.run([self._python, "-c", f"import {module}"], capture_output=True, check=False)
        return found.returncode == 0

    def installed_version(self, folder: Path) -> str:
        """The version of the SDK that a worker in ``folder`` imports."""
        lines = (
            "import json, sys, mcai_worker_sdk as sdk; print(json.dumps([sdk.__version__, sdk.__file__, sys.prefix]))"
        )
        version, file, prefix = json.loads(subprocess.check_output([self._python, "-c", lines], cwd=folder, text=True))
        assert Path(file).is_relative_to(prefix), "an installed copy, not the sources of the checkout"
        return str(version)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "environment")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, in which `make dist` was run and nothing else."""
    folder = tmp_path_factory.mktemp("checkout")
    generated = shutil.ignore_patterns("__pycache__", "_build")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=generated)
        else:
            shutil.copy(ROOT / part, folder)
    Environment(tmp_path_factory.mktemp("maker") / "environment").run(BUILD, folder)
    return folder


def assert_that_it_is_installed(environment: Environment, folder: Path, *, media: bool) -> None:
    assert environment.installed_version(folder) == VERSION
    assert environment.has("av") == media, "PyAV comes with the media extra, and only with it"


@pytest.mark.parametrize("line", scripts())
def test_a_line_that_installs_the_sdk_does_and_what_follows_it_runs(
    line: str, environment: Environment, checkout: Path, tmp_path: Path
):
    for page, script in scripts()[line]:
        environment.run(script, checkout / PAGES[page])

    assert_that_it_is_installed(environment, tmp_path, media="media" in line)


def test_the_tutorial_is_followed_from_the_first_line_to_the_broker(
    environment: Environment, checkout: Path, tmp_path: Path
):
    project = tmp_path / "project"
    shutil.copytree(ROOT / "examples" / "minimal", project, ignore=shutil.ignore_patterns("__pycache__"))
    (install, *blocks, connect) = shell_blocks(TUTORIAL)
    environment.run("\n".join(install), checkout)

    logs = [environment.run("\n".join(block), project) for block in blocks]

    assert ["Hello, Media Cloud AI!" in log for log in logs] == [True, True, False], "run, run as a module, described"
    assert json.loads(logs[-1])["name"] == "my_python_worker"
    assert connect == ["AMQP_HOSTNAME=rabbitmq.example AMQP_QUEUE=job_greeting python py_mcai_worker/worker.py"]
    assert_that_it_is_installed(environment, tmp_path, media=False)


def test_a_missing_extra_comes_by_the_line_that_the_error_names(
    environment: Environment, checkout: Path, tmp_path: Path
):
    environment.run('pip install --find-links dist "mcai-worker-sdk>=3"', checkout)
    (tmp_path / "worker.py").write_text(MEDIA_WORKER)
    error = environment.run("! python worker.py", tmp_path)
    (line,) = re.findall(r"pip install .*\"", error)

    environment.run(line, tmp_path)

    assert_that_it_is_installed(environment, tmp_path, media=True)


@pytest.mark.skipif(
    sys.version_info[:2] != PYTHON or platform.machine() != MACHINE, reason="The reference has no wheel for this."
)
def test_an_environment_of_the_reference_is_migrated_by_the_lines_of_the_page(
    environment: Environment, checkout: Path, tmp_path: Path
):
    environment.run(f"pip install mcai-worker-sdk-media=={REFERENCE_VERSION}", tmp_path)
    ((line, pages),) = [(line, pages) for line, pages in scripts().items() if MIGRATE in dict(pages)]

    environment.run(dict(pages)[MIGRATE], checkout)

    assert_that_it_is_installed(environment, tmp_path, media="media" in line)


def test_a_worker_is_deployed_by_the_dockerfile_of_the_page(environment: Environment, checkout: Path, tmp_path: Path):
    page = (ROOT / DEPLOY).read_text()
    project, image = tmp_path / "project", tmp_path / "image"
    shutil.copytree(ROOT / "examples" / "minimal", project)
    (project / "pyproject.toml").write_text(page.split("```toml\n", 1)[1].split("```", 1)[0])
    image.mkdir()

    (block,) = [block for block in shell_blocks(DEPLOY) if "make -C /path/to/checkout dist" in block]
    environment.run(block[1].replace("/path/to/checkout", str(checkout)), project)
    for instruction in page.split("```dockerfile\n", 1)[1].split("```", 1)[0].splitlines():
        match instruction.split(maxsplit=1):
            case ["COPY", paths]:
                environment.run(f"cp -r {project}/{paths}", image)
            case ["RUN", command]:
                environment.run(command, image)
            case ["CMD", command]:
                order = str(project / "examples" / "source_order.json")
                log = environment.run(" ".join(json.loads(command)), image, SOURCE_ORDERS=order)
            case ["FROM", name]:
                assert f'"Programming Language :: Python :: {name[7:11]}"' in (ROOT / "pyproject.toml").read_text()

    assert log.count("Hello, Media Cloud AI!") == 4
    assert_that_it_is_installed(environment, tmp_path, media=False)

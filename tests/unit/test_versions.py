"""
Dependencies of another version than the SDK runs on: one sentence that names them, before anything else goes wrong.
That a worker does not start with them: ``tests/faults/test_startup.py``.

The other versions are distributions that stand first on the path: their metadata, and where it matters a package.
"""

import logging
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from mcai_worker_sdk.errors import UnsupportedVersionError
from mcai_worker_sdk.services.gpus import GpuReader
from mcai_worker_sdk.supervisor import presentation
from mcai_worker_sdk.supervisor.metrics import WorkerFigures, WorkerState, render_metrics
from mcai_worker_sdk.versions import check_versions
from tests.support.nvml import nvml_module

ROOT = Path(__file__).resolve().parents[2]
WORKER = ROOT / "tests" / "support" / "worker" / "worker.py"
REQUIREMENTS = [Requirement(line) for line in metadata.requires("mcai-worker-sdk") or ()]

MEDIA_WORKER = """
import sys
import mcai_worker_sdk as mcai

class Parameters(mcai.WorkerParameters):
    source_path: str

class Media(mcai.Worker):
    def init_process(self, context, parameters): ...
    def process_frames(self, job_id, stream_index, frames): ...

try:
    Media(Parameters, mcai.WorkerDescription("pip")).start()
finally:
    print("av" in sys.modules)
"""

Install = Callable[[str, str], None]


@pytest.fixture
def installed(tmp_path: Path) -> Install:
    """Put a distribution of some version into ``tmp_path``, as pip would."""

    def install(name: str, version: str) -> None:
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nA description.\nVersion: 0\n"
        (folder / "METADATA").write_text(text, encoding="utf-8")

    return install


@pytest.fixture
def installed_here(installed: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """The same, for this process."""

    def install(name: str, version: str) -> None:
        installed(name, version)
        monkeypatch.syspath_prepend(tmp_path)
        check_versions.cache_clear()

    yield install
    check_versions.cache_clear()


def extra_of(requirement: Requirement) -> str | None:
    return None if requirement.marker is None else str(requirement.marker).partition("==")[2].strip(" \"'")


def run(*arguments: str, path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program that finds ``path`` before what is installed."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("AMQP_", "MCAI_"))}
    return subprocess.run(
        [sys.executable, *arguments],
        env={**known, "PYTHONPATH": str(path), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


def test_what_is_installed_here_is_supported():
    for extra in {extra_of(requirement) for requirement in REQUIREMENTS}:
        check_versions(extra)


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_every_range_of_the_metadata_is_read(requirement: Requirement, installed_here: Install):
    installed_here(requirement.name, "0.0.1")

    with pytest.raises(UnsupportedVersionError) as refused:
        check_versions(extra_of(requirement))

    [(name, version, wanted)] = refused.value.found
    assert (name, version, Requirement(name + wanted).specifier) == (
        requirement.name,
        "0.0.1",
        requirement.specifier,
    )


def versions_around(bound: str) -> list[str]:
    release = [*Version(bound).release, 0, 0][:3]
    lower = f"{max(release[0] - 1, 0)}.99"
    next_one = ".".join(map(str, [*release[:2], release[2] + 1]))
    return [lower, f"{bound}.dev1", f"{bound}rc1", bound, f"{bound}.post1", f"{bound}+local", next_one]


@pytest.mark.parametrize(
    ("requirement", "version"),
    [
        (requirement, version)
        for requirement in REQUIREMENTS
        for specifier in requirement.specifier
        for version in versions_around(specifier.version)
    ],
    ids=str,
)
def test_a_version_fits_where_packaging_says_so(requirement: Requirement, version: str, installed_here: Install):
    installed_here(requirement.name, version)

    try:
        check_versions(extra_of(requirement))
        fits = True
    except UnsupportedVersionError:
        fits = False

    assert fits == requirement.specifier.contains(version, prereleases=True)


def test_a_version_that_cannot_be_compared_is_passed_over(installed_here: Install):
    installed_here("pika", "of our own making")

    check_versions()


def test_an_sdk_that_is_not_installed_checks_nothing(tmp_path: Path):
    packages = Path(sysconfig.get_path("purelib"))
    for entry in packages.iterdir():
        if "mcai" not in entry.name:
            (tmp_path / entry.name).symlink_to(entry)
    program = (
        f"import sys; sys.path[:0] = [{str(ROOT / 'src')!r}, {str(tmp_path)!r}]\n"
        "from mcai_worker_sdk.versions import check_versions\ncheck_versions()\nprint('fine')"
    )

    done = run("-S", "-c", program, path=tmp_path)

    assert (done.stdout, done.stderr) == ("fine\n", "")


@pytest.mark.parametrize("name", ["av", "numpy", "defusedxml"])
def test_a_media_worker_is_refused_in_one_line_without_loading_av(name: str, installed: Install, tmp_path: Path):
    installed(name, "0.6.0")

    done = run("-c", MEDIA_WORKER, path=tmp_path)

    assert (done.returncode, done.stdout) == (1, "False\n")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"The worker cannot start. The installed {name} is 0.6.0; expected ")


def test_a_plain_worker_does_not_ask_for_what_media_workers_need(installed: Install, tmp_path: Path):
    installed("av", "1.0")

    done = run(str(WORKER), path=tmp_path, DESCRIBE="1")

    assert (done.returncode, done.stderr) == (0, "")


def test_a_dependency_that_breaks_the_import_is_named(installed: Install, tmp_path: Path):
    installed("pydantic", "1.10.0")
    (tmp_path / "pydantic.py").write_text("class BaseModel: ...\n", encoding="utf-8")

    done = run("-c", "from mcai_worker_sdk import Worker", path=tmp_path)

    assert done.returncode == 1
    assert "UnsupportedVersionError: The installed pydantic is 1.10.0; expected " in done.stderr.splitlines()[-1]


def test_an_import_that_fails_for_another_reason_says_that_one(tmp_path: Path):
    (tmp_path / "pydantic.py").write_text("raise OSError('disk')\n", encoding="utf-8")

    done = run("-c", "from mcai_worker_sdk import Worker", path=tmp_path)

    assert done.stderr.splitlines()[-1] == "OSError: disk"


def test_metrics_are_refused(installed_here: Install):
    installed_here("prometheus-client", "0.1")

    with pytest.raises(UnsupportedVersionError, match=r"The installed prometheus-client is 0\.1; expected >="):
        render_metrics(WorkerFigures({}), WorkerState(False, True, {}))


def test_progress_bars_are_left_out(
    installed_here: Install, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    installed_here("rich", "1.0")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    assert type(presentation.make_presentation()) is presentation.NoPresentation
    assert "No progress bars are shown: The installed rich is 1.0; expected >=" in caplog.text


def test_gpus_are_left_out(installed_here: Install, caplog: pytest.LogCaptureFixture):
    installed_here("nvidia-ml-py", "7.352.0")
    caplog.set_level(logging.WARNING)

    with nvml_module() as name:
        assert GpuReader(name).usage() == []
    assert "GPUs are not looked for: The installed nvidia-ml-py is 7.352.0; expected >=" in caplog.text

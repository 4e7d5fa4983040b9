"""The scripts that run the suite on other versions: what they choose, and how they read what came of it."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
#: One test for each end that a report knows.
SUITE = """
import pytest

def test_passes(): pass
def test_fails(): assert False
@pytest.fixture
def broken(): raise OSError
def test_is_not_set_up(broken): pass
@pytest.mark.skip("no GPU")
def test_is_skipped(): pass
class TestInAClass:
    def test_passes(self): pass
"""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """A script of ``.ci``, loaded."""
    monkeypatch.syspath_prepend(str(ROOT / ".ci"))
    return importlib.import_module


@pytest.fixture
def only_this_python(
    script: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ModuleType:
    """``matrix``, where no other Python is found but a shim that leads to none."""
    matrix = script("matrix")
    other = next(version for version in matrix.supported_pythons() if version != matrix.DEFAULT)
    shim = tmp_path / f"python{other}"
    shim.write_text("#!/bin/sh\necho 'command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    return matrix


def test_the_lowest_versions_are_the_lower_bounds_that_apply_here(script: Callable[[str], ModuleType]):
    lines = ["b[x]>=2,<4", "a ~= 1.5", 'c>=7; python_version < "3"', 'c>=8; python_version >= "3"']

    assert script("lowest").lowest(lines) == ["a==1.5", "b==2", "c==8"]


def test_each_dependency_has_a_lowest_version(script: Callable[[str], ModuleType]):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]

    lowest = [Requirement(line).name for line in script("lowest").lowest(lines)]

    assert set(lowest) == {Requirement(line).name for line in lines}
    assert len(set(lowest)) == len(lowest)


def test_a_python_that_does_not_run_is_not_found(only_this_python: ModuleType):
    assert only_this_python.found_pythons() == {only_this_python.DEFAULT: sys.executable}


def test_where_there_is_no_second_python_one_line_says_so(
    only_this_python: ModuleType, capsys: pytest.CaptureFixture[str]
):
    assert only_this_python.main(["second"]) == 0
    assert capsys.readouterr().out == (
        f"Python {only_this_python.DEFAULT} is the only supported one found here; the tests ran on no other.\n"
    )


def test_a_row_asked_for_twice_runs_once_as_it_was_asked_for_first(
    only_this_python: ModuleType, monkeypatch: pytest.MonkeyPatch
):
    ran = []
    monkeypatch.setattr(only_this_python.Row, "run", lambda row: bool(ran.append((row.name, row.tests))) or True)
    only_this_python.main(["default", "pythons"])

    assert ran == [(only_this_python.DEFAULT, ("tests",))]


def test_a_report_counts_each_test_by_its_end(script: Callable[[str], ModuleType], tmp_path: Path):
    for suite in ("unit", "media"):
        (tmp_path / "tests" / suite).mkdir(parents=True)
        (tmp_path / "tests" / suite / "__init__.py").touch()
    (tmp_path / "tests" / "__init__.py").touch()
    (tmp_path / "tests" / "unit" / "test_ends.py").write_text(SUITE)
    (tmp_path / "tests" / "media" / "test_broken.py").write_text("import no_such_module")
    report = tmp_path / "forky-3.15.xml"
    options = ["-q", "--continue-on-collection-errors", "--import-mode=importlib", f"--junit-xml={report}"]
    subprocess.run([sys.executable, "-m", "pytest", *options, "tests"], cwd=tmp_path, capture_output=True, check=False)

    read = script("matrix_table").read_report(report)

    assert read.name == "forky-3.15"
    assert read.counts("unit") == "2 passed, 2 failed, 1 skipped"
    assert read.counts("media") == "1 failed"
    assert read.counts("faults") == "-"
    assert read.summary() == "2 passed, 3 failed, 1 skipped"
    assert read.skipped == {"no GPU": 1}
    assert sorted(read.failed) == [
        "tests.media.test_broken::tests.media.test_broken",
        "tests.unit.test_ends::test_fails",
        "tests.unit.test_ends::test_is_not_set_up",
    ]


def test_the_page_has_a_column_for_each_report_the_oldest_first(
    script: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    table = script("matrix_table")
    page = tmp_path / "versions.md"
    page.write_text(f"# Versions\n\n{table.BEGIN}\n| what was written before |\n")
    monkeypatch.setattr(table, "PAGE", page)
    monkeypatch.setattr(table, "REPORTS", tmp_path)
    for name, version in {"forky-3.14": "3.14.8", "3.9": "3.9.1", "oldest": "3.9.1"}.items():
        (tmp_path / f"{name}.xml").write_text(
            '<testsuites><testsuite timestamp="2026-11-28T08:00:00+00:00">'
            f'<properties><property name="Python" value="{version}"/>'
            '<property name="hypothesis-statistics-tests/unit/test_x.py::test_x" value="MQ=="/></properties>'
            '<testcase classname="tests.unit.test_x" name="test_x"/></testsuite></testsuites>'
        )

    assert table.main() == 0
    assert page.read_text() == (
        f"# Versions\n\n{table.BEGIN}\n"
        "|  | oldest | 3.9 | forky-3.14 |\n| --- | --- | --- | --- |\n"
        "| date | 2026-11-28 | 2026-11-28 | 2026-11-28 |\n| Python | 3.9.1 | 3.9.1 | 3.14.8 |\n"
        "| `tests/unit` | 1 passed | 1 passed | 1 passed |\n"
        "| `tests/contract` | - | - | - |\n| `tests/integration` | - | - | - |\n"
        "| `tests/faults` | - | - | - |\n| `tests/media` | - | - | - |\n"
    )

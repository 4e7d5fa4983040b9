"""
Runs the test suite on other versions than those of the development environment.

    python3 .ci/matrix.py ROW...

`default` is the whole suite on the Python that runs this, `oldest` the whole suite on the oldest Python with the lowest
version of each dependency, `pythons` the unit and media suites on each Python found, `second` the same on the newest of
them that is not the default. Any other word is the suite name of a Debian, made by `.ci/debian-root`: the whole suite
on its newest Python and on those that this machine lacks. Each row leaves a report in `.matrix/`, from which
`.ci/matrix_table.py` writes the table of `docs/reference/versions.md`.
"""

from __future__ import annotations

import glob
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from matrix_table import REPORTS, read_report

ROOT = Path(__file__).resolve().parents[1]
DEFAULT = f"{sys.version_info.major}.{sys.version_info.minor}"
WHOLE_SUITE = ("tests",)
WITHOUT_A_BROKER = ("tests/unit", "tests/media")
#: Prints the version of an interpreter that can make environments. A build without the interpreter's lock is none.
PROBE = """
import ensurepip, sys, sysconfig, venv
if not sysconfig.get_config_var("Py_GIL_DISABLED"):
    print("%d.%d" % sys.version_info[:2])
"""


class MatrixError(Exception):
    """A row cannot be run here; says why."""


@dataclass(frozen=True)
class Row:
    """One environment and what is run in it."""

    name: str
    python: str
    """The interpreter, as it is called where the row runs."""
    tests: tuple[str, ...]
    debian: str = ""
    """Suite name of the Debian it runs in; empty: this machine."""
    oldest: bool = False
    """With the lowest versions of the dependencies instead of the newest."""

    @property
    def report(self) -> Path:
        """Where pytest writes what came of it."""
        return REPORTS / f"{self.name}.xml"

    def command(self) -> list[str]:
        """What runs it; further arguments for pytest come from the environment."""
        venv = f"/opt/venv-{self.python}" if self.debian else f".venv-{self.name}"
        arguments = [f"--junit-xml={self.report.relative_to(ROOT)}", *self.tests, os.environ.get("PYTEST_ARGS", "")]
        return [
            *([".ci/debian-root", self.debian] if self.debian else []),
            *["make", "--no-print-directory", "test-row", f"VENV={venv}", f"PYTHON={self.python}"],
            *([f"CONSTRAINT={venv}/lowest.txt"] if self.oldest else []),
            f"PYTEST_ARGS={' '.join(arguments)}",
        ]

    def run(self) -> bool:
        """Run it; true when every test passed."""
        REPORTS.mkdir(exist_ok=True)
        self.report.unlink(missing_ok=True)
        print(f"== {self.name}: {' '.join(self.tests)}", flush=True)
        # What a calling make has in its flags is not meant for the make of the row.
        environment = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL"}}
        environment["CI"] = "true"  # A broker or an ffmpeg that is missing is a failure, not a skipped test.
        done = subprocess.run(self.command(), cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, check=False)
        return done.returncode == 0


def as_numbers(version: str) -> tuple[int, ...]:
    """What orders 3.9 before 3.10."""
    return tuple(map(int, version.split(".")))


def supported_pythons() -> list[str]:
    """The Pythons that `pyproject.toml` claims, the oldest first."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return sorted(re.findall(r'"Programming Language :: Python :: (3\.\d+)"', text), key=as_numbers)


def found_pythons() -> dict[str, str]:
    """The supported Pythons of this machine, the oldest first: on the PATH, or among pyenv's."""
    pyenv = os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv"
    found = {}
    for version in supported_pythons():
        own = [sys.executable] if version == DEFAULT else []
        # Path.glob raises where a folder may not be read, as that of another user.
        of_pyenv = glob.glob(f"{pyenv}/versions/{version}*/bin/python")  # noqa: PTH207
        candidates = [*own, f"python{version}", *of_pyenv]
        for candidate in candidates:
            try:
                probed = subprocess.run([candidate, "-c", PROBE], capture_output=True, text=True, check=False)
            except OSError:
                continue
            if probed.stdout.strip() == version:
                found[version] = candidate
                break
    return found


def rows_of(word: str) -> Iterator[Row]:
    """
    The rows that a word of the command line stands for.

    Raises:
        MatrixError: They cannot be run here.
    """
    found = found_pythons()
    others = [version for version in found if version != DEFAULT]
    match word:
        case "default":
            yield Row(DEFAULT, sys.executable, WHOLE_SUITE)
        case "oldest":
            version = supported_pythons()[0]
            if version not in found:
                raise MatrixError(f"Python {version}, the oldest supported, was not found. Put it on the PATH.")
            yield Row("oldest", found[version], WHOLE_SUITE, oldest=True)
        case "pythons":
            yield from (Row(version, python, WITHOUT_A_BROKER) for version, python in found.items())
        case "second" if others:
            yield Row(others[-1], found[others[-1]], WITHOUT_A_BROKER)
        case "second":
            print(f"Python {DEFAULT} is the only supported one found here; the tests ran on no other.")
        case debian:
            yield from rows_in(debian, found)


def rows_in(debian: str, found: dict[str, str]) -> list[Row]:
    """
    The rows of a Debian, whose root is made where it is missing.

    Raises:
        MatrixError: It could not be made.
    """
    if subprocess.run([ROOT / ".ci" / "debian-root", debian], check=False).returncode != 0:
        raise MatrixError(f"The rows of Debian {debian} were not run.")
    folder = ROOT / ".roots" / debian / "usr" / "bin"
    versions = [version for version in supported_pythons() if (folder / f"python{version}").exists()]
    chosen = [version for version in versions if version not in found or version == versions[-1]]
    return [Row(f"{debian}-{version}", f"python{version}", WHOLE_SUITE, debian) for version in chosen]


def main(words: list[str]) -> int:
    """Run the rows, each once; say what came of them; 1 when one failed or could not be run."""
    rows: dict[str, Row] = {}
    wrong = []
    for word in words:
        try:
            rows |= {row.name: row for row in rows_of(word) if row.name not in rows}
        except MatrixError as error:
            wrong.append(str(error))
    wrong += [f"{row.name} failed." for row in rows.values() if not row.run()]
    for row in rows.values():
        print(f"{row.name:14} {read_report(row.report).summary() if row.report.exists() else 'no report was written'}")
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

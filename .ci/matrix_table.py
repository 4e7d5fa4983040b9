"""
Writes what was run on what into `docs/reference/versions.md`, from the reports that the rows of the matrix left.

    python3 .ci/matrix_table.py

A report is pytest's own, in JUnit's form; `tests/conftest.py` puts the versions in.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REPORTS = ROOT / ".matrix"
PAGE = ROOT / "docs" / "reference" / "versions.md"
BEGIN = "<!-- From here to the end `make test-matrix` writes the page. -->\n"
SUITES = ("unit", "contract", "integration", "faults", "media")
#: Hypothesis adds to a report what its tests tried.
STATISTICS = "hypothesis-statistics-"
PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass(frozen=True)
class Report:
    """What came of one row."""

    name: str
    date: str
    versions: dict[str, str]
    results: Counter[tuple[str, str]]
    """Tests by suite and result."""
    failed: list[str]
    """The tests that failed, by name."""
    skipped: Counter[str]
    """Why tests were skipped."""

    def order(self) -> tuple[list[int], bool, str]:
        """By Python, the oldest dependencies first."""
        return [int(part) for part in self.versions["Python"].split(".")[:2]], self.name != "oldest", self.name

    def counts(self, suite: str) -> str:
        """The results of one suite, in words; a dash where it was not run."""
        counts = {result: self.results[suite, result] for result in (PASSED, FAILED, SKIPPED)}
        return ", ".join(f"{number} {result}" for result, number in counts.items() if number) or "-"

    def summary(self) -> str:
        """The results of all suites together, on one line."""
        sums: Counter[str] = Counter()
        for (_, result), number in self.results.items():
            sums[result] += number
        return ", ".join(f"{sums[result]} {result}" for result in (PASSED, FAILED, SKIPPED))


def read_report(path: Path) -> Report:
    """Read what pytest wrote."""
    (suite,) = ET.parse(path).getroot().iter("testsuite")
    versions = {
        one.attrib["name"]: one.attrib["value"]
        for one in suite.findall("properties/property")
        if not one.attrib["name"].startswith(STATISTICS)
    }
    results: Counter[tuple[str, str]] = Counter()
    skipped: Counter[str] = Counter()
    failed = []
    for case in suite.findall("testcase"):
        # "tests.unit.test_channel", also with a class behind it; a module that could not be loaded has the name alone.
        module = case.attrib["classname"] or case.attrib["name"]
        kinds = {child.tag: child for child in case}
        if "failure" in kinds or "error" in kinds:
            result = FAILED
            failed.append(f"{module}::{case.attrib['name']}")
        elif "skipped" in kinds:
            result = SKIPPED
            skipped[kinds["skipped"].attrib["message"]] += 1
        else:
            result = PASSED
        results[module.split(".")[1], result] += 1
    return Report(path.stem, suite.attrib["timestamp"][:10], versions, results, failed, skipped)


def table(reports: list[Report]) -> str:
    """The versions and the results, one column for each report."""
    names = dict.fromkeys(name for report in reports for name in report.versions)
    rows = [
        ["", *(report.name for report in reports)],
        ["---"] * (len(reports) + 1),
        ["date", *(report.date for report in reports)],
        *([name, *(report.versions.get(name, "-") for report in reports)] for name in names),
        *([f"`tests/{suite}`", *(report.counts(suite) for report in reports)] for suite in SUITES),
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def reasons(reports: list[Report]) -> str:
    """Why tests were skipped, and which failed."""
    lines = []
    for report in reports:
        lines += [f"- {report.name}, failed: `{name}`\n" for name in report.failed]
        lines += [f"- {report.name}, skipped ({number}): {reason}\n" for reason, number in report.skipped.items()]
    return "".join(lines)


def main() -> int:
    """Write the page's end anew; 1 where there is no report."""
    reports = sorted((read_report(path) for path in REPORTS.glob("*.xml")), key=Report.order)
    if not reports:
        print(f"No report lies in {REPORTS}. Run `make test-matrix`.", file=sys.stderr)
        return 1
    head, _, _ = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    written = "\n".join(part for part in (table(reports), reasons(reports)) if part)
    PAGE.write_text(f"{head}{BEGIN}\n{written}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

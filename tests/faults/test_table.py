"""The table of faults in the documentation and the tests that show them name each other."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
TABLE = HERE.parents[1] / "docs" / "explanation" / "faults.md"


def _defined_in(folder: Path) -> list[str]:
    return [
        name
        for path in sorted(folder.glob("test_*.py"))
        if path != Path(__file__)
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    ]


def test_every_fault_is_in_the_table_once_and_every_row_has_its_test():
    named = re.findall(r"`(test_\w+)` \|$", TABLE.read_text(), re.MULTILINE)
    # Of the tests of media only those stand in the table that show a fault.
    media = set(named) & set(_defined_in(HERE.parent / "media"))

    assert sorted(named) == sorted([*_defined_in(HERE), *media])

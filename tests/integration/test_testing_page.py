"""What docs/howto/test.md shows is run as it stands there, in copies of the examples that it is about."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "docs" / "howto" / "test.md", ROOT / "README.md"]
#: The folder whose tests a block belongs to, by a name that it imports or runs.
EXAMPLES = {"scene_changes_worker": "scene_changes", "py_mcai_worker": "minimal", "rabbitmq_broker": "minimal"}

BLOCKS = [
    block
    for page in PAGES
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    if "def test_" in block
]


def example_of(block: str) -> str:
    return next(folder for name, folder in EXAMPLES.items() if name in block)


@pytest.mark.parametrize("example", sorted(set(EXAMPLES.values())))
def test_every_block_passes_as_it_stands_there(example: str, tmp_path: Path):
    blocks = [block for block in BLOCKS if example_of(block) == example]
    folder = shutil.copytree(ROOT / "examples" / example, tmp_path / example)
    for number, block in enumerate(blocks):
        (folder / f"test_block_{number}.py").write_text(block)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--ignore=tests"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert f"{''.join(blocks).count('def test_')} passed" in done.stdout


def test_every_block_that_is_a_test_was_found():
    assert len(BLOCKS) == 10

"""The media examples, run as their READMEs say."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from PIL import Image

from tests.media.versions import PYAV

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(script: str, *arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, script, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


@pytest.fixture
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the example's folder, so that what it writes stays out of the repository."""
    return Path(shutil.copytree(EXAMPLES / request.param, tmp_path / request.param))


@pytest.mark.parametrize("example", ["scene_changes"], indirect=True)
def test_scene_changes_finds_every_cut_and_draws_every_scene(example: Path):
    assert run("make_clip.py", "clip.mp4", folder=example).returncode == 0
    done = run("scene_changes_worker/worker.py", folder=example, SOURCE_ORDERS="orders/clip.json")

    assert done.returncode == 0, done.stderr
    batches = json.loads((example / "scenes.json").read_text())["frames"]
    cuts = [cut["time_seconds"] for batch in batches for cut in batch["cuts"]]
    assert cuts == pytest.approx([2.0, 3.4, 5.8, 6.8, 8.6])
    assert batches[-1]["until_seconds"] == pytest.approx(254 / 25)
    with Image.open(example / "scenes.png") as sheet:
        assert sheet.getpixel((20, 20)) == pytest.approx((20, 60, 120), abs=12), "the first scene's background"


@pytest.mark.parametrize("example", ["loudness"], indirect=True)
def test_loudness_measures_the_steps_of_a_tone(example: Path):
    assert run("make_tone.py", "tone.wav", folder=example).returncode == 0
    done = run("loudness_worker/worker.py", folder=example, SOURCE_ORDERS="orders/tone.json")

    needed = re.search(r'"av>=(\d+)\.(\d+)"', (example / "pyproject.toml").read_text())
    if (int(needed[1]), int(needed[2])) > PYAV:
        assert done.returncode == 1
        assert "'av.audio.frame.AudioFrame' object has no attribute 'metadata'" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    batches = json.loads((example / "loudness.json").read_text())["frames"]
    momentary = [lufs for batch in batches for lufs in batch["momentary_lufs"]]
    assert len(momentary) == 120, "twelve seconds, ten figures each"
    assert [momentary[tenth] for tenth in (25, 55, 85, 115)] == pytest.approx([-43, -33, -23, -18], abs=0.1)
    with Image.open(example / "loudness.png") as curve:
        assert curve.size == (800, 300)


@pytest.mark.parametrize("example", ["scene_changes"], indirect=True)
def test_on_a_terminal_a_media_job_shows_its_frames_a_second(example: Path):
    assert run("make_clip.py", "clip.mp4", folder=example).returncode == 0
    own, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
    worker = subprocess.Popen(
        [sys.executable, "scene_changes_worker/worker.py"],
        cwd=example,
        env={**os.environ, "SOURCE_ORDERS": "orders/clip.json", "TERM": "xterm"},
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # How a pseudo-terminal says that its other end is closed.
        while part := os.read(own, 1 << 16):
            shown += part
    os.close(own)

    assert worker.wait(30) == 0
    table = shown[shown.index(b"Source orders") :].decode()
    assert "frames/s" in table
    assert re.search(r"completed[^\n]*\d+\.\d+[^\n]*?│\D*[1-9]\d*\D*│", table)
    assert re.search(rb"left.*[1-9]\d* frames/s", shown)

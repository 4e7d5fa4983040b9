"""
What a test run runs on: the versions that a report names.

    python -m tests.support.versions     prints them as JSON
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from mcai_worker_sdk.errors import MediaError
from mcai_worker_sdk.media.srt.libsrt import load_library
from tests.support.rabbitmq import SCRIPTS

__all__ = ["versions_in_use"]

ROOT = Path(__file__).resolve().parents[2]
MISSING = "-"


def versions_in_use() -> dict[str, str]:
    """
    Name and version of the interpreter, of each dependency, and of what the tests take from the system.

    They are found in a process of their own: PyAV and libsrt start threads, which the tests' process must not have.
    """
    done = subprocess.run([sys.executable, "-m", __name__], cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _find() -> dict[str, str]:
    return {
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        "Python": platform.python_version(),
        **{name: _distribution(name) for name in _dependencies()},
        "FFmpeg in PyAV": _ffmpeg_in_pyav(),
        "RabbitMQ": _first_line(str(SCRIPTS / "rabbitmqctl"), "version"),
        "libsrt": _libsrt(),
        "`ffmpeg`": _first_line("ffmpeg", "-version").removeprefix("ffmpeg version ").partition(" ")[0],
    }


def _dependencies() -> list[str]:
    lines = metadata.requires("mcai-worker-sdk") or []
    return list(dict.fromkeys(Requirement(line).name for line in lines))


def _distribution(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return MISSING


def _ffmpeg_in_pyav() -> str:
    try:
        import av
    except ImportError:
        return MISSING
    return av.ffmpeg_version_info


def _libsrt() -> str:
    try:
        return load_library().version
    except MediaError:
        return MISSING


def _first_line(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return MISSING
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout.splitlines() or [MISSING])[0]


if __name__ == "__main__":
    print(json.dumps(_find()))

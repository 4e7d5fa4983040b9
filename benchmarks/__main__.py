"""
Every benchmark in turn, in a quarter of an hour: ``python -m benchmarks`` or ``make bench``.

Each is a process of its own, run by its own defaults; what it prints goes through. A benchmark that cannot run here is
left out with its reason.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys

from tests.contract.reference import ReferenceMissingError, find_reference
from tests.support.rabbitmq import rabbitmq_is_installed


def main() -> int:
    """Run them; 1 when one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--reference", help="interpreter that has mcai-worker-sdk 2.1.1; installed in a cache at need")
    parser.add_argument("--media-reference", help="interpreter that has mcai-worker-sdk-media 2.1.1; left out without")
    parser.add_argument("--quick", action="store_true", help="fewer jobs, shorter clips: do they run at all")
    options = parser.parse_args()

    failed = []
    if not rabbitmq_is_installed():
        print("benchmarks.jobs is left out: RabbitMQ is not installed (Debian: rabbitmq-server).", flush=True)
    elif not _run("benchmarks.jobs", *_reference(options.reference), *(["--jobs", "300"] if options.quick else [])):
        failed.append("benchmarks.jobs")
    for name, short in (
        ("benchmarks.media_decode", ["--runs", "1", "--seconds", "4", "--minutes", "2"]),
        ("benchmarks.srt_loopback", ["--seconds", "6"]),
    ):
        if shutil.which("ffmpeg") is None:
            print(f"{name} is left out: the ffmpeg command is not installed.", flush=True)
            continue
        given = options.media_reference if name == "benchmarks.media_decode" else None
        if not _run(name, *(["--reference", given] if given else []), *(short if options.quick else [])):
            failed.append(name)
    if failed:
        print(f"Failed: {', '.join(failed)}.")
    return 1 if failed else 0


def _reference(given: str | None) -> list[str]:
    if given:
        return ["--reference", given]
    try:
        return ["--reference", find_reference()]
    except ReferenceMissingError as error:
        print(f"The reference is left out: {error}", flush=True)
        return []


def _run(module: str, *arguments: str) -> bool:
    print(f"\n--- {module} {' '.join(arguments)}", flush=True)
    return subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())

"""
``make demo``: a real worker on a real order, without a broker.

Creates a file of 256 MiB, lets ``examples/file_digest`` compute its digests through a local order, and checks the
manifest against digests computed here.
"""

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORKER_FOLDER = ROOT / "examples" / "file_digest"
DEMO_FOLDER = ROOT / ".demo"
MEBIBYTE = 1 << 20
SIZE_MEBIBYTES = 256
ALGORITHMS = ("sha256", "blake2b")


def create_source(path: Path) -> None:
    """Write bytes that do not compress; the same ones each time, so that digests can be compared between runs."""
    if path.exists() and path.stat().st_size == SIZE_MEBIBYTES * MEBIBYTE:
        return
    source = random.Random(20)  # noqa: S311 - filler, not a secret
    with path.open("wb") as file:
        for _ in range(SIZE_MEBIBYTES):
            file.write(source.randbytes(MEBIBYTE))


def write_order(path: Path, source: Path, manifest: Path) -> None:
    """Write the order as the orchestrator would send it."""
    parameters = [
        {"id": "source_path", "type": "string", "value": str(source)},
        {"id": "destination_path", "type": "string", "value": str(manifest)},
        {"id": "algorithms", "type": "array_of_strings", "value": list(ALGORITHMS)},
        {"id": "chunk_bytes", "type": "integer", "value": 16 * MEBIBYTE},
        {"id": "requirements", "type": "requirements", "value": {"paths": [str(source)]}},
    ]
    path.write_text(json.dumps({"job_id": 1, "parameters": parameters}, indent=2), encoding="utf-8")


def wrong_digests(source: Path, manifest: Path) -> list[str]:
    """Names of the digests in the manifest that differ from those computed here."""
    (file,) = json.loads(manifest.read_text(encoding="utf-8"))["files"]
    wrong = []
    for name in ALGORITHMS:
        with source.open("rb") as stream:
            expected = hashlib.file_digest(stream, name).hexdigest()
        print(f"  {name:8} {file['digests'][name][:64]}  {'right' if file['digests'][name] == expected else 'WRONG'}")
        if file["digests"][name] != expected:
            wrong.append(name)
    return wrong


def main() -> int:
    """Create, run, check; the exit code is the worker's, or 1 when a digest is wrong."""
    DEMO_FOLDER.mkdir(exist_ok=True)
    source, order, manifest = (DEMO_FOLDER / name for name in ("source.bin", "order.json", "manifest.json"))
    manifest.unlink(missing_ok=True)
    print(f"Creating {source} ({SIZE_MEBIBYTES} MiB) ...", flush=True)
    create_source(source)
    write_order(order, source, manifest)

    print(f"Running examples/file_digest on {order} ...", flush=True)
    started = time.perf_counter()
    worker = subprocess.run(
        [sys.executable, "file_digest_worker/worker.py"],
        cwd=WORKER_FOLDER,
        env={**os.environ, "SOURCE_ORDERS": str(order)},
        check=False,
    )
    if worker.returncode != 0:
        print(f"The worker ended with exit code {worker.returncode}.")
        return worker.returncode
    print(f"Done in {time.perf_counter() - started:.1f} s. {manifest} says:")
    return 1 if wrong_digests(source, manifest) else 0


if __name__ == "__main__":
    sys.exit(main())

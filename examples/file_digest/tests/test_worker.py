"""Run by ``python -m pytest`` in the example's folder."""

import hashlib
import json
from pathlib import Path

import pytest
from file_digest_worker.worker import FileDigestWorker

from mcai_worker_sdk.testing import Stop, run_job


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Ten chunks of the smallest size."""
    path = tmp_path / "source.bin"
    path.write_bytes(bytes(range(256)) * 160)
    return path


def test_the_manifest_has_the_digests(source: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    run = run_job(
        FileDigestWorker, {"source_path": source, "destination_path": manifest, "algorithms": ["sha256", "md5"]}
    )

    assert run.status == "completed"
    assert run.destination_paths == [str(manifest)]
    (file,) = json.loads(manifest.read_text())["files"]
    content = source.read_bytes()
    assert file["digests"] == {name: hashlib.new(name, content).hexdigest() for name in ("sha256", "md5")}


def test_a_stop_leaves_no_manifest(source: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    run = run_job(
        FileDigestWorker,
        {"source_path": source, "destination_path": manifest, "chunk_bytes": 4096},
        script=[Stop(after_progressions=3)],
    )

    assert run.status == "stopped"
    assert run.progressions == [0, 10, 20, 30]
    assert not manifest.exists()


def test_an_order_without_a_source_is_refused(tmp_path: Path) -> None:
    run = run_job(FileDigestWorker, {"destination_path": tmp_path / "manifest.json"})

    assert run.status == "error"
    assert "source_path and source_paths are both empty" in str(run.error)

"""
A worker that computes digests of files and writes them to a JSON manifest.

Real work on real input: files are read in chunks, so their size does not matter; progression counts the bytes read; a
job that is asked to stop stops within one chunk and leaves no half-written manifest behind.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

import mcai_worker_sdk as mcai

logger = logging.getLogger(__name__)

Algorithm = Literal["blake2b", "md5", "sha1", "sha256", "sha3_256", "sha512"]


class DigestParameters(mcai.WorkerParameters):
    """Which files, which digests, where to."""

    source_path: str | None = Field(None, description="The file, when there is one.")
    source_paths: list[str] = Field([], description="The files, when there are several.")
    destination_path: str = Field(description="Where the JSON manifest is written.")
    algorithms: list[Algorithm] = Field(["sha256"], min_length=1, description="The digests wanted of each file.")
    chunk_bytes: int = Field(1 << 20, ge=1 << 12, le=1 << 26, description="How much is read at once, in bytes.")

    @model_validator(mode="after")
    def _has_a_source(self) -> DigestParameters:
        if not self.sources:
            raise ValueError("source_path and source_paths are both empty; give one of them")
        return self

    @property
    def sources(self) -> list[Path]:
        """All files of the order, each once, in the order given."""
        given = [self.source_path] if self.source_path else []
        return [Path(path) for path in dict.fromkeys([*given, *self.source_paths])]


class FileDigestWorker(mcai.Worker):
    """Read each file once, compute every digest asked for, write a manifest."""

    def process(self, channel: mcai.McaiChannel, parameters: DigestParameters, job_id: int) -> dict[str, Any]:
        """
        Run one job.

        Returns:
            The manifest's path, and the bytes read as the result parameter ``total_bytes``.
        """
        total_bytes = sum(source.stat().st_size for source in parameters.sources)
        done_bytes = 0
        files: list[dict[str, Any]] = []
        for source in parameters.sources:
            digests = {name: hashlib.new(name) for name in parameters.algorithms}
            size_bytes = 0
            for chunk in read_chunks(source, parameters.chunk_bytes):
                if channel.is_stopped():
                    logger.info("Stopped after %d of %d files", len(files), len(parameters.sources))
                    channel.set_job_status(mcai.JobStatus.Stopped)
                    return {}
                for digest in digests.values():
                    digest.update(chunk)
                size_bytes += len(chunk)
                done_bytes += len(chunk)
                # A file may grow while it is read: progression stays within its range all the same.
                channel.publish_job_progression(min(100.0, 100 * done_bytes / max(total_bytes, 1)))
            hexadecimal = {name: digest.hexdigest() for name, digest in digests.items()}
            files.append({"path": str(source), "size_bytes": size_bytes, "digests": hexadecimal})
            logger.info("%s: %d bytes read", source, size_bytes)

        write_manifest(Path(parameters.destination_path), {"files": files})
        return {
            "destination_paths": [parameters.destination_path],
            "parameters": [{"id": "total_bytes", "kind": "integer", "value": done_bytes}],
        }


def read_chunks(source: Path, chunk_bytes: int) -> Iterator[bytes]:
    """Yield the file's bytes, ``chunk_bytes`` at a time."""
    with source.open("rb", buffering=0) as file:
        while chunk := file.read(chunk_bytes):
            yield chunk


def write_manifest(destination: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest in one step: a reader sees the old file or the new one, never half of it."""
    unfinished = destination.with_name(f".{destination.name}.part")
    unfinished.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    unfinished.replace(destination)


if __name__ == "__main__":
    FileDigestWorker(DigestParameters, mcai.WorkerDescription(__package__)).start()

"""Results written to a file, while the job runs."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from mcai_worker_sdk.addresses import local_path
from mcai_worker_sdk.errors import MediaDestinationError, ResultError
from mcai_worker_sdk.media.results.encoding import encode_result, is_xml_document

__all__ = ["FileResultWriter", "written_paths"]


def written_paths(destination: str) -> tuple[Path, Path]:
    """
    The file that a destination stands for, and the one that results go to while the job runs.

    Of the second there is one name per destination: what a killed job left behind is replaced by its next attempt.
    """
    path = Path(os.path.realpath(local_path(destination) or destination))
    return path, path.parent / f".{path.name}.part"


class FileResultWriter:
    """
    Write results to a file as ``{"frames": [...]}``, or one after the other when they are XML documents.

    Results go to a temporary file beside the destination, which takes its place only when the job ends. A destination
    that is no regular file (``/dev/stdout``, a pipe) is written to directly.
    """

    def __init__(self, destination: str) -> None:
        """
        Args:
            destination: Path or ``file:`` URL. Relative to the worker's working directory.

        Raises:
            MediaDestinationError: The destination cannot be written to.
        """
        self._shown = destination
        self._file: BinaryIO | None = None
        self._temporary: Path | None = None
        #: Of the temporary file, which another job may have replaced by its own.
        self._status: os.stat_result | None = None
        self._path, self._temporary_path = written_paths(destination)
        self._count = 0
        self._is_xml = False
        self._open(destination)

    def write(self, result: object) -> None:
        """
        Add one result.

        Raises:
            ResultError: The result is nothing JSON can express, or no XML among XML documents.
            MediaDestinationError: The file cannot be written.
        """
        if self._count == 0:
            self._is_xml = is_xml_document(result)
        if self._is_xml:
            if not is_xml_document(result):
                raise ResultError(
                    f"The result of process_frames is a {type(result).__name__}; expected an XML document, like the "
                    "results before it. Return the same kind of value from every call."
                )
            self._put(encode_result(result))
            self._put(b"\n")
        else:
            self._put(b'{"frames":[' if self._count == 0 else b",")
            self._put(encode_result(result))
        self._count += 1

    def finish(self) -> None:
        """
        Complete the file and move it into place.

        Raises:
            MediaDestinationError: The file cannot be written.
        """
        if self._file is None:
            return
        if not self._is_xml:
            self._put(b'{"frames":[]}' if self._count == 0 else b"]}")
        is_ours = self._temporary is None or self._is_ours(self._temporary)
        # What is interrupted or fails here leaves the rest to discard().
        try:
            self._file.close()
            if not is_ours:
                raise MediaDestinationError(
                    f"The destination {str(self._path)!r} is being written by another job; expected one job at a time. "
                    "Give each job a destination_path of its own."
                )
            if self._temporary is not None:
                self._temporary.replace(self._path)
        except OSError as error:
            raise self._error(error) from error
        self._temporary = None
        self._file = None

    def discard(self) -> None:
        """Remove the temporary file, if there still is one."""
        if self._file is not None:
            if self._temporary is not None and not self._is_ours(self._temporary):
                self._temporary = None
            with suppress(OSError):
                self._file.close()
            self._file = None
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)
            self._temporary = None

    def _open(self, destination: str) -> None:
        if not destination:
            raise MediaDestinationError(
                "Parameter 'destination_path' is empty; expected the path of a file to write. Correct the order."
            )
        try:
            if self._path.exists() and not stat.S_ISREG(self._path.stat().st_mode):
                self._file = self._path.open("wb")
                return
            self._temporary_path.unlink(missing_ok=True)
            self._file = self._temporary_path.open("xb")
            self._status = os.fstat(self._file.fileno())
            self._temporary = self._temporary_path
        except OSError as error:
            raise self._error(error) from error

    def _is_ours(self, temporary: Path) -> bool:
        try:
            return self._status is not None and os.path.samestat(temporary.stat(), self._status)
        except FileNotFoundError:
            return False

    def _put(self, data: bytes) -> None:
        assert self._file is not None
        try:
            self._file.write(data)
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> MediaDestinationError:
        return MediaDestinationError(
            f"Destination {self._shown!r} cannot be written: {error.strerror or error}; expected a file in "
            "an existing, writable folder. Check the parameter 'destination_path'."
        )

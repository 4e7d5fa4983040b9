"""Opening a job's destination, whatever it is."""

from __future__ import annotations

from mcai_worker_sdk.errors import MediaDestinationError
from mcai_worker_sdk.media.addresses import is_srt_url
from mcai_worker_sdk.media.results.file import FileResultWriter, written_paths
from mcai_worker_sdk.media.results.own_source import reads_file
from mcai_worker_sdk.media.results.writer import ResultWriter
from mcai_worker_sdk.media.waiting import Opening

__all__ = ["open_destination"]


def open_destination(address: str, source: str, opening: Opening[ResultWriter]) -> ResultWriter | None:
    """
    Open where results go: a file, or who takes them over SRT.

    Args:
        address: The destination.
        source: What the job reads.
        opening: Owns the writer.

    Returns:
        The writer; ``None`` when the job was stopped while waiting for the peer.

    Raises:
        MediaDestinationError: It cannot be written to, or is the source.
        MediaTimeoutError: Nobody is there to take the results.
    """
    if is_srt_url(address):
        from mcai_worker_sdk.media.results.live import open_live_destination

        return opening.open(lambda stops: open_live_destination(address, channel=stops), _discard)
    # A named pipe that nobody reads holds its opening up. It is not interrupted: who reads the pipe later shall find
    # its end.
    return opening.open(lambda _: _open_file_destination(address, source), _discard)


def _open_file_destination(address: str, source: str) -> ResultWriter:
    if address and any(reads_file(source, path) for path in written_paths(address)):
        raise MediaDestinationError(
            f"The destination {address!r} is the source itself; expected another file for the results. "
            "Correct destination_path in the order."
        )
    return FileResultWriter(address)


def _discard(writer: ResultWriter) -> None:
    writer.discard()

"""Whether a source reads the file that results would be written over, however its address spells that."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mcai_worker_sdk.addresses import url_scheme
from mcai_worker_sdk.media.addresses import NUMBERED, is_network_url, source_path

__all__ = ["reads_file"]

#: What FFmpeg's protocols put around the address they read: ``cache:X``, ``crypto+file:X``, ``subfile,,start,0,,:X``.
_SEPARATORS = re.compile(r"[:,+]")
#: An address with more of them is no row of protocols; only what follows each is looked at.
_MAX_SEPARATORS = 24

#: Lists of other files: HLS and DASH playlists and those of FFmpeg's ``concat``.
_LIST_HEADS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD")
_HEAD_BYTES = 16
_LIST_SUFFIXES = (".m3u8", ".m3u", ".mpd", ".ffconcat")
_MAX_LIST_BYTES = 16 * 2**20
_MAX_LIST_DEPTH = 3
_QUOTED = re.compile(r"""["'<>]""")


def reads_file(source: str, path: Path) -> bool:
    """
    True when a source is the file at ``path``, or one of those it is made of is.

    Files are compared by what they are, not by name: through symbolic and hard links, ``/dev/fd`` and FFmpeg's local
    protocols, and in the lists that HLS, DASH and FFmpeg's ``concat`` read. What a server reads is not known here.

    Args:
        source: The address of the source.
        path: A file that may or may not exist.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        return False
    return _Search(path, status).finds(source, "", 0)


class _Search:
    def __init__(self, path: Path, status: os.stat_result) -> None:
        self._path = path
        self._status = status

    def finds(self, address: str, folder: str, depth: int) -> bool:
        """Look for the file in an address, which is relative to a folder."""
        if is_network_url(address):
            return False
        is_list = address.startswith("concatf:")
        return any(
            self._is_input(name) or self._is_in_file(os.path.join(folder, name), depth, is_list=is_list)  # noqa: PTH118
            for name in _names(address, folder)
        ) or self._is_in_sequence(address, folder)

    # Playlists have many names: strings are several times as fast as paths here.
    def _is_in_file(self, file: str, depth: int, *, is_list: bool) -> bool:
        with suppress(OSError, ValueError):
            if os.path.samestat(os.stat(file), self._status):  # noqa: PTH116
                return True
            # Segments are no lists: only what is named like one is opened.
            if is_list or depth == 0 or (depth < _MAX_LIST_DEPTH and file.endswith(_LIST_SUFFIXES)):
                folder = os.path.dirname(file)  # noqa: PTH120
                return any(self.finds(name, folder, depth + 1) for name in _listed_names(Path(file), is_list=is_list))
        return False

    def _is_in_sequence(self, address: str, folder: str) -> bool:
        if not NUMBERED.search(address):
            return False
        pattern = Path(folder, source_path(address) or address)
        name = r"\d+".join(re.escape(part) for part in NUMBERED.split(pattern.name))
        with suppress(OSError):
            is_numbered = re.fullmatch(name, self._path.name) is not None and not pattern.exists()
            return is_numbered and pattern.parent.samefile(self._path.parent)
        return False

    def _is_input(self, address: str) -> bool:
        """Whether the address is that of a descriptor, standard input most often, from which the file is read."""
        if url_scheme(address) not in {"pipe", "fd"}:
            return False
        number = address.partition(":")[2]
        with suppress(OSError):
            return os.path.samestat(os.fstat(int(number) if number.isdecimal() else 0), self._status)
        return False


def _names(address: str, folder: str) -> Iterator[str]:
    """Every part of an address that may be the name of a file."""
    yield address
    if url_scheme(address) is None or os.path.exists(os.path.join(folder, address)):  # noqa: PTH110, PTH118
        return
    path = source_path(address)
    if path is not None:
        yield path
        return
    for part in address.split("|"):
        starts = [0, *(separator.end() for separator in _SEPARATORS.finditer(part))]
        ends = [*(separator.start() for separator in _SEPARATORS.finditer(part)), len(part)]
        if len(starts) > _MAX_SEPARATORS:
            ends = ends[-1:]
        for start in starts:
            yield from (part[start:end] for end in ends if start < end)


def _listed_names(file: Path, *, is_list: bool) -> set[str]:
    """The names in a list of other files, none in any other file."""
    if not file.is_file():
        return set()
    with file.open("rb") as opened:
        head = opened.read(_HEAD_BYTES)
        if not is_list and not head.removeprefix(b"\xef\xbb\xbf").startswith(_LIST_HEADS):
            return set()
        lines = (head + opened.read(_MAX_LIST_BYTES)).decode(errors="surrogateescape").splitlines()
    quoted = (part for line in lines for part in _QUOTED.split(line))
    return {line.strip() for line in lines} | {
        part.strip().removeprefix("file ").strip().replace("\\", "") for part in quoted
    }

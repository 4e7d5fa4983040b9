"""Subtitles as cues, whatever codec carries them."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator

from mcai_worker_sdk.media.ebu_tt import EbuTtDocument, paragraph_to_xml, parse_ebu_tt, timed_texts
from mcai_worker_sdk.media.ebu_tt.white_space import WHITE_SPACE
from mcai_worker_sdk.media.encodings import LEGACY_ENCODING, UTF_8, decode_text, is_utf8, likely_encoding
from mcai_worker_sdk.media.model.cues import Cue
from mcai_worker_sdk.media.text.xml_roots import find_root

__all__ = ["CUE_CODECS", "cues_from_packet", "cues_from_ttml", "encoding_fault"]


def cues_from_packet(
    codec_name: str | None, data: bytes, start_seconds: float | None, duration_seconds: float | None
) -> list[Cue]:
    """
    The cues of one packet of a subtitle stream.

    Args:
        codec_name: FFmpeg's name of the codec (``subrip``, ``webvtt``, ``mov_text``, ``ass``, ``ttml``, ...); ``None``
            where FFmpeg has none, as for TTML in MP4.
        data: The packet's payload.
        start_seconds: Its presentation time; ``None`` counts as 0.
        duration_seconds: How long it is shown; ``None``, 0 or less when the packet does not say.

    Returns:
        The cues; empty for an empty packet, which clears the screen. Packets of TTML, and of WebVTT in MP4, hold any
        number, others at most one.

    Raises:
        MediaSourceError: A TTML document cannot be read.
        ValueError: The codec is none of :data:`CUE_CODECS`.
    """
    start = start_seconds or 0.0
    end = start + duration_seconds if duration_seconds and duration_seconds > 0 else None
    if codec_name in _TTML_CODECS or (codec_name is None and find_root(data) is not None):
        return _cues_of_sample(data, start, end)
    if _is_webvtt_sample(codec_name, data):
        parts = [_webvtt(payload) for payload in _webvtt_payloads(data)]
        return [Cue(start, end, text, raw) for raw, text in parts if text]
    read = _READERS.get(codec_name or "")
    if read is None:
        raise ValueError(f"The subtitle codec is {codec_name!r}; expected one of {', '.join(sorted(CUE_CODECS))}.")
    raw, text = read(data)
    return [Cue(start, end, text, raw)] if text else []


def cues_from_ttml(document: bytes | EbuTtDocument) -> list[Cue]:
    """
    The cues of a whole TTML or EBU-TT document, in its order, at the times it gives.

    Raises:
        MediaSourceError: The document cannot be read.
    """
    parsed = document if isinstance(document, EbuTtDocument) else parse_ebu_tt(document)
    return [
        Cue(timed.start_seconds, timed.end_seconds, timed.text, paragraph_to_xml(timed.paragraph))
        for timed in timed_texts(parsed)
    ]


def _cues_of_sample(data: bytes, start: float, end: float | None) -> list[Cue]:
    """
    The cues of one TTML sample of a track, cut to the sample.

    Times of the document are those of the track (ISO/IEC 14496-30). Where none of them falls into the sample, the
    document counts from the sample's begin, as some packagers write it.
    """
    if not data.strip():
        return []
    cues = cues_from_ttml(data)
    if end is None:
        return cues
    if not any(_overlaps(cue, start, end) for cue in cues):
        cues = [
            Cue(
                cue.start_seconds + start,
                None if cue.end_seconds is None else cue.end_seconds + start,
                cue.text,
                cue.raw,
            )
            for cue in cues
        ]
    return [
        Cue(
            max(start, cue.start_seconds),
            min(end, end if cue.end_seconds is None else cue.end_seconds),
            cue.text,
            cue.raw,
        )
        for cue in cues
        if _overlaps(cue, start, end)
    ]


def _overlaps(cue: Cue, start: float, end: float) -> bool:
    return cue.start_seconds < end and (cue.end_seconds is None or cue.end_seconds > start)


def encoding_fault(codec_name: str | None, data: bytes) -> str | None:
    """What is said of a text packet that is not UTF-8, and how it is read; ``None`` when nothing is wrong."""
    # The others say themselves how they are encoded, or are no text.
    if codec_name not in _UNDECLARED_CODECS or _is_webvtt_sample(codec_name, data) or is_utf8(data):
        return None
    if likely_encoding(data) == LEGACY_ENCODING:
        return "is not UTF-8; it is read as Windows-1252"
    return "holds bytes that are not UTF-8; they are read as U+FFFD"


_BREAKS = re.compile(r"\r\n?|\x00")
_SUBRIP_TAG = re.compile(r"</?(?:b|i|u|s|font)(?:\s[^<>]*)?/?>", re.IGNORECASE)
_WEBVTT_TAG = re.compile(r"<[^<>]*>")
# Longer ones are none; Python refuses to read a number of thousands of digits.
_WEBVTT_REFERENCE = re.compile(r"&#?\w{1,32};?", re.ASCII)
_OVERRIDE = re.compile(r"\{\\[^{}]*\}|\{\}")
_ASS_BLOCK = re.compile(r"\{([^{}]*)\}")
_ASS_DRAWING = re.compile(r"\\p(\d+)")
_ASS_FIELDS_BEFORE_TEXT = 8
#: A cue, no cue, and text that is shown to nobody.
_WEBVTT_BOXES = (b"vttc", b"vtte", b"vtta")
_BOX_HEADER_BYTES = 8


def _tidy(text: str) -> str:
    return _BREAKS.sub("\n", text).strip(WHITE_SPACE)


def _subrip(data: bytes) -> tuple[str, str]:
    raw = decode_text(data)
    return raw, _tidy(_SUBRIP_TAG.sub("", _OVERRIDE.sub("", raw)))


def _webvtt(data: bytes) -> tuple[str, str]:
    raw = decode_text(data)
    return raw, _tidy(_WEBVTT_REFERENCE.sub(lambda found: html.unescape(found.group()), _WEBVTT_TAG.sub("", raw)))


def _is_webvtt_sample(codec_name: str | None, data: bytes) -> bool:
    """True for a sample of a WebVTT track of MP4, which is a row of boxes. Source: ISO/IEC 14496-30, section 7.5."""
    return codec_name in {"webvtt", None} and data[:1] == b"\0" and data[4:8] in _WEBVTT_BOXES


def _webvtt_payloads(sample: bytes) -> list[bytes]:
    """The texts of the cues in a sample."""
    return [
        payload for kind, cue in _boxes(sample) if kind == b"vttc" for inner, payload in _boxes(cue) if inner == b"payl"
    ]


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each box in a row of them."""
    position = 0
    while position + _BOX_HEADER_BYTES <= len(data):
        size = max(int.from_bytes(data[position : position + 4], "big"), _BOX_HEADER_BYTES)
        yield data[position + 4 : position + 8], data[position + _BOX_HEADER_BYTES : position + size]
        position += size


def _mov_text(data: bytes) -> tuple[str, str]:
    """Two bytes of length, the text in UTF-8 or, with a byte order mark, UTF-16; boxes with its styles follow."""
    body = data[2 : 2 + int.from_bytes(data[:2], "big")]
    raw = decode_text(body, "utf-16" if body[:2] in (b"\xfe\xff", b"\xff\xfe") else UTF_8)
    return raw, _tidy(raw)


def _ass(data: bytes) -> tuple[str, str]:
    """``ReadOrder,Layer,Style,Name,MarginL,MarginR,MarginV,Effect,Text``: the form FFmpeg and Matroska carry."""
    fields = decode_text(data).split(",", _ASS_FIELDS_BEFORE_TEXT)
    raw = fields[-1]
    is_drawing = False
    shown = []
    # Odd parts are the blocks of override tags between the texts.
    for index, part in enumerate(_ASS_BLOCK.split(raw)):
        if index % 2:
            for scale in _ASS_DRAWING.findall(part):
                is_drawing = scale != "0"
        elif not is_drawing:
            shown.append(part)
    text = "".join(shown).replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " ")
    return raw, _tidy(text)


def _plain(data: bytes) -> tuple[str, str]:
    raw = decode_text(data)
    return raw, _tidy(raw)


_TTML_CODECS = frozenset({"ttml", "stpp", "dfxp"})
_READERS: dict[str, Callable[[bytes], tuple[str, str]]] = {
    "subrip": _subrip,
    "srt": _subrip,
    "webvtt": _webvtt,
    "mov_text": _mov_text,
    "ass": _ass,
    "ssa": _ass,
    "text": _plain,
}
_UNDECLARED_CODECS = frozenset(_READERS) - {"mov_text"}

#: FFmpeg's names of the codecs :func:`cues_from_packet` reads. Others carry pictures.
CUE_CODECS = frozenset(_READERS) | _TTML_CODECS

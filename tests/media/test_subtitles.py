"""Subtitles as cues: files FFmpeg writes, packet forms it does not."""

import subprocess

import av
import pytest

from mcai_worker_sdk.errors import MediaSourceError
from mcai_worker_sdk.media.model.cues import Cue
from mcai_worker_sdk.media.text.subtitles import CUE_CODECS, cues_from_packet, cues_from_ttml
from tests.media.support import NotingWorker, run_job

SUBRIP = """1
00:00:00,500 --> 00:00:01,500
Hello <i>world</i>

2
00:00:02,000 --> 00:00:03,900
{\\an8}Two lines
<font color="#ff0000">red</font> & <b>bold</b>

"""


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sub.srt", []),
        ("sub.vtt", []),
        ("sub.ass", []),
        ("sub.mkv", ["-c:s", "copy"]),
        ("sub.mp4", ["-c:s", "mov_text"]),
        ("ttml.mp4", ["-c:s", "ttml"]),
    ],
)
def test_every_text_codec_gives_the_same_cues(tmp_path, name, options):
    source = tmp_path / "source.srt"
    source.write_text(SUBRIP)
    path = tmp_path / name
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", source, *options, path], check=True)

    cues = []
    with av.open(str(path)) as container:
        stream = container.streams[0]
        codec = stream.codec_context.codec.canonical_name if stream.codec_context else None
        for packet in container.demux(stream):
            if packet.size:
                start, duration = float(packet.pts * stream.time_base), float(packet.duration * stream.time_base)
                cues += cues_from_packet(codec, bytes(packet), start, duration)

    assert [(cue.start_seconds, cue.end_seconds, cue.text) for cue in cues] == [
        (0.5, 1.5, "Hello world"),
        (2.0, 3.9, "Two lines\nred & bold"),
    ]


@pytest.mark.parametrize(
    ("codec", "data", "text", "raw"),
    [
        ("subrip", b"a < b <b>c</b> <x>", "a < b c <x>", "a < b <b>c</b> <x>"),
        ("subrip", b"one\r\ntwo\x00", "one\ntwo", "one\r\ntwo"),
        (
            "webvtt",
            b"<v Ann>&lt;Hi&gt; <00:01.000><c.loud>there</c> &amp; on",
            "<Hi> there & on",
            "<v Ann>&lt;Hi&gt; <00:01.000><c.loud>there</c> &amp; on",
        ),
        ("ass", b"0,0,Default,,0,0,0,,{\\an8}A, b{\\p1}m 0 0 l 9 9{\\p0}\\Nc\\hd", "A, b\nc d", None),
        ("mov_text", b"\x00\x04\xc3\xa9taboxes follow", "éta", "éta"),
        ("mov_text", b"\x00\x06\xfe\xff\x00H\x00i", "Hi", "Hi"),
        ("subrip", b"caf\xe9 \x80 5 \x81", "caf\xe9 \u20ac 5 \ufffd", "caf\xe9 \u20ac 5 \ufffd"),
        ("webvtt", b"l\x92\xe9t\xe9", "l\u2019\xe9t\xe9", "l\u2019\xe9t\xe9"),
        # One damaged byte makes no mojibake of what is UTF-8, nor does it where the codec is always that.
        ("subrip", "été \ufffd".encode() + b"\xff", "été \ufffd\ufffd", "été \ufffd\ufffd"),
        ("mov_text", b"\x00\x04caf\xe9", "caf\ufffd", "caf\ufffd"),
    ],
)
def test_tags_leave_the_text_and_stay_in_the_raw_form(codec, data, text, raw):
    (cue,) = cues_from_packet(codec, data, 1.0, 2.0)

    assert (cue.start_seconds, cue.end_seconds, cue.text) == (1.0, 3.0, text)
    if raw is not None:
        assert cue.raw == raw


def test_a_character_reference_of_any_length_is_read():
    (cue,) = cues_from_packet("webvtt", b"a &#233; &lrm; &#" + b"9" * 5000 + b";", 0.0, 1.0)

    assert cue.text.startswith("a é \u200e \ufffd9")


@pytest.mark.parametrize(("codec", "data"), [("mov_text", b"\x00\x00"), ("subrip", b" "), ("ttml", b""), ("ass", b"")])
def test_an_empty_packet_clears_the_screen_without_a_cue(codec, data):
    assert cues_from_packet(codec, data, 0.0, 1.0) == []


def test_an_unknown_duration_leaves_the_end_open():
    assert cues_from_packet("subrip", b"x", 4.0, None) == [Cue(4.0, None, "x", "x")]
    assert cues_from_packet("subrip", b"x", None, 0) == [Cue(0.0, None, "x", "x")]


def test_a_codec_of_pictures_is_refused():
    assert "dvb_subtitle" not in CUE_CODECS
    with pytest.raises(ValueError, match=r"'dvb_subtitle'.*subrip"):
        cues_from_packet("dvb_subtitle", b"x", 0.0, 1.0)


def ttml(*paragraphs: str) -> bytes:
    return f'<tt xmlns="http://www.w3.org/ns/ttml"><body><div>{"".join(paragraphs)}</div></body></tt>'.encode()


def test_a_whole_ttml_document_gives_its_cues_with_their_xml():
    first, second = cues_from_ttml(ttml('<p begin="1s" end="2s">a<br/><span>b</span></p>', '<p begin="3s">c</p>'))

    assert (first.start_seconds, first.end_seconds, first.text) == (1.0, 2.0, "a\nb")
    assert (second.start_seconds, second.end_seconds, second.text) == (3.0, None, "c")
    assert "<tt:br" in first.raw


def test_a_ttml_sample_shows_its_cues_while_it_lasts():
    document = ttml('<p begin="1s" end="5s">a</p>', '<p begin="5s" end="20s">b</p>', '<p begin="30s" end="31s">c</p>')

    cues = cues_from_packet("ttml", document, 4.0, 6.0)

    assert [(cue.start_seconds, cue.end_seconds, cue.text) for cue in cues] == [(4.0, 5.0, "a"), (5.0, 10.0, "b")]


def test_a_ttml_sample_that_counts_from_its_own_begin_is_moved_there():
    cues = cues_from_packet("stpp", ttml('<p begin="1s" end="2s">a</p>'), 100.0, 10.0)

    assert [(cue.start_seconds, cue.end_seconds) for cue in cues] == [(101.0, 102.0)]


def test_a_ttml_document_that_cannot_be_read_is_an_error():
    with pytest.raises(MediaSourceError, match="not well-formed"):
        cues_from_ttml(b"<tt>")


def test_the_last_line_of_an_lrc_file_has_no_end(tmp_path):
    source = tmp_path / "song.lrc"
    source.write_text("[00:01.00]One\n[00:03.50]Two\n[00:12.00]Last\n")
    worker = NotingWorker("SUBTITLE")

    run_job(worker, source, tmp_path)

    assert [(cue.start_seconds, cue.end_seconds, cue.text) for cue in worker.frames[0]] == [
        (1.0, 3.5, "One"),
        (3.5, 12.0, "Two"),
        (12.0, None, "Last"),
    ]


def test_a_duration_below_zero_is_none():
    assert cues_from_packet("text", b"x", 4.0, -1e-6) == [Cue(4.0, None, "x", "x")]

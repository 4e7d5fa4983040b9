"""WebVTT in MP4: boxes in samples, which FFmpeg passes on as they are."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from mcai_worker_sdk.media.model.cues import Cue
from mcai_worker_sdk.media.text.subtitles import cues_from_packet, encoding_fault
from tests.media.support import NotingWorker, run_job


def box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I", 8 + len(content)) + kind + content


def full_box(kind: bytes, *parts: bytes, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", flags), *parts)


def cue_box(text: str, *before: bytes) -> bytes:
    return box(b"vttc", *before, box(b"payl", text.encode()))


def mp4(samples: list[tuple[int, bytes]]) -> bytes:
    """A file with one track of WebVTT: samples with their durations in milliseconds."""
    contents = [content for _, content in samples]
    duration = sum(ms for ms, _ in samples)
    head = box(b"ftyp", b"isom", struct.pack(">I", 512), b"isomiso2mp41")
    offsets, position = [], len(head) + 8
    for content in contents:
        offsets.append(struct.pack(">I", position))
        position += len(content)
    unity = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    count = struct.pack(">I", len(samples))
    entry = box(b"wvtt", bytes(6), struct.pack(">H", 1), box(b"vttC", b"WEBVTT"))
    table = box(
        b"stbl",
        full_box(b"stsd", struct.pack(">I", 1), entry),
        full_box(b"stts", count, *(struct.pack(">2I", 1, ms) for ms, _ in samples)),
        full_box(b"stsc", struct.pack(">4I", 1, 1, 1, 1)),
        full_box(b"stsz", struct.pack(">I", 0), count, *(struct.pack(">I", len(content)) for content in contents)),
        full_box(b"stco", count, *offsets),
    )
    media = box(
        b"mdia",
        full_box(b"mdhd", struct.pack(">4I2H", 0, 0, 1000, duration, 0x55C4, 0)),
        full_box(b"hdlr", bytes(4), b"text", bytes(12), b"subtitles\0"),
        box(
            b"minf",
            full_box(b"nmhd"),
            box(b"dinf", full_box(b"dref", struct.pack(">I", 1), full_box(b"url ", flags=1))),
            table,
        ),
    )
    track_head = full_box(
        b"tkhd", struct.pack(">5I", 0, 0, 1, 0, duration), bytes(16), unity, struct.pack(">2I", 0, 0), flags=7
    )
    movie_head = full_box(
        b"mvhd",
        struct.pack(">4IIH", 0, 0, 1000, duration, 0x10000, 0x100),
        bytes(10),
        unity,
        bytes(24),
        struct.pack(">I", 2),
    )
    return head + box(b"mdat", *contents) + box(b"moov", movie_head, box(b"trak", track_head, media))


NO_CUE = box(b"vtte")
SAMPLES = [
    (1000, NO_CUE),
    (2000, cue_box("<v Ann>Hello &amp; <i>you</i>\nthere", box(b"iden", b"1"), box(b"sttg", b"line:0"))),
    (1000, cue_box("é") + cue_box("two") + box(b"vtta", b"NOTE nobody sees it")),
    (500, b""),
    (700, cue_box("")),
    (800, box(b"vttc", box(b"iden", b"no text"))),
]
CUES = [
    Cue(1.0, 3.0, "Hello & you\nthere", "<v Ann>Hello &amp; <i>you</i>\nthere"),
    Cue(3.0, 4.0, "é", "é"),
    Cue(3.0, 4.0, "two", "two"),
]


@pytest.fixture
def source(tmp_path) -> Path:
    path = tmp_path / "webvtt.mp4"
    path.write_bytes(mp4(SAMPLES))
    return path


def test_a_track_gives_its_cues(tmp_path, source, caplog):
    worker = NotingWorker("SUBTITLE DATA")

    run_job(worker, source, tmp_path)

    assert worker.context.streams[0].codec_name == "webvtt"
    assert worker.frames[0] == CUES
    assert caplog.messages == []


def test_a_range_takes_the_cues_that_begin_in_it(tmp_path, source):
    worker = NotingWorker("SUBTITLE DATA")

    run_job(worker, source, tmp_path, sdk_start_index=2000, sdk_stop_index=3500)

    assert worker.frames[0] == CUES[1:]


@pytest.mark.parametrize(
    ("sample", "texts"),
    [
        (NO_CUE, []),
        (cue_box("whole") + cue_box("cut off")[:-3], ["whole", "cut"]),
        (cue_box("whole") + b"\0\0\0\0vttc", ["whole"]),
        (cue_box("whole") + b"\0\0", ["whole"]),
        (b"\0\xff\xff\xffvttc", []),
    ],
)
def test_a_sample_that_is_cut_gives_what_there_is(sample, texts):
    assert [cue.text.strip() for cue in cues_from_packet("webvtt", sample, 0.0, 1.0)] == texts


def test_text_that_is_no_box_is_text():
    (cue,) = cues_from_packet("webvtt", b"The vttc", 0.0, 1.0)

    assert cue.text == "The vttc"
    assert encoding_fault("webvtt", cue_box("x" * 200)) is None

"""Frames without a time stamp, or with a wrong one, get the one ffmpeg goes by; the others keep theirs."""

from __future__ import annotations

import re
from fractions import Fraction
from types import SimpleNamespace

import pytest

from mcai_worker_sdk.media.reading.decoding.timestamps import AudioTimes, VideoTimes
from tests.media.conftest import ffmpeg
from tests.media.support import NotingWorker, filters, picture_md5, run_job
from tests.media.versions import FFMPEG_COMMAND

#: ffmpeg counts on in microseconds where a time stamp is missing; a time base may be as coarse as this.
ROUNDING_SECONDS = Fraction(1, 1000)
#: What ffmpeg calls the time base of the source; it knows the word since version 6.1, and no other since version 9.
SOURCE_TIME_BASE = "demux" if FFMPEG_COMMAND >= 7 else "-1"

TIMED = [
    "h264_bframes.mp4",
    "h264_opengop.mp4",
    "h264_offset.ts",
    "vfr.mp4",
    "vp9_opus.webm",
    "aac.adts.aac",
    "mp3.mp3",
]
UNTIMED = ["h264_bframes.h264", "h264_plain.h264", "hevc_bframes.hevc"]
WRONGLY_TIMED = ["h264_bframes.avi", "mpeg4_bframes.avi"]


def ffmpeg_times(path, kind):
    """The times of the frames of the first stream of a kind, in seconds."""
    out = ffmpeg(
        "-copyts", "-i", str(path), "-map", f"0:{kind}:0", "-fps_mode", "passthrough",
        "-enc_time_base", SOURCE_TIME_BASE, "-f", "framemd5", "-",
    ).decode()  # fmt: skip
    time_base = Fraction(re.search(r"^#tb 0: (\S+)", out, re.MULTILINE)[1])
    return [int(pts) * time_base for pts in re.findall(r"^0, +-?\d+, +(-?\d+),", out, re.MULTILINE)]


def our_times(path, folder, kind, **values):
    worker = NotingWorker({"v": "VIDEO", "a": "AUDIO"}[kind], note=lambda frame: frame.pts * frame.time_base)
    run_job(worker, path, folder, **values)
    (times,) = worker.frames.values()
    return times


@pytest.mark.parametrize(
    "name", [*TIMED, *UNTIMED, *WRONGLY_TIMED, "mpeg2_bframes.m2v", "cover.mp3", "adpcm.wav", "wma.asf"]
)
def test_every_frame_has_the_time_it_has_in_ffmpeg(media_files, tmp_path, name):
    path = media_files(name)
    kind = "a" if name in {"aac.adts.aac", "mp3.mp3", "adpcm.wav", "wma.asf"} else "v"

    ours, theirs = our_times(path, tmp_path, kind), ffmpeg_times(path, kind)

    if name == "mpeg2_bframes.m2v" and FFMPEG_COMMAND >= 7:
        # It stores no time stamps. FFmpeg's libraries count the first picture's from when the one before it would be
        # decoded; the ffmpeg command did so too, and counts from 0 since version 7.
        theirs = [time + Fraction(1, 25) for time in theirs]
    assert len(ours) == len(theirs) > 0
    assert max(abs(our - their) for our, their in zip(ours, theirs, strict=True)) <= ROUNDING_SECONDS


@pytest.mark.parametrize(
    ("chain", "graph"),
    [
        (filters(("fps", {"fps": 25})), "fps=25"),
        (filters(("fps", {"fps": 50})), "fps=50"),
        (filters(("fps", {"fps": 10})), "fps=10"),
        (filters(("trim", {"start": 1, "end": 2})), "trim=start=1:end=2"),
        (filters(("select", {"expr": "between(t,1,2)"})), "select='between(t,1,2)'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("name", ["h264_bframes.h264", "hevc_bframes.hevc", "h264_bframes.avi", "h264_bframes.mp4"])
def test_a_filter_that_goes_by_time_gives_the_pictures_it_gives_in_ffmpeg(media_files, tmp_path, name, chain, graph):
    path = media_files(name)
    worker = NotingWorker("VIDEO", chain, note=picture_md5)
    run_job(worker, path, tmp_path)

    out = ffmpeg("-i", str(path), "-map", "0:v:0", "-vf", graph, "-fps_mode", "passthrough", "-f", "framemd5", "-")

    assert worker.frames[0] == re.findall(r"([0-9a-f]{32})$", out.decode(), re.MULTILINE)


@pytest.mark.parametrize("name", [*UNTIMED, *WRONGLY_TIMED])
def test_a_second_of_a_source_without_times_is_as_long_as_ffmpeg_counts_it(media_files, tmp_path, name):
    path = media_files(name)

    ours = our_times(path, tmp_path, "v", sdk_start_index=1000, sdk_stop_index=2000)

    assert len(ours) == sum(1 <= time < 2 for time in ffmpeg_times(path, "v")) in {25, 30}


def test_a_cover_passes_a_filter_that_goes_by_time(media_files, tmp_path):
    worker = NotingWorker("VIDEO", filters(("select", {"expr": "gte(t,0)"})))
    run_job(worker, media_files("cover.mp3"), tmp_path)
    (pictures,) = worker.frames.values()
    assert len(pictures) == 1


def video_times(*pairs, rate=25, format_name="matroska,webm"):
    """What becomes of the (pts, dts) of pictures of a stream with 1/100 s as its time base."""
    stream = SimpleNamespace(
        time_base=Fraction(1, 100),
        guessed_rate=rate and Fraction(rate),
        container=SimpleNamespace(format=SimpleNamespace(name=format_name)),
        codec_context=SimpleNamespace(has_b_frames=True),
    )
    times = VideoTimes(stream)
    frames = [SimpleNamespace(pts=pts, dts=dts) for pts, dts in pairs]
    for frame in frames:
        times.stamp([frame])
    return [frame.pts for frame in frames]


def test_good_time_stamps_are_kept_whatever_the_others_say():
    assert video_times((0, None), (3, 9), (4, 9), (90, 9), (91, None)) == [0, 3, 4, 90, 91]


def test_a_source_that_starts_anew_starts_anew():
    assert video_times((96, 96), (100, 100), (0, 0), (4, 4), (8, 8)) == [96, 100, 0, 4, 8]


def test_time_stamps_that_run_backward_give_way_to_those_of_decoding():
    assert video_times((4, 8), (12, 12), (16, 16), (8, 20), (24, 24), (20, None), (28, None)) == [
        4, 12, 16, 20, 24, 28, 32,
    ]  # fmt: skip


def test_an_avi_stores_no_time_stamps_to_be_trusted():
    assert video_times((4, 8), (12, 12), (16, 16), format_name="avi") == [8, 12, 16]


def test_pictures_without_any_time_stamp_keep_the_rate_of_the_stream():
    assert video_times(*[(None, None)] * 5, rate=30) == [0, 3, 7, 10, 13]
    assert video_times((7, 7), (None, None), (None, None), rate=30) == [7, 10, 14]
    assert video_times(*[(None, None)] * 3, rate=None) == [0, 1, 2]


def audio_times(*lists):
    """What becomes of the time stamps of blocks of 1024 samples at 44.1 kHz, in milliseconds."""
    times = AudioTimes(SimpleNamespace(time_base=Fraction(1, 1000)))
    frames = [[SimpleNamespace(pts=pts, dts=None, samples=1024, sample_rate=44_100) for pts in pts] for pts in lists]
    for made in frames:
        times.stamp(made)
    return [frame.pts for made in frames for frame in made]


def test_sound_without_a_time_stamp_follows_the_sound_before():
    assert audio_times([None], [None, None], [None]) == [0, 23, 46, 70]
    assert audio_times([100, None], [146, None], [None]) == [100, 123, 146, 169, 192]


def test_a_single_wrong_time_stamp_leaves_the_others_alone():
    assert video_times((0, 0), (4, 4), (900, 8), (12, 12), (16, 16), (20, None)) == [0, 4, 900, 12, 16, 20]
    assert video_times((8, 4), (12, 8), (1, 12), (20, 16), (24, 20)) == [8, 12, 12, 20, 24]
    assert video_times((900, 0), (4, 4), (8, 8)) == [900, 4, 8]


def test_wrong_time_stamps_that_come_often_are_the_streams():
    assert video_times((0, 0), (4, 4), (1, 8), (12, 12), (2, 16), (20, 20), (23, 24)) == [0, 4, 8, 12, 16, 20, 24]

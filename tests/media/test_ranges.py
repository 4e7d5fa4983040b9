"""``sdk_start_index`` and ``sdk_stop_index``: what a linear decode gives in [start, stop)."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from mcai_worker_sdk.errors import ParameterError
from mcai_worker_sdk.media.model.ranges import TimeRange
from mcai_worker_sdk.media.reading.decoding.lead_in import LeadIn
from mcai_worker_sdk.media.reading.seeking import seek_to_range
from tests.media.support import NotingWorker, filters, picture_md5, run_job


def note(frame):
    content = picture_md5(frame) if frame.is_video else b"".join(bytes(plane) for plane in frame.data)
    return frame.pts * frame.time_base, content


def frames_of(path, folder, kinds="VIDEO AUDIO", chain=None, **values):
    worker = NotingWorker(kinds, chain, note=note)
    outcome = run_job(worker, path, folder, **values)
    return worker.frames, outcome


@pytest.mark.parametrize(("start_ms", "stop_ms"), [(1000, 3000), (1019, 2021), (2500, None), (None, 700), (0, 10_000)])
@pytest.mark.parametrize(
    "name",
    [
        "h264_bframes.mp4",
        "h264_opengop.mp4",
        "h264_refresh.mp4",
        "prores.mov",
        "vp9_opus.webm",
        "aac.adts.aac",
        "h264_bframes.h264",
        "hevc_bframes.hevc",
        "h264_bframes.avi",
    ],
)
def test_a_range_holds_the_frames_of_a_linear_decode(media_files, tmp_path, name, start_ms, stop_ms):
    path = media_files(name)
    linear, _ = frames_of(path, tmp_path)
    values = {"sdk_start_index": start_ms, "sdk_stop_index": stop_ms}
    ranged, _ = frames_of(path, tmp_path, **{key: value for key, value in values.items() if value is not None})
    start = Fraction(start_ms or 0, 1000)
    stop = Fraction(stop_ms, 1000) if stop_ms is not None else Fraction(1000)
    assert ranged == {
        index: [(time, content) for time, content in frames if start <= time < stop] for index, frames in linear.items()
    }
    assert all(ranged.values())


@pytest.mark.parametrize("name", ["h264.ts", "h264_offset.ts", "h264_offset.mkv"])
def test_limits_are_compared_with_the_time_stamps_of_the_source(media_files, tmp_path, name):
    path = media_files(name)
    linear, _ = frames_of(path, tmp_path)
    first = min(frames[0][0] for frames in linear.values())
    start_ms, stop_ms = int(first * 1000) + 900, int(first * 1000) + 2000
    ranged, _ = frames_of(path, tmp_path, sdk_start_index=start_ms, sdk_stop_index=stop_ms)
    start, stop = Fraction(start_ms, 1000), Fraction(stop_ms, 1000)
    assert ranged == {
        index: [(time, content) for time, content in frames if start <= time < stop] for index, frames in linear.items()
    }
    assert len(ranged[0]) in {27, 28}


def test_every_stream_of_a_file_that_starts_late_is_read_to_its_own_end(media_files, tmp_path):
    frames, _ = frames_of(media_files("h264_offset.ts"), tmp_path)
    assert {index: len(items) for index, items in frames.items()} == {0: 100, 1: 167}


def test_a_filter_that_changes_the_time_base_does_not_move_the_range(media_files, tmp_path):
    frames, _ = frames_of(
        media_files("pcm_s16.wav"),
        tmp_path,
        "AUDIO",
        filters(("aresample", {"sample_rate": 16000})),
        sdk_start_index=2000,
        sdk_stop_index=4000,
    )
    times = [time for time, _ in frames[0]]
    assert 2 <= times[0] < Fraction(21, 10)
    assert Fraction(39, 10) < times[-1] < 4


def test_settb_does_not_move_the_range(media_files, tmp_path):
    frames, _ = frames_of(
        media_files("h264_bframes.mp4"),
        tmp_path,
        "VIDEO",
        filters(("settb", {"expr": "1/1000"})),
        sdk_start_index=1000,
        sdk_stop_index=2000,
    )
    assert [time for time, _ in frames[0]] == [1 + Fraction(n, 25) for n in range(25)]


@pytest.mark.parametrize(("start_ms", "stop_ms"), [(9000, 12_000), (3000, 1000), (2000, 2000), (0, 0), (0, -5)])
def test_a_range_without_a_frame_completes_with_no_result(media_files, tmp_path, start_ms, stop_ms):
    frames, outcome = frames_of(
        media_files("h264_bframes.mp4"), tmp_path, sdk_start_index=start_ms, sdk_stop_index=stop_ms
    )
    assert frames == {}
    assert outcome.destination.read_text() == '{"frames":[]}'
    assert outcome.progressions[-1] == 100


def test_a_negative_start_is_the_beginning(media_files, tmp_path):
    frames, _ = frames_of(media_files("h264_bframes.mp4"), tmp_path, "VIDEO", sdk_start_index=-500)
    assert len(frames[0]) == 100


def test_a_limit_that_is_no_whole_number_is_refused(media_files, tmp_path):
    with pytest.raises(ParameterError, match=r"Parameter 'sdk_stop_index' is 'soon'; expected a whole number of milli"):
        frames_of(media_files("h264_bframes.mp4"), tmp_path, sdk_stop_index="soon")


def test_a_limit_between_two_ticks_becomes_the_later_one():
    ticks = TimeRange(start_ms=1, stop_ms=2).in_ticks(Fraction(1, 600))
    assert (ticks.start, ticks.stop) == (1, 2)


def test_a_range_far_into_a_file_is_sought_and_gives_the_same_pictures(media_files, tmp_path, monkeypatch):
    path = media_files("h264_long_gop.mkv")
    linear, _ = frames_of(path, tmp_path, "VIDEO", sdk_start_index=13_000, sdk_stop_index=14_000)
    monkeypatch.setattr("mcai_worker_sdk.media.reading.seeking._WORTH_BYTES", 0)
    sought = []
    monkeypatch.setattr(
        "mcai_worker_sdk.media.reading.pipeline.seek_to_range",
        lambda *arguments: sought.append(seek_to_range(*arguments)) or sought[-1],
    )
    ranged, _ = frames_of(path, tmp_path, "VIDEO", sdk_start_index=13_000, sdk_stop_index=14_000)
    assert sought == [True]
    assert ranged == linear
    assert len(ranged[0]) == 25


class MeasuredLeadIn(LeadIn):
    """Notes how many bytes were kept at most, and how many packets were decoded before their turn."""

    peak_bytes = 0
    early_count = 0

    def add(self, packet):
        due = super().add(packet)
        MeasuredLeadIn.early_count += len(due)
        MeasuredLeadIn.peak_bytes = max(MeasuredLeadIn.peak_bytes, sum(kept.size for kept in self._packets))
        return due


@pytest.fixture
def measured(monkeypatch):
    MeasuredLeadIn.peak_bytes = MeasuredLeadIn.early_count = 0
    monkeypatch.setattr("mcai_worker_sdk.media.reading.decoding.frames.LeadIn", MeasuredLeadIn)
    return MeasuredLeadIn


def test_what_is_kept_before_a_range_is_bounded(media_files, tmp_path, monkeypatch, measured):
    monkeypatch.setattr("mcai_worker_sdk.media.reading.decoding.lead_in.LIMIT_BYTES", 20_000)
    path = media_files("h264_one_group.mkv")
    linear, _ = frames_of(path, tmp_path)

    ranged, _ = frames_of(path, tmp_path, sdk_start_index=3500)

    assert ranged == {0: [(time, content) for time, content in linear[0] if time >= Fraction(7, 2)]}
    assert measured.peak_bytes <= 20_000 < path.stat().st_size // 4
    assert measured.early_count > 75


@pytest.mark.parametrize("limit_bytes", [0, 10_000, 25_000, 40_000, 60_000, 2**20])
@pytest.mark.parametrize(
    "name", ["h264_long_gop.mkv", "h264_opengop.mp4", "h264_bframes.avi", "h264_long_then_short.mkv"]
)
def test_groups_too_long_to_be_kept_leave_the_pictures_of_the_range_alone(
    media_files, tmp_path, monkeypatch, name, limit_bytes
):
    path = media_files(name)
    linear, _ = frames_of(path, tmp_path, "VIDEO")
    monkeypatch.setattr("mcai_worker_sdk.media.reading.decoding.lead_in.LIMIT_BYTES", limit_bytes)

    ranged, outcome = frames_of(path, tmp_path, "VIDEO", sdk_start_index=3300)

    assert ranged == {0: [(time, content) for time, content in linear[0] if time >= Fraction(33, 10)]}
    assert outcome.counts == {}


def test_most_pictures_before_a_range_are_not_decoded(media_files, tmp_path, measured):
    frames_of(media_files("h264_long_gop.mkv"), tmp_path, sdk_start_index=14_500)
    assert measured.early_count == 0


def test_large_pictures_are_no_long_group(media_files, tmp_path, monkeypatch, measured):
    monkeypatch.setattr("mcai_worker_sdk.media.reading.decoding.lead_in.LIMIT_BYTES", 1)
    frames_of(media_files("prores.mov"), tmp_path, "VIDEO", sdk_start_index=3000)
    assert measured.early_count == 0


#: Jobs that leave pictures behind in the threads of a decoder, one after the other.
LEAVING_JOBS = """
import pathlib, sys
from tests.media.support import NotingWorker, run_job

for _ in range(150):
    worker = NotingWorker("VIDEO", note=lambda frame: frame.pts)
    run_job(worker, sys.argv[1], pathlib.Path(sys.argv[2]), sdk_stop_index=500)
    assert len(worker.frames[0]) == 13
"""


def test_a_decoder_that_still_works_when_its_range_ends_is_freed(media_files, tmp_path):
    # In a process of its own, which hangs where a thread of the decoder waits for the GIL of the one that frees it.
    arguments = [sys.executable, "-c", LEAVING_JOBS, str(media_files("av1.mkv")), str(tmp_path)]
    subprocess.run(arguments, check=True, timeout=50, cwd=Path(__file__).resolve().parents[2])

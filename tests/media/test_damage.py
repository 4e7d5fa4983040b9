"""Broken sources: what can be decoded is delivered, what is broken is counted, an early end is an error by default."""

from __future__ import annotations

import pytest

from mcai_worker_sdk.errors import MediaSourceError
from mcai_worker_sdk.media.session import MediaOptions
from tests.media.support import NotingWorker, run_job

SKIP = MediaOptions(on_error="skip")
TRUNCATED = {
    "truncated.mp4": {0: (55, 62), 1: (100, 112)},
    "truncated.ts": {0: (55, 63), 1: (95, 102)},
    "truncated.mkv": {0: (55, 63), 1: (24, 26)},
    "truncated.wav": {0: (28, 30)},
}


@pytest.mark.parametrize("name", sorted(TRUNCATED))
def test_a_source_that_ends_early_delivers_what_it_has_and_fails(media_files, tmp_path, name):
    worker = NotingWorker()
    with pytest.raises(MediaSourceError, match=rf"Source '.*{name}' ends early: .*; expected it to be read to its end"):
        run_job(worker, media_files(name), tmp_path)
    counts = {index: len(frames) for index, frames in worker.frames.items()}
    assert counts.keys() == TRUNCATED[name].keys()
    assert all(low <= counts[index] <= high for index, (low, high) in TRUNCATED[name].items())
    assert worker.endings == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", sorted(TRUNCATED))
def test_an_early_end_can_be_skipped(media_files, tmp_path, name, caplog):
    worker = NotingWorker()
    outcome = run_job(worker, media_files(name), tmp_path, options=SKIP)
    assert outcome.progressions[-1] == 100
    assert len(outcome.entries) == len(worker.calls) > 0
    assert "ends early" in caplog.text


def test_missing_packets_are_counted(media_files, tmp_path):
    outcome = run_job(NotingWorker(), media_files("truncated.mp4"), tmp_path, options=SKIP)
    assert outcome.counts["missing_packets"] == (100 - 60) + (189 - 109)


@pytest.mark.parametrize("name", ["holed.ts", "holed.mp4"])
def test_corrupt_parts_are_counted_and_the_rest_is_delivered(media_files, tmp_path, name, caplog):
    worker = NotingWorker()
    outcome = run_job(worker, media_files(name), tmp_path)
    assert sum(outcome.counts.values()) > 0
    assert set(outcome.counts) <= {"corrupt_packets", "corrupt_frames"}
    assert 80 <= len(worker.frames[0]) <= 100
    assert "The source is damaged" in caplog.text


def test_a_range_before_the_cut_is_no_early_end(media_files, tmp_path):
    worker = NotingWorker()
    outcome = run_job(worker, media_files("truncated.mp4"), tmp_path, sdk_stop_index=1000)
    assert len(worker.frames[0]) == 25
    assert outcome.counts == {}


def test_a_file_without_its_index_cannot_be_opened(media_files, tmp_path):
    with pytest.raises(MediaSourceError, match="cannot be opened: Invalid data found"):
        run_job(NotingWorker(), media_files("moov_missing.mp4"), tmp_path)


def test_a_stream_of_which_nothing_can_be_decoded_fails(media_files, tmp_path):
    with pytest.raises(MediaSourceError, match="nothing of stream 0 can be decoded"):
        run_job(NotingWorker("VIDEO"), media_files("broken.png"), tmp_path)


def test_a_device_that_is_not_there_leaves_decoding_to_the_cpu(media_files, tmp_path, caplog):
    worker = NotingWorker("VIDEO")
    run_job(worker, media_files("h264_bframes.mp4"), tmp_path, options=MediaOptions(hwaccel="vaapi"))
    assert len(worker.frames[0]) == 100
    assert "No vaapi device can decode here" in caplog.text

"""Progression and throughput, without a source."""

from __future__ import annotations

import logging

from mcai_worker_sdk.media import FormatContext, StreamDescriptor
from mcai_worker_sdk.media.model.ranges import TimeRange
from mcai_worker_sdk.media.progression import ProgressionMeter, ThroughputLog


def meter(time_range=None, container=None, **facts):
    stream = StreamDescriptor(index=0, kind="AVMEDIA_TYPE_VIDEO", **facts)
    context = FormatContext(**{"format_name": "x", "format_long_name": "x", **(container or {})}, streams=(stream,))
    published = []
    return ProgressionMeter(context, [0], time_range or TimeRange(), published.append), published


def test_percents_are_those_of_the_known_range_each_once():
    made, published = meter(start_time=10.0, duration=20.0)
    for time in (10.1, 15.0, 15.05, 14.0, 29.99, 35.0):
        made.reach(time)
    made.complete()
    assert published == [25, 99, 100]


def test_a_range_narrows_what_is_whole():
    made, published = meter(TimeRange(start_ms=12_000, stop_ms=14_000), start_time=10.0, duration=20.0)
    made.reach(13.0)
    assert published == [50]


def test_an_unknown_duration_gives_the_end_only():
    made, published = meter()
    made.reach(5.0)
    made.complete()
    assert published == [100]


def test_a_matroska_file_ends_where_its_duration_says_wherever_it_begins():
    matroska = {"format_name": "matroska,webm", "start_time": 10.0, "duration": 14.0}
    made, published = meter(container=matroska, start_time=10.0)
    made.reach(12.0)
    assert published == [50]


def test_other_containers_count_their_duration_from_their_beginning():
    made, published = meter(container={"start_time": 10.0, "duration": 14.0}, start_time=10.0)
    made.reach(17.0)
    assert published == [50]


def test_a_live_job_logs_its_throughput_once_a_minute(caplog):
    times = iter([0.0, 30.0, 61.0, 62.0])
    log = ThroughputLog(7, clock=lambda: next(times))
    with caplog.at_level(logging.INFO, logger="mcai_worker_sdk.media"):
        for _ in range(3):
            log.count(100)
    assert [record.getMessage() for record in caplog.records] == ["The live source gave 200 frames in 61 s"]
    assert caplog.records[0].job_id == 7


def test_an_mp4_that_begins_late_ends_where_its_duration_says():
    made, published = meter(start_time=100.0, duration=110.0, container={"format_name": "mov,mp4,m4a"})
    for time in (105.0, 107.5):
        made.reach(time)
    assert published == [50, 75]

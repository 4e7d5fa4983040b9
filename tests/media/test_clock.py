"""Clocks that jump, wrap, or show a single wrong time: what becomes of ranges, filters and time stamps."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import pytest
from av.stream import Disposition

from mcai_worker_sdk.media.reading.clock import FrameClock, SourceClock
from tests.media.bits import AUDIO_ID, VIDEO_ID, flip_ctts_bit, flip_pts_bit
from tests.media.conftest import ffmpeg
from tests.media.support import NotingWorker, filters, run_job
from tests.media.test_live_urls import tcp_server
from tests.media.versions import FFMPEG_INSIDE

#: 6 s each: 150 pictures.
SECONDS = 6
PICTURES = 150
WRAP_SECONDS = Fraction(2**33, 90_000)


def segment(offset: float, seconds: int = SECONDS, b_frames: int = 2) -> bytes:
    """A transport stream whose clock shows ``offset`` at its first picture."""
    return ffmpeg(
        "-f", "lavfi", "-i", f"testsrc2=s=64x36:r=25:d={seconds}", "-f", "lavfi", "-i", f"sine=440:r=48000:d={seconds}",
        "-c:v", "libx264", "-preset", "ultrafast", "-bf", str(b_frames), "-g", "25", "-pix_fmt", "yuv420p",
        "-c:a", "mp2", "-muxdelay", "0", "-muxpreload", "0", "-output_ts_offset", str(offset), "-f", "mpegts", "-",
    )  # fmt: skip


@pytest.fixture(scope="module")
def segments(media_files):
    return {offset: segment(offset) for offset in (100, 1)}


@pytest.fixture(scope="module")
def plain(media_files):
    """Without B-frames: pictures have no time stamp of decoding of their own."""
    return segment(1, b_frames=0)


def times_of(path, folder, kind="VIDEO", chain=None, **values):
    worker = NotingWorker(kind, chain, note=lambda frame: frame.pts * frame.time_base)
    outcome = run_job(worker, path, folder, **values)
    return next(iter(worker.frames.values()), []), outcome


def written(folder, data, name="made.ts"):
    path = folder / name
    path.write_bytes(data)
    return path


def playlist(folder, first, second):
    (folder / "first.ts").write_bytes(first)
    (folder / "second.ts").write_bytes(second)
    path = folder / "list.m3u8"
    path.write_text(
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:6\n#EXTINF:6.0,\nfirst.ts\n#EXT-X-DISCONTINUITY\n"
        "#EXTINF:6.0,\nsecond.ts\n#EXT-X-ENDLIST\n"
    )
    return path


JUMPS = pytest.mark.parametrize("order", [(100, 1), (1, 100)], ids=["backward", "forward"])
FPS_10 = filters(("fps", {"fps": 10}))


@JUMPS
@pytest.mark.parametrize("form", ["ts", "m3u8"])
def test_filters_that_go_by_time_begin_anew_behind_a_jump(segments, tmp_path, order, form):
    first, second = (segments[offset] for offset in order)
    path = written(tmp_path, first + second) if form == "ts" else playlist(tmp_path, first, second)

    times, outcome = times_of(path, tmp_path, chain=FPS_10)

    assert times == [offset + Fraction(n, 10) for offset in order for n in range(60)]
    assert outcome.progressions[-1] == 100


@JUMPS
def test_a_live_source_that_starts_anew_gives_no_more_pictures_than_it_sent(segments, tmp_path, order):
    with tcp_server(b"".join(segments[offset] for offset in order), hold=False) as url:
        times, _ = times_of(url, tmp_path, chain=FPS_10)
    assert len(times) == 120


@JUMPS
def test_time_stamps_stay_those_of_the_source_over_a_jump(segments, tmp_path, order):
    path = written(tmp_path, b"".join(segments[offset] for offset in order))
    times, _ = times_of(path, tmp_path)
    assert times == [offset + Fraction(n, 25) for offset in order for n in range(PICTURES)]


@JUMPS
@pytest.mark.parametrize("kind", ["VIDEO", "AUDIO"])
def test_a_range_counts_on_over_a_jump(segments, tmp_path, order, kind):
    path = written(tmp_path, b"".join(segments[offset] for offset in order))
    begin = order[0] * 1000

    times, _ = times_of(path, tmp_path, kind, sdk_start_index=begin + 4000, sdk_stop_index=begin + 9000)

    assert len(times) == (125 if kind == "VIDEO" else 208)
    assert order[0] + 4 <= times[0] < order[0] + 4 + Fraction(1, 25)
    assert order[1] + 3 - Fraction(2, 25) < times[-1] < order[1] + 3


@pytest.fixture(scope="module")
def slides(media_files):
    """A picture a minute for 30 hours: the clock wraps after 26.5."""
    return ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=s=64x36:r=1/60:d=108000", "-c:v", "libx264", "-preset", "ultrafast", "-bf", "0",
        "-pix_fmt", "yuv420p", "-f", "mpegts", "-",
    )  # fmt: skip


def test_a_clock_that_wraps_goes_on_for_ever(slides, tmp_path):
    path = written(tmp_path, slides)

    times, _ = times_of(path, tmp_path)
    filtered, _ = times_of(path, tmp_path, chain=filters(("fps", {"fps": "1/60"})))
    doubled, _ = times_of(path, tmp_path, chain=filters(("fps", {"fps": "1/30"})))
    ranged, _ = times_of(path, tmp_path, sdk_start_index=97_200_000, sdk_stop_index=100_800_000)

    assert times == [times[0] + 60 * n for n in range(1800)]
    assert len(filtered) == 1800
    assert len(doubled) == 3600
    assert ranged == [time for time in times if 97_200 <= time < 100_800]
    assert len(ranged) == 60


def test_a_range_may_lie_before_the_wrap(media_files, tmp_path):
    path = written(tmp_path, segment(float(WRAP_SECONDS) - 10, seconds=14))
    times, _ = times_of(path, tmp_path, sdk_start_index=-8000, sdk_stop_index=-5000)
    assert len(times) == 75
    assert times[0] == pytest.approx(-8, abs=0.04)
    assert len(times_of(path, tmp_path, sdk_stop_index=-5000)[0]) in {125, 126}
    assert len(times_of(path, tmp_path, sdk_start_index=0)[0]) in {99, 100}


# --- a single wrong time -------------------------------------------------------------------------------------------


def off(times, right):
    return [number for number, (time, good) in enumerate(zip(times, right, strict=True)) if time != good]


@pytest.mark.parametrize("bit", [32, 31, 25, 20, 17])
@pytest.mark.parametrize("number", [0, 1, 60])
@pytest.mark.parametrize("stream", ["with B-frames", "without", "audio"])
def test_a_flipped_bit_of_one_time_stamp_moves_no_other(segments, plain, tmp_path, stream, number, bit):
    data = plain if stream == "without" else segments[1]
    kind, stream_id = ("AUDIO", AUDIO_ID) if stream == "audio" else ("VIDEO", VIDEO_ID)
    whole, path = written(tmp_path, data, "whole.ts"), written(tmp_path, flip_pts_bit(data, number, bit, stream_id))
    right, _ = times_of(whole, tmp_path, kind)

    times, _ = times_of(path, tmp_path, kind)
    ranged, _ = times_of(path, tmp_path, kind, sdk_start_index=2000, sdk_stop_index=5000)

    assert len(off(times, right)) == 1
    others = [time for time in right if 2 <= time < 5]
    assert len(set(others) - set(ranged)) <= 1
    assert len(ranged) <= len(others) + 1


@pytest.mark.parametrize("bit", [31, 20, 17])
@pytest.mark.parametrize("b_frames", [True, False])
def test_a_wrong_time_stamp_makes_no_picture_for_a_filter(segments, plain, tmp_path, b_frames, bit):
    path = written(tmp_path, flip_pts_bit(segments[1] if b_frames else plain, 60, bit))
    times, _ = times_of(path, tmp_path, chain=FPS_10)
    assert times == [1 + Fraction(n, 10) for n in range(60)]


@pytest.mark.parametrize("bit", [31, 28, 25, 20, 14, 12])
def test_one_wrong_offset_in_an_mp4_moves_no_other_picture(media_files, tmp_path, bit):
    whole = media_files("h264_bframes.mp4")
    right, _ = times_of(whole, tmp_path)
    path = written(tmp_path, flip_ctts_bit(whole.read_bytes(), 30, bit), "made.mp4")

    times, outcome = times_of(path, tmp_path)
    ranged, _ = times_of(path, tmp_path, sdk_start_index=1000, sdk_stop_index=3000)

    # FFmpeg before 8 lets an offset of hours shift every decoding time, and loses two of the first pictures by that.
    lost = 2 if bit >= 28 and FFMPEG_INSIDE < 8 else 0
    assert len(set(right) - set(times)) == 1 + lost
    # A time beyond its edit list takes the picture out of the film.
    assert len(times) - len(right) in ({-lost} if lost else {0, -1})
    assert len({time for time in right if 1 <= time < 3} - set(ranged)) <= 1
    assert outcome.counts == {}


# --- the clocks alone ----------------------------------------------------------------------------------------------


def stream_of(index=0, kind="video", rate=25):
    return SimpleNamespace(
        index=index,
        type=kind,
        time_base=Fraction(1, 90_000),
        guessed_rate=rate and Fraction(rate),
        disposition=Disposition(0),
    )


def followed(*packets, streams=None, format_name="mpegts"):
    """The unwrapped time and the time that counts on of packets given as (stream index, seconds), in seconds."""
    container = SimpleNamespace(format=SimpleNamespace(name=format_name), start_time=0)
    clock = SourceClock(container, streams or [stream_of(0), stream_of(1, "audio")])
    rows = []
    for index, seconds in packets:
        time = None if seconds is None else round(seconds * 90_000)
        packet = SimpleNamespace(stream_index=index, pts=time, dts=time, duration=3600)
        clock.follow(packet)
        if time is not None:
            rows.append((packet.pts / 90_000, (packet.pts + clock.offset(index)) / 90_000))
    return rows, clock


def test_every_wrap_of_a_clock_is_undone():
    day = 43_200
    rows, _ = followed(*[(0, (n * 8 + 1) % float(WRAP_SECONDS)) for n in range(4 * day // 8)])
    assert [time for time, _ in rows[:: day // 8]] == pytest.approx([1, day + 1, 2 * day + 1, 3 * day + 1])
    assert all(time == counted for time, counted in rows)


def test_a_stream_that_pauses_over_a_wrap_finds_its_time():
    subtitles = stream_of(1, "subtitle", None)
    hours = [(0, (n * 5) % float(WRAP_SECONDS)) for n in range(28 * 720)]
    rows, _ = followed((0, 0), (1, 1), *hours, (1, (28 * 3600) % float(WRAP_SECONDS)), streams=[stream_of(), subtitles])
    assert rows[-1][0] == pytest.approx(28 * 3600)


def test_streams_that_follow_a_jump_keep_their_distance():
    rows, _ = followed((0, 5.0), (1, 4.9), (0, 5.04), (0, 100.0), (1, 4.94), (0, 100.04), (1, 99.9), (1, 99.94))
    assert [counted for _, counted in rows] == pytest.approx([5, 4.9, 5.04, 5.08, 4.94, 5.12, 4.98, 5.02])


def test_a_stream_that_pauses_beside_another_did_not_jump():
    sound = [(1, n / 10) for n in range(300)]
    rows, _ = followed((0, 0), (0, 0.04), *sound, (0, 29.9), (0, 29.94))
    assert [counted for _, counted in rows[-2:]] == pytest.approx([29.9, 29.94])


def test_long_steps_of_one_length_are_a_rhythm():
    rows, _ = followed(*[(0, n * 60) for n in range(20)], streams=[stream_of(rate=None)])
    assert [counted for _, counted in rows[3:]] == pytest.approx([n * 60 for n in range(3, 20)])


def test_packets_without_time_stamps_are_followed_by_those_before_them():
    _, clock = followed((0, 5.0), (1, 4.9), (2, None), streams=[stream_of(), stream_of(1, "audio")])
    assert clock.now_seconds == 5
    assert clock.offset(2) == 0


def settled(*times, may_jump=True, rate=25):
    """What a frame clock makes of times in seconds: each with whether the clock jumped before it."""
    clock = FrameClock(stream_of(rate=rate), may_jump=may_jump)
    out = []
    for seconds in times:
        frame = SimpleNamespace(pts=None if seconds is None else round(seconds * 90_000))
        out += [(frame, False)] if clock.follow([frame], 0) else clock.settle(frame)
    out += clock.release()
    return [(None if frame.pts is None else round(frame.pts / 90_000, 3), jumped) for frame, jumped in out]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ((1, 1.04, 100, 100.04), [(1, False), (1.04, False), (100, True), (100.04, False)]),
        ((9, 9.04, 1, 1.04), [(9, False), (9.04, False), (1, True), (1.04, False)]),
        ((1, 1.04, 900, 1.12, 1.16), [(1, False), (1.04, False), (1.08, False), (1.12, False), (1.16, False)]),
        ((9, 9.04, 2, 9.12), [(9, False), (9.04, False), (9.08, False), (9.12, False)]),
        ((1, 1.04, 2.5, 1.12), [(1, False), (1.04, False), (1.08, False), (1.12, False)]),
        ((1, 1.04, 5, 5.04), [(1, False), (1.04, False), (5, False), (5.04, False)]),
        ((1, 1.04, 100), [(1, False), (1.04, False), (100, True)]),
        ((1, 100, 50, 50.04), [(1, False), (100, True), (50, True), (50.04, False)]),
        ((1, None, 1.04), [(1, False), (None, False), (1.04, False)]),
        ((0, 60, 120, 180, 240), [(n * 60, False) for n in range(5)]),
    ],
)
def test_a_frame_clock_tells_jumps_from_wrong_times(times, expected):
    assert settled(*times) == expected


def test_a_gap_where_no_clock_jumps_is_a_gap():
    assert settled(1, 1.04, 100, 100.04, 50, 50.04, may_jump=False) == [
        (1, False), (1.04, False), (100, False), (100.04, False), (50, True), (50.04, False)
    ]  # fmt: skip

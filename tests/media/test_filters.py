"""Filters that FFmpeg refuses are refused before the first frame, by name."""

from __future__ import annotations

import pytest

from mcai_worker_sdk.errors import MediaFilterError
from mcai_worker_sdk.media import AudioStreamDescriptor, DataStreamDescriptor, Filter, VideoStreamDescriptor
from tests.media.conftest import ffmpeg
from tests.media.support import NotingWorker, filters, make_session, run_job


@pytest.mark.parametrize(
    ("kind", "chain", "text"),
    [
        (
            "VIDEO",
            [("nosuch", {})],
            r"Filter 'nosuch' of stream 0 is unknown; expected a filter of the FFmpeg that PyAV",
        ),
        ("VIDEO", [("scale", {"w": 10, "wid": 3})], r"Option 'wid' of filter 'scale' of stream 0 is unknown"),
        (
            "VIDEO",
            [("fps", {"fps": "many"})],
            r"Option 'fps' of filter 'fps' of stream 0 is 'many'; expected a value the",
        ),
        (
            "VIDEO",
            [("scale", {"w": "nonsense)", "h": 3})],
            r"Option 'w' of filter 'scale' of stream 0 is 'nonsense\)'; expected a value the filter accepts",
        ),
        (
            "VIDEO",
            [("volume", {})],
            r"Filter 'volume' of stream 0 does not fit its place; expected a filter with one vid",
        ),
        (
            "AUDIO",
            [("scale", {"w": 3, "h": 3})],
            r"Filter 'scale' of stream 1 does not fit its place; .* one audio input",
        ),
        (
            "VIDEO",
            [("overlay", {})],
            r"Filter Filter\(overlay\) of stream 0 cannot be set up \(Invalid argument\); expected a filter that fits",
        ),
        ("VIDEO", [("null", {}), ("nosuch", {})], r"Filter 'nosuch' of stream 0 is unknown"),
        (
            "AUDIO",
            [("aformat", {"sample_fmts": "s17"})],
            r"Option 'sample_fmts' of filter 'aformat' of stream 1 is 's17'",
        ),
    ],
)
def test_a_refused_filter_is_named(media_files, tmp_path, kind, chain, text):
    worker = NotingWorker(kind, filters(*chain))
    with pytest.raises(MediaFilterError, match=text):
        run_job(worker, media_files("h264_bframes.mp4"), tmp_path)
    assert worker.calls == []
    assert worker.endings == 1


def test_labels_are_free(media_files, tmp_path):
    chain = [Filter("null", "same"), Filter("null", "same"), Filter("null"), Filter("null", label="odd name [1];,")]
    worker = NotingWorker("VIDEO", chain)
    run_job(worker, media_files("odd.mkv"), tmp_path)
    assert len(worker.frames[0]) == 25


def test_a_filter_shows_what_it_is():
    item = Filter(name="scale", label="small")
    item.add_parameters(w=10, h="ih/2")
    item.add_parameters(w=20)
    assert (item.name, item.label, dict(item.parameters)) == ("scale", "small", {"w": "20", "h": "ih/2"})
    assert repr(item) == "Filter(scale=w=20:h=ih/2)"
    with pytest.raises(TypeError):
        item.parameters["w"] = "30"


def test_descriptors_show_what_they_are():
    item = Filter("hflip")
    video = VideoStreamDescriptor(0, (item,))
    assert (video.index, video.filters) == (0, (item,))
    assert repr(AudioStreamDescriptor(index=2, filters=[])) == "AudioStreamDescriptor(index=2, filters=[])"
    assert repr(DataStreamDescriptor(3)) == "DataStreamDescriptor(index=3)"


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: VideoStreamDescriptor(0), TypeError, "filters"),
        (
            lambda: VideoStreamDescriptor(0, None),
            TypeError,
            "The filters of the VideoStreamDescriptor are None; expected a seq",
        ),
        (lambda: AudioStreamDescriptor(0, "anull"), TypeError, "are 'anull'; expected a sequence of Filter"),
        (
            lambda: AudioStreamDescriptor(0, ["anull"]),
            TypeError,
            "A filter of the AudioStreamDescriptor is 'anull'; expected",
        ),
        (
            lambda: DataStreamDescriptor(-1),
            MediaFilterError,
            "The index of the DataStreamDescriptor is -1; expected the index",
        ),
        (
            lambda: DataStreamDescriptor("0"),
            TypeError,
            "The index of the DataStreamDescriptor is '0'; expected a whole number",
        ),
        (lambda: Filter(""), TypeError, "The name of a Filter is ''; expected the name of a filter"),
    ],
)
def test_a_wrong_descriptor_is_refused_where_it_is_made(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_pictures_that_change_their_size_in_mid_stream_are_filtered_on(media_files, tmp_path):
    worker = NotingWorker("VIDEO", filters(("hflip", {})), note=lambda frame: (frame.width, frame.height))
    run_job(worker, media_files("changing.ts"), tmp_path, batch_size=7)
    assert worker.frames[0] == [(320, 180)] * 25 + [(160, 90)] * 25


def test_a_filter_that_never_ends_can_be_stopped(media_files, tmp_path):
    class Stopping(NotingWorker):
        def process_frames(self, job_id, stream_index, frames):
            super().process_frames(job_id, stream_index, ())
            if len(self.calls) == 20:
                channel._request_stop()

    worker = Stopping("VIDEO", filters(("loop", {"loop": -1, "size": 5})))
    session, channel, _ = make_session(worker, media_files("odd.mkv"), tmp_path / "out.json", batch_size=10)
    session.open()
    session.run()
    session.close()
    assert len(worker.calls) == 20


@pytest.mark.parametrize(
    ("kind", "chain", "graph"),
    [
        ("VIDEO", [("trim", {"end": 1}), ("scale", {"w": 10, "h": 10})], "trim=end=1,scale=10:10"),
        ("VIDEO", [("trim", {"end": 1}), ("fps", {"fps": 50})], "trim=end=1,fps=50"),
        ("VIDEO", [("trim", {"end": 1}), ("reverse", {})], "trim=end=1,reverse"),
        ("VIDEO", [("fps", {"fps": 10}), ("trim", {"end_frame": 5})], "fps=10,trim=end_frame=5"),
        ("AUDIO", [("atrim", {"end": 1}), ("aresample", {"sample_rate": 16000})], "atrim=end=1,aresample=16000"),
        ("AUDIO", [("atrim", {"end": 1}), ("asetnsamples", {"n": 1000})], "atrim=end=1,asetnsamples=1000"),
    ],
)
def test_what_follows_a_filter_that_ends_the_stream_gives_all_it_gives_in_ffmpeg(
    media_files, tmp_path, kind, chain, graph
):
    source = media_files("h264_bframes.mp4")
    is_video = kind == "VIDEO"
    worker = NotingWorker(kind, filters(*chain), note=lambda frame: 1 if is_video else frame.nb_samples)
    run_job(worker, source, tmp_path, batch_size=7)

    option, stream = ("-vf", "0:v:0") if is_video else ("-af", "0:a:0")
    lines = ffmpeg("-i", str(source), "-map", stream, option, graph, "-f", "framecrc", "-").decode().splitlines()
    rows = [line.split(",") for line in lines if not line.startswith("#")]
    (counted,) = worker.frames.values()
    assert sum(counted) == (len(rows) if is_video else sum(int(row[3]) for row in rows))
    assert worker.endings == 1


@pytest.mark.parametrize(
    "chain",
    [
        [("crop", {"w": 64, "h": 64, "x": 250, "y": 110}), ("scale", {"w": "iw", "h": "ih"})],
        [("vflip", {}), ("scale", {"w": "iw", "h": "ih"})],
        [("untile", {"layout": "2x2"})],
        [("format", {"pix_fmts": "yuv444p"}), ("vectorscope", {})],
    ],
    ids=lambda chain: "+".join(name for name, _ in chain),
)
def test_a_picture_that_is_a_window_into_a_larger_one_has_memory_of_its_own(media_files, tmp_path, chain):
    worker = NotingWorker("VIDEO", filters(*chain))
    run_job(worker, media_files("h264_bframes.mp4"), tmp_path)

    for frame in worker.frames[0]:
        (plane, *_), av_plane = frame.data, frame.av_frame.planes[0]
        assert av_plane.line_size in range(frame.width, frame.width + 64)
        assert len(plane) == av_plane.line_size * frame.height


def test_a_filter_that_fails_while_it_runs_is_named(media_files, tmp_path):
    chain = filters(("scale", {"w": "if(gt(n,9),1e9,100)", "h": "100", "eval": "frame"}))
    worker = NotingWorker("VIDEO", chain)
    with pytest.raises(MediaFilterError, match=r"The filters of stream 0 are .*scale.*; expected them to take every"):
        run_job(worker, media_files("h264_bframes.mp4"), tmp_path)
    assert worker.endings == 1


#: Declared as floating point, decoded as whole numbers: the filters are set up for the one, and get the other.
MP2 = ("-f", "lavfi", "-i", "sine=440:d=2:r=48000", "-c:a", "mp2", "-f", "mpegts", "-")


@pytest.mark.parametrize(
    ("name", "options", "graph"),
    [
        ("apad", {"pad_dur": 1}, "apad=pad_dur=1"),
        ("adelay", {"delays": 500}, "adelay=delays=500"),
        ("aecho", {}, "aecho"),
        ("afade", {"t": "out", "st": 1}, "afade=t=out:st=1"),
    ],
)
def test_filters_that_never_had_a_frame_give_none(tmp_path, name, options, graph):
    path = tmp_path / "sound.ts"
    path.write_bytes(ffmpeg(*MP2))
    worker = NotingWorker("AUDIO", filters((name, options)), note=lambda frame: frame.nb_samples)
    run_job(worker, path, tmp_path)
    assert sum(worker.frames[0]) == len(ffmpeg("-i", str(path), "-af", graph, "-f", "u8", "-ac", "1", "-"))


def test_padding_comes_once_where_container_and_codec_disagree_on_the_range_of_colours(tmp_path):
    source = ("-f", "lavfi", "-i", "testsrc2=s=64x36:r=25:d=1", "-c:v", "libx264", "-pix_fmt", "yuv420p")
    full, path = tmp_path / "full.mkv", tmp_path / "film.mkv"
    ffmpeg(*source, "-color_range", "pc", str(full))
    ffmpeg("-i", str(full), "-c", "copy", "-bsf:v", "h264_metadata=video_full_range_flag=0", str(path))
    worker = NotingWorker("VIDEO", filters(("tpad", {"start": 8})), note=lambda frame: None)
    run_job(worker, path, tmp_path)
    assert len(worker.frames[0]) == 33


def test_filters_begin_anew_where_pictures_change_their_size(media_files, tmp_path):
    worker = NotingWorker("VIDEO", filters(("tpad", {"start": 3})), note=lambda frame: (frame.width, frame.height))
    run_job(worker, media_files("changing.ts"), tmp_path)
    assert worker.frames[0] == [(320, 180)] * 28 + [(160, 90)] * 28

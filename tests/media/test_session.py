"""A media job from its parameters to its results: order of calls, batches, results, failures, stop."""

from __future__ import annotations

import itertools
import json
import threading

import pytest

from mcai_worker_sdk.errors import (
    MediaDestinationError,
    MediaFilterError,
    MediaSourceError,
    ParameterError,
    ResultError,
)
from mcai_worker_sdk.media import AudioStreamDescriptor, DataStreamDescriptor, VideoStreamDescriptor
from mcai_worker_sdk.media.results.file import FileResultWriter
from tests.media.support import NotingWorker, make_session, run_job


class Selecting(NotingWorker):
    """Return what the test says."""

    def __init__(self, selection):
        super().__init__()
        self.selection = selection

    def init_process(self, context, parameters):
        return self.selection


def test_batches_are_full_but_the_last_of_each_stream_in_stream_order(media_files, tmp_path):
    worker = NotingWorker()
    outcome = run_job(worker, media_files("h264_bframes.mp4"), tmp_path, batch_size=9)
    for index, count in ((0, 100), (1, 188)):
        sizes = [size for _, stream, size in worker.calls if stream == index]
        assert sizes == [9] * (count // 9) + [count % 9]
    assert [stream for _, stream, _ in worker.calls[-2:]] == [0, 1]
    assert {job_id for job_id, _, _ in worker.calls} == {"7"}
    assert len(outcome.entries) == len(worker.calls)


@pytest.mark.parametrize("batch_size", [None, 1, 0, -3])
def test_a_batch_is_one_frame_unless_the_order_says_more(media_files, tmp_path, batch_size):
    worker = NotingWorker("VIDEO")
    values = {} if batch_size is None else {"batch_size": batch_size}
    run_job(worker, media_files("odd.mkv"), tmp_path, **values)
    assert [size for _, _, size in worker.calls] == [1] * 25


def test_a_batch_size_that_is_no_whole_number_is_refused(media_files, tmp_path):
    with pytest.raises(ParameterError, match=r"Parameter 'batch_size' is '8'; expected a whole number of frames"):
        run_job(NotingWorker(), media_files("odd.mkv"), tmp_path, batch_size="8")


def test_results_are_json_values_one_for_each_call(media_files, tmp_path):
    np = pytest.importorskip("numpy")
    returned = [
        None,
        42,
        1.5,
        "déjà vu",
        [1, (2, 3)],
        {"a": {"b": [True, None]}},
        np.float32(0.5),
        np.int64(7),
        np.arange(4).reshape(2, 2),
        {"scores": np.array([0.25]), np.int64(3): np.bool_(1)},
        [float("nan"), float("-inf"), np.float64("nan")],
    ]

    class Returning(NotingWorker):
        def process_frames(self, job_id, stream_index, frames):
            return returned.pop(0) if returned else "rest"

    outcome = run_job(Returning("VIDEO"), media_files("odd.mkv"), tmp_path)
    assert outcome.entries[:11] == [
        None,
        42,
        1.5,
        "déjà vu",
        [1, [2, 3]],
        {"a": {"b": [True, None]}},
        0.5,
        7,
        [[0, 1], [2, 3]],
        {"scores": [0.25], "3": True},
        [None, None, None],
    ]
    assert outcome.entries[11:] == ["rest"] * 14
    assert outcome.result == {"destination_paths": [str(outcome.destination)], "parameters": []}


class Ending(NotingWorker):
    """Returns what the test says when the job ends."""

    def __init__(self, returned):
        super().__init__("VIDEO")
        self.returned = returned

    def ending_process(self):
        super().ending_process()
        return self.returned


def test_what_ending_process_returns_joins_the_result(media_files, tmp_path):
    parameter = {"id": "cuts", "kind": "integer", "value": 3}
    worker = Ending({"destination_paths": ["/more"], "parameters": (parameter,), "other": 1})

    outcome = run_job(worker, media_files("odd.mkv"), tmp_path)

    assert outcome.result == {
        "destination_paths": [str(outcome.destination), "/more"],
        "parameters": [parameter],
        "other": 1,  # named by whoever reads the result
    }
    assert worker.endings == 1


@pytest.mark.parametrize("returned", [None, {}, {"destination_paths": None, "parameters": []}], ids=repr)
def test_an_end_without_anything_to_say_leaves_the_result_as_it_is(media_files, tmp_path, returned, caplog):
    outcome = run_job(Ending(returned), media_files("odd.mkv"), tmp_path)

    assert outcome.result == {"destination_paths": [str(outcome.destination)], "parameters": []}
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (["/more"], "ending_process of job 7 returned a list; expected a dict or None."),
        (
            {"destination_paths": "/more"},
            "ending_process of job 7 returned destination_paths as a str; expected a list",
        ),
        ({"parameters": {"id": "a"}}, "ending_process of job 7 returned parameters as a dict; expected a list."),
    ],
    ids=repr,
)
def test_what_ending_process_returns_in_another_form_is_told(media_files, tmp_path, returned, said, caplog):
    outcome = run_job(Ending(returned), media_files("odd.mkv"), tmp_path)

    assert outcome.result == {"destination_paths": [str(outcome.destination)], "parameters": []}
    assert said in caplog.text


@pytest.mark.parametrize("value", [b"bytes", object(), {1, 2}, {(1, 2): 3}])
def test_a_result_json_cannot_express_fails_the_job_by_its_type(media_files, tmp_path, value):
    class Returning(NotingWorker):
        def process_frames(self, job_id, stream_index, frames):
            return {"value": value}

    worker = Returning("VIDEO")
    with pytest.raises(ResultError, match=r"The result of process_frames (holds|has) a"):
        run_job(worker, media_files("odd.mkv"), tmp_path)
    assert worker.endings == 1
    assert list(tmp_path.iterdir()) == []


def test_xml_results_are_written_as_xml(media_files, tmp_path):
    class Returning(NotingWorker):
        def process_frames(self, job_id, stream_index, frames):
            return '<?xml version="1.0"?><tt/>'

    outcome = run_job(Returning("VIDEO"), media_files("odd.mkv"), tmp_path, batch_size=25)
    assert outcome.destination.read_text() == '<?xml version="1.0"?><tt/>\n'


def test_the_destination_appears_only_when_the_job_has_ended(media_files, tmp_path):
    seen = []

    class Looking(NotingWorker):
        def process_frames(self, job_id, stream_index, frames):
            seen.append((tmp_path / "results.json").exists())

        def ending_process(self):
            seen.append((tmp_path / "results.json").exists())

    run_job(Looking("VIDEO"), media_files("odd.mkv"), tmp_path, batch_size=5)
    assert seen == [False] * 6
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize(
    ("destination", "reason"),
    [("missing/out.json", "No such file or directory"), ("", "is empty"), ("folder", "Is a dir")],
)
def test_an_unusable_destination_is_found_before_the_source_is_opened(tmp_path, destination, reason):
    (tmp_path / "folder").mkdir()
    worker = NotingWorker()
    session, _, _ = make_session(worker, "no such source", tmp_path / destination if destination else "")
    with pytest.raises(MediaDestinationError, match=reason):
        session.open()
    session.close()
    assert worker.context is None


def test_a_file_url_is_a_destination(media_files, tmp_path):
    session, _, _ = make_session(
        NotingWorker("VIDEO"), f"file://{media_files('odd.mkv')}", f"file://{tmp_path}/o%20ut.json"
    )
    session.open()
    session.run()
    assert len(json.loads((tmp_path / "o ut.json").read_text())["frames"]) == 25


@pytest.mark.parametrize(
    "source",
    ["/no/such/file.mp4", "", "/tmp", "http://127.0.0.1:9/none.mp4"],
    ids=["missing", "empty", "folder", "refused"],
)
def test_a_source_that_cannot_be_opened_says_why(tmp_path, source):
    with pytest.raises(MediaSourceError, match=r"Source '.*' cannot be opened: .+; expected a file or URL that FFmpeg"):
        run_job(NotingWorker(), source, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_source_error_shows_no_credentials(tmp_path):
    with pytest.raises(MediaSourceError) as caught:
        run_job(NotingWorker(), "http://user:secret@127.0.0.1:9/a.mp4?token=hidden", tmp_path)
    assert "secret" not in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_what_a_killed_job_left_behind_is_replaced_by_its_next_attempt(media_files, tmp_path):
    (tmp_path / ".results.json.part").write_text('{"frames":[1,')

    outcome = run_job(NotingWorker("VIDEO"), media_files("h264_bframes.mp4"), tmp_path)

    assert json.loads(outcome.destination.read_text())["frames"]
    assert list(tmp_path.iterdir()) == [outcome.destination]


def test_of_two_jobs_with_one_destination_the_first_fails_and_the_second_is_whole(tmp_path):
    first, second = FileResultWriter(str(tmp_path / "out.json")), FileResultWriter(str(tmp_path / "out.json"))
    for writer in (first, second):
        writer.write({"of": "second" if writer is second else "first"})

    with pytest.raises(MediaDestinationError, match="another job"):
        first.finish()
    first.discard()
    second.finish()

    assert json.loads((tmp_path / "out.json").read_text()) == {"frames": [{"of": "second"}]}


@pytest.mark.parametrize("missing", ["source_path", "destination_path"])
def test_a_missing_path_is_named(tmp_path, missing):
    session, _, _ = make_session(NotingWorker(), "source", tmp_path / "out", **{missing: None})
    with pytest.raises(ParameterError, match=f"Parameter '{missing}' is None; expected a path or URL as text"):
        session.open()
    session.close()


@pytest.mark.parametrize(
    ("selection", "text"),
    [
        (None, r"init_process returned None; expected a list of stream descriptors"),
        ("streams", r"init_process returned 'streams'; expected a list"),
        ([3], r"init_process returned a list with 3; expected stream descriptors only"),
        ([VideoStreamDescriptor(9, [])], r"The index of the VideoStreamDescriptor is 9; expected 0 to 1"),
        (
            [VideoStreamDescriptor(1, [])],
            r"Stream 1 is of kind AVMEDIA_TYPE_AUDIO; expected AVMEDIA_TYPE_VIDEO for this Vid",
        ),
        ([AudioStreamDescriptor(0, [])], r"Stream 0 is of kind AVMEDIA_TYPE_VIDEO; expected AVMEDIA_TYPE_AUDIO"),
        ([DataStreamDescriptor(0)], r"Stream 0 is of kind AVMEDIA_TYPE_VIDEO; expected AVMEDIA_TYPE_SUBTITLE or"),
        ([VideoStreamDescriptor(0, []), VideoStreamDescriptor(0, [])], r"Stream 0 is selected twice"),
    ],
)
def test_a_selection_that_does_not_fit_the_source_is_refused(media_files, tmp_path, selection, text):
    worker = Selecting(selection)
    with pytest.raises(MediaFilterError, match=text):
        run_job(worker, media_files("h264_bframes.mp4"), tmp_path)
    assert worker.calls == []
    assert worker.endings == 1


def test_a_tuple_of_descriptors_is_a_list_of_them(media_files, tmp_path):
    worker = Selecting((VideoStreamDescriptor(0, []),))
    run_job(worker, media_files("odd.mkv"), tmp_path)
    assert len(worker.frames[0]) == 25


def test_an_empty_list_reads_nothing_and_completes(media_files, tmp_path):
    worker = Selecting([])
    outcome = run_job(worker, media_files("odd.mkv"), tmp_path)
    assert (worker.calls, worker.endings, outcome.entries) == ([], 1, [])
    assert outcome.progressions == [100]


def test_calls_come_in_order_and_in_one_thread(media_files, tmp_path):
    calls = []

    class Noting(NotingWorker):
        def init_process(self, context, parameters):
            calls.append(("init", threading.current_thread()))
            return super().init_process(context, parameters)

        def process_frames(self, job_id, stream_index, frames):
            calls.append(("frames", threading.current_thread()))

        def ending_process(self):
            calls.append(("ending", threading.current_thread()))

    run_job(Noting("VIDEO"), media_files("odd.mkv"), tmp_path, batch_size=20)
    assert calls == [(name, threading.main_thread()) for name in ("init", "frames", "frames", "ending")]


@pytest.mark.parametrize("failing", ["init_process", "process_frames", "ending_process"])
def test_what_the_worker_raises_comes_through_and_the_worker_ends_once(media_files, tmp_path, failing):
    endings = []

    class Failing(NotingWorker):
        def init_process(self, context, parameters):
            if failing == "init_process":
                raise ValueError("boom init_process")
            return super().init_process(context, parameters)

        def process_frames(self, job_id, stream_index, frames):
            if failing == "process_frames":
                raise ValueError("boom process_frames")

        def ending_process(self):
            endings.append(1)
            if failing == "ending_process":
                raise ValueError("boom ending_process")

    with pytest.raises(ValueError, match=f"boom {failing}"):
        run_job(Failing(), media_files("odd.mkv"), tmp_path)
    assert endings == ([] if failing == "init_process" else [1])
    assert list(tmp_path.iterdir()) == []


def test_threads_end_with_the_job_even_when_it_fails_early(media_files, tmp_path):
    class Failing(NotingWorker):
        def process_frames(self, job_id, stream_index, frames):
            raise ValueError("boom")

    # An opening that a stopped job abandoned may still wait for its peer, in a thread of another test.
    before = set(threading.enumerate())
    with pytest.raises(ValueError, match="boom"):
        run_job(Failing(), media_files("h264_bframes.mp4"), tmp_path)
    assert [thread.name for thread in threading.enumerate() if thread not in before] == []


def test_a_stop_ends_the_job_within_one_batch_and_keeps_the_results_so_far(media_files, tmp_path):
    class Stopping(NotingWorker):
        def process_frames(self, job_id, stream_index, frames):
            super().process_frames(job_id, stream_index, frames)
            if len(self.calls) == 3:
                channel._request_stop()
            return len(self.calls)

    worker = Stopping("VIDEO")
    session, channel, progressions = make_session(
        worker, media_files("h264_bframes.mp4"), tmp_path / "out.json", batch_size=4
    )
    session.open()
    result = session.run()
    session.close()
    assert len(worker.calls) == 3
    assert worker.endings == 1
    assert json.loads((tmp_path / "out.json").read_text()) == {"frames": [1, 2, 3]}
    assert result["destination_paths"] == [str(tmp_path / "out.json")]
    assert 100 not in progressions


def test_a_stop_before_the_source_is_open_leaves_nothing_to_run(media_files, tmp_path):
    worker = NotingWorker()
    session, channel, _ = make_session(worker, media_files("odd.mkv"), tmp_path / "out.json")
    channel._request_stop()
    session.open()
    session.run()
    session.close()
    assert worker.context is None
    assert worker.endings == 0


def test_a_job_opened_and_never_run_ends_its_worker_once(media_files, tmp_path):
    worker = NotingWorker()
    session, _, _ = make_session(worker, media_files("odd.mkv"), tmp_path / "out.json")
    session.open()
    session.close()
    session.close()
    assert worker.endings == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["h264_bframes.mp4", "h264_offset.ts", "aac.m4a", "vfr.mp4", "aac.adts.aac", "h264_offset.mkv"]
)
def test_progression_rises_by_whole_percents_to_100(media_files, tmp_path, name):
    outcome = run_job(NotingWorker(), media_files(name), tmp_path)
    steps = outcome.progressions
    assert steps[-1] == 100
    assert len(steps) > 3
    assert all(later > earlier for earlier, later in itertools.pairwise(steps))
    assert 0 < steps[0] < 70  # the 0 is reported before the source is opened
    assert steps[-2] >= 90


def test_progression_follows_the_range(media_files, tmp_path):
    outcome = run_job(
        NotingWorker("VIDEO"), media_files("h264_long_gop.mkv"), tmp_path, sdk_start_index=5000, sdk_stop_index=9000
    )
    assert outcome.progressions[0] < 60
    assert outcome.progressions[-2] >= 90
    assert outcome.progressions[-1] == 100


class ProgressionSeeing(NotingWorker):
    """Keep the last percent that was reported before each call, and the time stamp the call begins with."""

    def __init__(self):
        super().__init__("VIDEO")
        self.progressions = []
        self.seen = []

    def process_frames(self, job_id, stream_index, frames):
        self.seen.append((max(self.progressions, default=0), frames[0].time_seconds))


@pytest.mark.parametrize("batch_size", [1, 5, 40, 1000])
def test_progression_counts_what_was_processed_not_what_waits_for_its_batch(media_files, tmp_path, batch_size):
    worker = ProgressionSeeing()
    source = media_files("h264_bframes.mp4")
    session, _, worker.progressions = make_session(worker, source, tmp_path / "results.json", batch_size=batch_size)
    session.open()
    session.run()
    assert worker.progressions[-1] == 100
    assert worker.seen[0] == (0, 0.0)
    assert all(percent <= 100 * begin / 4 for percent, begin in worker.seen)

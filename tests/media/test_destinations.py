"""Where results go: pipes, the source itself, and what no JSON or XML can hold."""

from __future__ import annotations

import json
import os
import threading

import numpy as np
import pytest

from mcai_worker_sdk.errors import ResultError
from mcai_worker_sdk.media.results.encoding import encode_result
from mcai_worker_sdk.media.results.file import FileResultWriter
from tests.media.support import NotingWorker, make_session, run_job


def test_a_named_pipe_takes_the_results(media_files, tmp_path):
    pipe = tmp_path / "results.json"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()

    session, *_ = make_session(NotingWorker("VIDEO"), media_files("odd.mkv"), pipe, batch_size=5)
    session.open()
    session.run()

    reader.join(20)
    assert [entry["count"] for entry in json.loads(read[0])["frames"]] == [5] * 5


def test_a_stop_is_answered_while_nobody_reads_the_pipe(media_files, tmp_path):
    pipe = tmp_path / "results.json"
    os.mkfifo(pipe)
    worker = NotingWorker("VIDEO")
    session, channel, _ = make_session(worker, media_files("odd.mkv"), pipe)
    channel._request_stop()

    session.open()

    assert session.run() == {"destination_paths": [], "parameters": []}
    assert worker.context is None
    # Whoever reads it later finds nothing, not a thread that hangs.
    assert pipe.read_bytes() == b""


def test_a_named_pipe_as_source_is_read_whole(media_files, tmp_path):
    pipe = tmp_path / "source.ts"
    os.mkfifo(pipe)
    data = media_files("h264.ts").read_bytes()
    threading.Thread(target=lambda: pipe.write_bytes(data), daemon=True).start()
    worker, whole = NotingWorker("VIDEO"), NotingWorker("VIDEO")

    run_job(worker, pipe, tmp_path, batch_size=100)

    run_job(whole, media_files("h264.ts"), tmp_path, batch_size=100)
    assert [frame.pts for frame in worker.frames[0]] == [frame.pts for frame in whole.frames[0]]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.longdouble("1.5"), b"1.5"),
        ({"a": [np.longdouble("nan"), np.longdouble("2.5")]}, b'{"a":[null,2.5]}'),
        (np.array([1.5], dtype=np.longdouble), b"[1.5]"),
    ],
)
def test_numpys_long_doubles_become_numbers(value, expected):
    assert encode_result(value) == expected


def holds_itself():
    value: list[object] = []
    value.append(value)
    return value


def nested(depth):
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [holds_itself(), nested(100_000)], ids=["itself", "deep"])
def test_a_result_without_an_end_is_refused(value):
    with pytest.raises(ResultError, match="nested too deep, or holds itself"):
        encode_result(value)


@pytest.mark.parametrize("value", [np.clongdouble(1), np.complex128(1)])
def test_a_complex_number_is_refused_by_its_type(value):
    with pytest.raises(ResultError, match=r"holds a value of type (complex|clongdouble)"):
        encode_result(value)


def test_xml_that_is_no_text_is_refused(tmp_path):
    writer = FileResultWriter(str(tmp_path / "out.xml"))

    with pytest.raises(ResultError, match=r"no UTF-8 form: surrogates not allowed at character 24"):
        writer.write("<?xml version='1.0'?><a>\udc80</a>")
    writer.discard()

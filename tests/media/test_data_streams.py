"""Subtitle streams as cues, other data as packets, TTML documents for those who want them."""

from __future__ import annotations

import pytest

from mcai_worker_sdk.errors import MediaSourceError
from mcai_worker_sdk.media import DataPacket
from mcai_worker_sdk.media.ebu_tt import EbuTtDocument
from mcai_worker_sdk.media.model.cues import Cue
from tests.media.bits import without_pts
from tests.media.support import NotingWorker, run_job
from tests.media.versions import PYAV

CUES = [(0.5, 1.5, "First"), (2.0, 3.5, "Second line\nthird")]


@pytest.mark.parametrize(
    "name", ["subtitled.mkv", "subtitled.mp4", "text.srt", "text.vtt", "text.ass", "text.ttml", "stpp.mp4"]
)
def test_a_subtitle_stream_gives_cues(media_files, tmp_path, name):
    worker = NotingWorker("SUBTITLE")
    outcome = run_job(worker, media_files(name), tmp_path)
    (cues,) = worker.frames.values()
    assert all(isinstance(cue, Cue) for cue in cues)
    # Matroska's time stamps begin at the first packet of the file, which here is 21 ms of encoder delay.
    assert [
        (pytest.approx(cue.start_seconds, abs=0.03), pytest.approx(cue.end_seconds, abs=0.03), cue.text) for cue in cues
    ] == CUES
    assert outcome.progressions[-1] == 100


@pytest.mark.parametrize("name", ["subtitled.mp4", "text.ttml"])
def test_a_range_holds_the_cues_that_begin_in_it(media_files, tmp_path, name):
    worker = NotingWorker("SUBTITLE")
    run_job(worker, media_files(name), tmp_path, sdk_start_index=1000, sdk_stop_index=3000)
    (cues,) = worker.frames.values()
    assert [cue.start_seconds for cue in cues] == [2.0]


def test_subtitles_beside_pictures_end_with_the_range(media_files, tmp_path):
    worker = NotingWorker("VIDEO SUBTITLE")
    run_job(worker, media_files("subtitled.mkv"), tmp_path, sdk_stop_index=1000, batch_size=100)
    assert {index: len(items) for index, items in worker.frames.items()} == {0: 25, 2: 1}


def test_a_data_stream_gives_packets(media_files, tmp_path):
    worker = NotingWorker("DATA")
    run_job(worker, media_files("klv.ts"), tmp_path)
    (packets,) = worker.frames.values()
    assert [packet.data for packet in packets] == [b"KLV number %d" % number for number in range(4)]
    assert all(isinstance(packet, DataPacket) for packet in packets)
    assert [later.pts - packets[0].pts for later in packets] == [0, 90000, 180000, 270000]
    assert packets[1].time_seconds == pytest.approx(packets[1].pts / 90000)
    stream = worker.context.streams[1]
    assert (stream.kind, stream.codec_name) == ("AVMEDIA_TYPE_DATA", "klv" if PYAV >= (16, 1) else "bin_data")


class LiveWorker(NotingWorker):
    def process_ebu_ttml_live(self, job_id, stream_index, frames):
        assert job_id == "7"
        self.frames.setdefault(stream_index, []).extend(frames)
        return '<tt xmlns="http://www.w3.org/ns/ttml"/>'


@pytest.mark.parametrize("name", ["stpp.mp4", "text.ttml"])
def test_ttml_documents_go_to_the_method_for_them(media_files, tmp_path, name):
    worker = LiveWorker("SUBTITLE")
    outcome = run_job(worker, media_files(name), tmp_path)
    (documents,) = worker.frames.values()
    assert worker.calls == []
    assert all(isinstance(document, EbuTtDocument) for document in documents)
    assert outcome.destination.read_text() == '<tt xmlns="http://www.w3.org/ns/ttml"/>\n' * len(documents)


SRT = "1\n00:00:00,500 --> 00:00:01,500\nL’été\n\n2\n00:00:02,000 --> 00:00:03,500\nDéjà vu\n\n"


@pytest.mark.parametrize(
    ("data", "texts", "warning"),
    [
        (SRT.encode(), ["L’été", "Déjà vu"], None),
        (SRT.encode("utf-8-sig"), ["L’été", "Déjà vu"], None),
        (SRT.encode("utf-16"), ["L’été", "Déjà vu"], None),
        (SRT.encode("cp1252"), ["L’été", "Déjà vu"], "Subtitle stream 0 is not UTF-8; it is read as Windows-1252"),
        (
            SRT.encode().replace(b"vu", b"v\xff"),
            ["L’été", "Déjà v\ufffd"],
            "Subtitle stream 0 holds bytes that are not UTF-8; they are read as U+FFFD",
        ),
    ],
)
def test_a_subtitle_file_is_read_in_its_encoding(tmp_path, caplog, data, texts, warning):
    path = tmp_path / "text.srt"
    path.write_bytes(data)
    worker = NotingWorker("SUBTITLE")

    run_job(worker, path, tmp_path)

    (cues,) = worker.frames.values()
    assert [cue.text for cue in cues] == texts
    assert [record.getMessage() for record in caplog.records if "UTF-8" in record.getMessage()] == [warning] * bool(
        warning
    )


TTML = '<tt xmlns="http://www.w3.org/ns/ttml"><body><div><p begin="1s" end="2s">é</p></div></body></tt>'
DECLARED_16 = '<?xml version="1.0" encoding="utf-16"?>' + TTML


@pytest.mark.parametrize(
    "data",
    [
        TTML.encode("utf-8-sig"),
        DECLARED_16.encode("utf-16"),
        TTML.encode("utf-16"),
        b"\xfe\xff" + DECLARED_16.encode("utf-16-be"),
        DECLARED_16.encode("utf-16-le"),
        DECLARED_16.encode("utf-16-be"),
        f"<!-- {'made by > ' * 900} --><?pi <?>\n{TTML}".encode(),
        f'<?xml version="1.0" encoding="iso-8859-1"?><!-- <b> -->{TTML}'.encode("latin-1"),
    ],
)
@pytest.mark.parametrize("wants_documents", [False, True])
def test_a_ttml_file_may_begin_in_any_way_xml_may(tmp_path, data, wants_documents):
    path = tmp_path / "text.ttml"
    path.write_bytes(data)
    worker = (LiveWorker if wants_documents else NotingWorker)("SUBTITLE")

    run_job(worker, path, tmp_path)

    ((item,),) = worker.frames.values()
    assert item.text == "é"


@pytest.mark.parametrize(
    "doctype", ["<!DOCTYPE tt>", '<!DOCTYPE tt SYSTEM "x>.dtd" [<!ENTITY e "]>"> <!-- > -->] >', "<!DOCTYPE tt []>"]
)
def test_a_document_type_is_refused_by_name(tmp_path, doctype):
    path = tmp_path / "text.ttml"
    path.write_text(f'<?xml version="1.0"?>{doctype}{TTML}')

    with pytest.raises(MediaSourceError, match="has a document type"):
        run_job(NotingWorker("SUBTITLE"), path, tmp_path)


def test_a_broken_ttml_file_cannot_be_opened(tmp_path):
    path = tmp_path / "broken.ttml"
    path.write_text('<?xml version="1.0"?><tt xmlns="http://www.w3.org/ns/ttml"><body></tt>')
    with pytest.raises(MediaSourceError):
        run_job(NotingWorker("SUBTITLE"), path, tmp_path)


@pytest.fixture(scope="module")
def untimed_klv(media_files):
    """A transport stream whose four packets of data, one a second, have no time stamps."""
    return without_pts(media_files("klv.ts").read_bytes(), b"KLV number")


@pytest.mark.parametrize("kinds", ["DATA", "VIDEO DATA"])
@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [(None, None, [0, 1, 2, 3]), (1.5, 3.5, [2, 3]), (0.5, 1.5, [1]), (2.5, None, [3]), (None, 1.5, [0, 1])],
)
def test_data_without_a_time_has_that_of_what_was_read_before_it(
    untimed_klv, media_files, tmp_path, kinds, start, stop, expected
):
    path = tmp_path / "untimed.ts"
    path.write_bytes(untimed_klv)
    timed = NotingWorker("DATA")
    run_job(timed, media_files("klv.ts"), tmp_path)
    begin = timed.frames[1][0].time_seconds
    limits = {"sdk_start_index": start, "sdk_stop_index": stop}
    worker = NotingWorker(kinds)

    run_job(
        worker, path, tmp_path, **{key: int((begin + at) * 1000) for key, at in limits.items() if at is not None}
    )  # fmt: skip

    packets = worker.frames[1]
    assert [packet.data for packet in packets] == [b"KLV number %d" % number for number in expected]
    assert {(packet.pts, packet.time_seconds) for packet in packets} == {(None, None)}

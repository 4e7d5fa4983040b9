"""Live jobs over SRT: media and documents in, results out, with the ffmpeg command and our own ends as peers."""

import dataclasses
import json
import threading

import pytest

from mcai_worker_sdk.channel import McaiChannel
from mcai_worker_sdk.errors import MediaDestinationError, MediaSourceError, MediaTimeoutError
from mcai_worker_sdk.media import DataStreamDescriptor
from mcai_worker_sdk.media.ebu_tt import parse_ebu_tt, to_xml
from mcai_worker_sdk.media.results.live import open_live_destination
from mcai_worker_sdk.media.session import MediaSession
from mcai_worker_sdk.media.sources.live import LiveSource, open_live_source
from mcai_worker_sdk.media.srt import open_connection, parse_srt_url
from mcai_worker_sdk.settings import MediaSettings
from tests.media.live_support import (
    InThread,
    connect_pair,
    count_frames,
    ffmpeg_srt_sender,
    free_port,
    make_channel,
    make_clip,
    open_source_from,
)
from tests.media.support import NotingWorker

XML = '<?xml version="1.0"?><tt xmlns="http://www.w3.org/ns/ttml"><body><div><p>{}</p></div></body></tt>'

LIVE_DOCUMENT = (
    '<?xml version="1.0"?><tt xmlns="http://www.w3.org/ns/ttml" xmlns:ebuttp="urn:ebu:tt:parameters" '
    'ebuttp:sequenceIdentifier="live" ebuttp:sequenceNumber="{0}"><body><div><p>number {0}</p></div></body></tt>'
)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("live") / "clip.ts")


class SignallingWorker(NotingWorker):
    """Tells when it got its first frames."""

    def __init__(self):
        super().__init__()
        self.has_frames = threading.Event()

    def process_frames(self, job_id, stream_index, frames):
        self.has_frames.set()
        return super().process_frames(job_id, stream_index, frames)


def decode_counts(source):
    counts = {}
    for packet in source.container.demux():
        for _ in packet.decode():
            counts[packet.stream.type] = counts.get(packet.stream.type, 0) + 1
    return counts


def session_for(worker, channel, **values):
    return MediaSession(
        worker=worker,
        job_id=7,
        parameters=object(),
        values=values,
        channel=channel,
        settings=MediaSettings(),
    )


@pytest.mark.parametrize("mode", ["listener", "caller"])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("", ""),
        ("latency=200", "latency=20000"),
        ("passphrase=correct-horse&pbkeylen=32", "passphrase=correct-horse&pbkeylen=32"),
        ("streamid=camera/1", "streamid=camera/1"),
    ],
)
def test_every_frame_an_ffmpeg_peer_sends_is_decoded(clip, mode, ours, theirs):
    port = free_port()
    our_host, their_mode = ("", "caller") if mode == "listener" else ("127.0.0.1", "listener")
    url = f"srt://{our_host}:{port}?connect_timeout=50000&{ours}"
    with ffmpeg_srt_sender(clip, f"srt://127.0.0.1:{port}?mode={their_mode}&{theirs}"):
        source = open_live_source(url, channel=make_channel())
        assert isinstance(source, LiveSource)
        counts = decode_counts(source)
        source.close()

    assert counts == count_frames(clip)


def test_a_source_is_open_long_before_its_peer_has_sent_all(clip):
    port = free_port()
    pause = threading.Event()
    with ffmpeg_srt_sender(clip, f"srt://127.0.0.1:{port}", pause):
        source = open_live_source(f"srt://:{port}", channel=make_channel())
        assert source is not None
        assert source.is_live
        assert source.context.format_name == "mpegts"
        assert [stream.kind for stream in source.context.streams] == ["AVMEDIA_TYPE_VIDEO", "AVMEDIA_TYPE_AUDIO"]
        assert source.context.duration is None
        pause.set()
        counts = decode_counts(source)
        source.close()

    assert counts == count_frames(clip)


def test_a_live_job_completes_with_its_results_when_the_peer_closes(clip, tmp_path):
    port, worker, progressions = free_port(), NotingWorker(kinds="VIDEO AUDIO"), []
    target = tmp_path / "results.json"
    channel = McaiChannel(7, lambda _job_id, percent: progressions.append(percent))
    session = session_for(worker, channel, source_path=f"srt://:{port}", destination_path=str(target))
    with ffmpeg_srt_sender(clip, f"srt://127.0.0.1:{port}"):
        session.open()
        result = session.run()

    expected = count_frames(clip)
    assert {index: len(frames) for index, frames in worker.frames.items()} == {
        0: expected["video"],
        1: expected["audio"],
    }
    assert worker.endings == 1
    assert progressions == [], "nobody knows how long a live source will be"
    assert result["destination_paths"] == [str(target)]
    assert len(json.loads(target.read_text())["frames"]) == sum(expected.values())


@pytest.mark.parametrize("phase", ["waiting for a peer", "waiting for its first bytes", "reading"])
def test_a_stop_is_answered_in_every_phase(clip, tmp_path, phase):
    port, channel, worker = free_port(), make_channel(), SignallingWorker()
    url = f"srt://:{port}?timeout=60000"
    session = session_for(worker, channel, source_path=url, destination_path=str(tmp_path / "out.json"))

    def run():
        session.open()
        return session.run()

    running = InThread(run)
    peer = None
    if phase != "waiting for a peer":
        peer = open_connection(parse_srt_url(f"srt://127.0.0.1:{port}"), make_channel())
    if phase == "reading":
        # Half of the clip, then silence: the worker has frames, the reader waits for more.
        data = clip.read_bytes()
        for start in range(0, len(data) // 2, 1316):
            peer.send(data[start : start + 1316])
        assert worker.has_frames.wait(20)
    running.thread.join(0.3)
    assert running.thread.is_alive()

    channel._request_stop()
    running.result(timeout_seconds=2)

    assert worker.endings == (1 if phase == "reading" else 0)
    if peer is not None:
        peer.close()


def test_a_peer_that_falls_silent_ends_the_job_with_a_time_out(clip, tmp_path):
    port, worker = free_port(), NotingWorker()
    url = f"srt://:{port}?timeout=500"
    session = session_for(worker, make_channel(), source_path=url, destination_path=str(tmp_path / "out.json"))
    opening = InThread(session.open)
    peer = open_connection(parse_srt_url(f"srt://127.0.0.1:{port}"), make_channel())
    data = clip.read_bytes()
    for start in range(0, len(data) // 2, 1316):
        peer.send(data[start : start + 1316])
    opening.result()

    with pytest.raises(MediaTimeoutError, match="sent nothing for 500 ms"):
        session.run()
    assert worker.endings == 1
    peer.close()


def test_a_peer_that_never_speaks_is_a_time_out():
    listener_url = "srt://:{port}?timeout=300"

    with pytest.raises(MediaTimeoutError, match="sent nothing for 300 ms"), open_source_from(listener_url):
        pass


def test_a_peer_that_leaves_without_a_word_is_an_error():
    with pytest.raises(MediaSourceError, match="closed before it sent anything"), open_source_from(leave=True):
        pass


def test_what_begins_like_mpeg_ts_and_is_none_is_an_error():
    with (
        pytest.raises(MediaSourceError, match="cannot be opened"),
        open_source_from(messages=[b"G" + bytes(1315)] * 20, leave=True),
    ):
        pass


@pytest.mark.parametrize(
    "messages",
    [
        [XML.format("one").encode(), XML.format("two").encode()],
        [b'{"a": 1}', b'{"b": [2]}'],
        [b"<a/>", b"<!-- x --><b>1</b>\n", b"plain words"],
    ],
)
def test_documents_arrive_one_by_one(messages):
    with open_source_from(messages=messages, leave=True) as source:
        assert source.context.format_name == "data"
        assert [stream.kind for stream in source.context.streams] == ["AVMEDIA_TYPE_DATA"]
        packets = list(source.container.demux(source.container.streams))

    assert [bytes(packet) for packet in packets] == messages
    assert packets[0].pts == 0
    assert [packet.pts for packet in packets] == sorted(packet.pts for packet in packets)


@pytest.mark.parametrize("document", [XML.format("x" * 5000).encode(), json.dumps({"a": ["}" * 900] * 5}).encode()])
def test_a_document_in_pieces_is_put_together(document):
    pieces = [document[start : start + 1456] for start in range(0, len(document), 1456)]

    with open_source_from(messages=[*pieces, b"<next/>"], leave=True) as source:
        documents = [bytes(packet) for packet in source.container.demux()]

    assert documents == [document, b"<next/>"]


def test_an_unfinished_document_does_not_swallow_the_next():
    whole = XML.format("whole").encode()

    with open_source_from(messages=[whole[:60], whole, whole[:50]], leave=True) as source:
        documents = [bytes(packet) for packet in source.container.demux()]

    assert documents == [whole[:60], whole, whole[:50]]


def test_documents_of_a_row_of_bytes_arrive_one_by_one():
    documents = [XML.format("x" * 1500 + str(number)).encode() + b"\n" for number in range(6)]
    row = b"".join(documents)

    pieces = [row[start : start + 1316] for start in range(0, len(row), 1316)]
    with open_source_from(messages=pieces, leave=True) as source:
        packets = list(source.container.demux())

    assert [bytes(packet).strip() for packet in packets] == [document.strip() for document in documents]


@pytest.mark.parametrize("behind", [b"", b"<!-- sent by x -->", b"\0", b"\n\0"])
def test_documents_of_one_message_arrive_one_by_one(behind):
    first, second, third = (XML.format(number).encode() for number in range(3))

    with open_source_from(messages=[first + behind + second + behind, third + behind], leave=True) as source:
        documents = [bytes(packet) for packet in source.container.demux()]

    assert [document.strip().removesuffix(behind) for document in documents] == [first, second, third]


class EchoingWorker:
    """Selects the data stream of a live source and returns what it gets."""

    def __init__(self, answer):
        self.answer = answer
        self.endings = 0

    def init_process(self, context, parameters):
        return [DataStreamDescriptor(0)]

    def process_frames(self, job_id, stream_index, frames):
        (frame,) = frames
        return self.answer(frame.data)

    def ending_process(self):
        self.endings += 1


@pytest.mark.parametrize("mode", ["listener", "caller"])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (lambda data: {"length": len(data)}, b'{"length":8}'),
        (lambda data: XML.format(data.decode()), XML.format("[1, 2 ]\n").encode()),
        (lambda data: None, b"null"),
    ],
)
def test_each_result_is_one_message_and_the_last_one_arrives(mode, answer, expected):
    source_port, port = free_port(), free_port()
    our_host, their_host = ("", "127.0.0.1") if mode == "listener" else ("127.0.0.1", "")
    worker = EchoingWorker(answer)
    session = session_for(
        worker,
        make_channel(),
        source_path=f"srt://:{source_port}",
        destination_path=f"srt://{our_host}:{port}?latency=20",
    )
    receiving = InThread(lambda: open_connection(parse_srt_url(f"srt://{their_host}:{port}"), make_channel()))

    def run():
        session.open()
        return session.run()

    running = InThread(run)
    receiver = receiving.result()
    sender = open_connection(parse_srt_url(f"srt://127.0.0.1:{source_port}"), make_channel())
    for _ in range(50):
        sender.send(b"[1, 2 ]\n")
    sender.drain()
    sender.close()
    received = []
    while message := receiver.receive(10_000):
        received.append(message)
    running.result()

    assert received == [expected] * 50
    assert worker.endings == 1
    receiver.close()


def test_live_subtitle_documents_reach_their_own_method():
    source_port, port = free_port(), free_port()

    class Translator:
        def __init__(self):
            self.documents = []

        def init_process(self, context, parameters):
            return [DataStreamDescriptor(0)]

        def process_ebu_ttml_live(self, job_id, stream_index, frames):
            self.documents += [(job_id, stream_index, document) for document in frames]
            (document,) = frames
            return to_xml(dataclasses.replace(document, sequence_number=document.sequence_number + 100))

        def ending_process(self):
            pass

    worker = Translator()
    url = f"srt://:{source_port}"
    session = session_for(worker, make_channel(), source_path=url, destination_path=f"srt://127.0.0.1:{port}")
    receiving = InThread(lambda: open_connection(parse_srt_url(f"srt://:{port}"), make_channel()))

    def run():
        session.open()
        return session.run()

    running = InThread(run)
    receiver = receiving.result()
    sender = open_connection(parse_srt_url(f"srt://127.0.0.1:{source_port}"), make_channel())
    for number in range(1, 4):
        sender.send(LIVE_DOCUMENT.format(number).encode())
    sender.drain()
    sender.close()
    received = []
    while message := receiver.receive(10_000):
        received.append(parse_ebu_tt(message))
    running.result()

    assert [(job_id, index) for job_id, index, _ in worker.documents] == [("7", 0)] * 3
    assert [document.sequence_number for _, _, document in worker.documents] == [1, 2, 3]
    assert [document.text for _, _, document in worker.documents] == ["number 1", "number 2", "number 3"]
    assert [document.sequence_number for document in received] == [101, 102, 103]
    receiver.close()


def test_other_xml_goes_to_process_frames_beside_documents(tmp_path, caplog):
    port = free_port()

    class Both(NotingWorker):
        def __init__(self):
            super().__init__("DATA", note=lambda packet: packet.data)
            self.numbers = []

        def process_ebu_ttml_live(self, job_id, stream_index, documents):
            self.numbers += [document.sequence_number for document in documents]

    worker = Both()
    target = tmp_path / "results.json"
    session = session_for(worker, make_channel(), source_path=f"srt://:{port}", destination_path=str(target))

    def run():
        session.open()
        return session.run()

    running = InThread(run)
    sender = open_connection(parse_srt_url(f"srt://127.0.0.1:{port}"), make_channel())
    others = [b'<?xml version="1.0"?><meta><tt/></meta>', b"<!-- x --><meta/>", b'{"a":1}']
    broken = b'<?xml version="1.0"?><!-- x --><tt xmlns="http://www.w3.org/ns/ttml"><body></tt>'
    commented = b"<!-- x -->" + LIVE_DOCUMENT.format(2).encode().partition(b"?>")[2]
    for message in [LIVE_DOCUMENT.format(1).encode(), *others, broken, commented]:
        sender.send(message)
    sender.drain()
    sender.close()
    result = running.result()

    assert worker.numbers == [1, 2]
    assert worker.frames == {0: others}
    assert {item["id"]: item["value"] for item in result["parameters"]} == {"corrupt_packets": 1}
    assert "Dropped a packet of stream 0: The TTML document is not well-formed" in caplog.text


def test_a_destination_with_nobody_there_is_a_time_out():
    url = f"srt://127.0.0.1:{free_port()}?connect_timeout=300"

    with pytest.raises(MediaTimeoutError, match="did not answer within 300 ms"):
        open_live_destination(url, channel=make_channel())


def test_a_stop_ends_waiting_for_who_takes_the_results():
    channel = make_channel()
    opening = InThread(lambda: open_live_destination(f"srt://:{free_port()}", channel=channel))

    channel._request_stop()

    assert opening.result() is None


@pytest.mark.parametrize("url", ["srt://h:1?speed=9", "srt://h"])
def test_a_bad_url_is_an_error_of_its_side(url):
    with pytest.raises(MediaDestinationError):
        open_live_destination(url, channel=make_channel())
    with pytest.raises(MediaSourceError):
        open_live_source(url, channel=make_channel())


def test_a_result_too_large_for_one_message_is_a_destination_error():
    port = free_port()
    opening = InThread(lambda: open_live_destination(f"srt://:{port}", channel=make_channel()))
    receiver = open_connection(parse_srt_url(f"srt://127.0.0.1:{port}"), make_channel())
    writer = opening.result()

    with pytest.raises(MediaDestinationError, match=r"expected 1 to 1456.*transtype=file"):
        writer.write({"text": "x" * 1500})
    writer.discard()
    receiver.close()


def test_results_of_any_size_go_where_both_ends_chose_the_file_transport():
    port = free_port()
    opening = InThread(lambda: open_live_destination(f"srt://:{port}?transtype=file", channel=make_channel()))
    receiver = open_connection(parse_srt_url(f"srt://127.0.0.1:{port}?transtype=file"), make_channel())
    writer = opening.result()

    writer.write({"text": "x" * 50_000})
    finishing = InThread(writer.finish)

    assert json.loads(receiver.receive(10_000)) == {"text": "x" * 50_000}
    finishing.result()
    receiver.close()


def test_a_connection_pair_can_be_closed_twice():
    listener, caller = connect_pair()
    for end in (listener, caller, listener, caller):
        end.close()

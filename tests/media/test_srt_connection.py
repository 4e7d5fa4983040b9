"""SRT connections between two real ends on loopback."""

import ctypes
import re
import socket

import pytest

from mcai_worker_sdk.errors import MediaError, MediaTimeoutError
from mcai_worker_sdk.media.srt import SrtConnection, libsrt, open_connection, parse_srt_url
from tests.media.live_support import HoldingRelay, InThread, connect_pair, free_port, lossy_pair, make_channel


@pytest.fixture
def pair():
    listener, caller = connect_pair()
    yield listener, caller
    caller.close()
    listener.close()


def test_messages_keep_their_boundaries_both_ways(pair):
    listener, caller = pair
    for sender, receiver in ((caller, listener), (listener, caller)):
        for message in (b"one", b"x" * 1456, b"three"):
            assert sender.send(message)
        assert [receiver.receive(5000) for _ in range(3)] == [b"one", b"x" * 1456, b"three"]


def test_all_that_was_sent_is_received_though_the_sender_closes_at_once():
    listener, caller = connect_pair()
    messages = [f"{number}:".encode().ljust(1300, b".") for number in range(3000)]

    def send_all():
        for message in messages:
            caller.send(message)
        confirmed = caller.drain()
        caller.close()
        return confirmed

    sending = InThread(send_all)
    received = []
    while message := listener.receive(5000):
        received.append(message)

    assert sending.result() is True
    assert received == messages
    assert listener.receive(5000) == b""
    listener.close()


def test_a_message_that_arrives_together_with_the_peers_goodbye_is_received():
    # libsrt's blocking receive takes such a message from its buffer and then answers "connection lost".
    port = free_port()
    with HoldingRelay(port) as relay:
        listener, caller = connect_pair(port=port, called_port=relay.port)
        receiving = InThread(lambda: listener.receive(10_000))
        relay.hold()
        caller.send(b"the last word")
        assert relay.has_data.wait(10)
        caller.close()
        assert relay.has_shutdown.wait(10)

        relay.release()

        assert receiving.result() == b"the last word"
        assert listener.receive(10_000) == b""
        listener.close()


@pytest.mark.parametrize("sender", ["caller", "listener"])
def test_a_slow_receiver_makes_the_sender_wait_and_loses_nothing(sender):
    listener, caller = connect_pair()
    source, sink = (caller, listener) if sender == "caller" else (listener, caller)
    count = 40_000

    def send_all():
        for number in range(count):
            source.send(number.to_bytes(4, "big") * 300)
        return source.drain()

    sending = InThread(send_all)
    # More is sent than the receiver's buffer holds, before anything is read.
    sending.thread.join(1.0)
    numbers = [int.from_bytes(sink.receive(10_000)[:4], "big") for _ in range(count)]

    assert numbers == list(range(count))
    assert sending.result() is True
    caller.close()
    listener.close()


def test_a_message_larger_than_a_packet_needs_the_file_transport(pair):
    _, caller = pair

    with pytest.raises(MediaError, match=r"1457 bytes; expected 1 to 1456 .*transtype=file on both ends"):
        caller.send(b"x" * 1457)
    with pytest.raises(MediaError, match="0 bytes"):
        caller.send(b"")


def test_the_file_transport_carries_large_messages_whole():
    listener, caller = connect_pair("transtype=file", "transtype=file")
    large = bytes(range(256)) * 2000

    assert caller.send(large)
    assert caller.send(b"small")
    assert listener.receive(5000) == large
    assert listener.receive(5000) == b"small"
    caller.close()
    listener.close()


def test_the_two_transports_refuse_each_other():
    with pytest.raises(MediaError, match=r"refused the connection.*transtype"):
        connect_pair("transtype=file", "transtype=live")


@pytest.mark.parametrize("sender", ["caller", "listener"])
def test_a_network_that_loses_packets_loses_no_message(monkeypatch, sender):
    monkeypatch.setattr("mcai_worker_sdk.media.srt.connection._DRAIN_SECONDS", 50)
    with lossy_pair(lose_one_in=15) as (listener, caller):
        source, sink = (caller, listener) if sender == "caller" else (listener, caller)
        messages = [f"{number}:".encode().ljust(1000, b".") for number in range(2000)]

        def send_all():
            for message in messages:
                source.send(message)
            return source.drain()

        sending = InThread(send_all)
        received = [sink.receive(10_000) for _ in messages]

        assert received == messages
        assert sending.result(55) is True


@pytest.mark.parametrize("key_length", [16, 24, 32])
def test_a_common_passphrase_encrypts(key_length):
    options = f"passphrase=correct-horse&pbkeylen={key_length}"
    listener, caller = connect_pair(options, options)

    caller.send(b"secret")

    assert listener.receive(5000) == b"secret"
    caller.close()
    listener.close()


@pytest.mark.parametrize("caller_options", ["passphrase=wrong-horse", ""])
def test_another_passphrase_is_refused_without_being_repeated(caller_options):
    with pytest.raises(MediaError, match="refused the connection") as caught:
        connect_pair("passphrase=correct-horse", caller_options)

    assert "horse" not in str(caught.value)


@pytest.mark.parametrize("length", [10, 80])
def test_a_passphrase_may_be_as_long_as_libsrt_takes_it(length):
    options = f"passphrase={'p' * length}"
    listener, caller = connect_pair(options, options)

    caller.send(b"secret")

    assert listener.receive(5000) == b"secret"
    caller.close()
    listener.close()


@pytest.mark.parametrize("length", [9, 81])
def test_a_passphrase_that_libsrt_does_not_take_is_refused_by_its_length(length):
    with pytest.raises(MediaError, match=f"passphrase has {length} bytes; expected 10 to 80"):
        parse_srt_url(f"srt://:9000?passphrase={'p' * length}")
    library = libsrt.load_library()
    handle = library.call("create_socket")
    with pytest.raises(libsrt.SrtCallError):
        library.set_bytes(handle, libsrt.Option.PASSPHRASE, b"p" * length)
    library.call("close", handle)


@pytest.mark.parametrize(
    ("caller_options", "reason"),
    [("passphrase=wrong-horse", "Incorrect passphrase"), ("", "Password required or unexpected")],
)
def test_a_listener_tells_why_it_refused_its_callers(caplog, caller_options, reason):
    port = free_port()
    listen = f"srt://:{port}?passphrase=correct-horse&connect_timeout=3000"
    listening = InThread(lambda: open_connection(parse_srt_url(listen), make_channel()))
    while listening.thread.is_alive():
        with pytest.raises(MediaError):
            open_connection(
                parse_srt_url(f"srt://127.0.0.1:{port}?{caller_options}&connect_timeout=500"), make_channel()
            )

    with pytest.raises(MediaTimeoutError, match=rf"called .*, but for those that were refused \({reason}\); expected"):
        listening.result()
    # Once, however often they called.
    assert [message for message in caplog.messages if f":{port} was refused" in message] == [
        f"An SRT caller of srt://:{port} was refused: {reason}. Compare the options of both ends"
    ]


def test_the_listener_learns_the_callers_stream_id():
    listener, caller = connect_pair(caller_options="streamid=%23!::r=camera/1")

    assert listener.stream_id == "#!::r=camera/1"
    caller.close()
    listener.close()


def test_a_caller_that_was_faster_than_the_wait_for_it_is_accepted(monkeypatch):
    port, callers = free_port(), []
    real_call = libsrt.SrtLibrary.call

    def call(library, name, *arguments):
        answer = real_call(library, name, *arguments)
        if name == "listen":
            callers.append(open_connection(parse_srt_url(f"srt://127.0.0.1:{port}"), make_channel()))
        return answer

    monkeypatch.setattr(libsrt.SrtLibrary, "call", call)
    listener = open_connection(parse_srt_url(f"srt://:{port}?connect_timeout=5000"), make_channel())
    (caller,) = callers

    caller.send(b"early")
    assert listener.receive(5000) == b"early"
    caller.close()
    listener.close()


def test_a_listener_with_a_stream_id_waits_for_the_caller_that_has_it():
    port, channel = free_port(), make_channel()
    listening = InThread(lambda: open_connection(parse_srt_url(f"srt://:{port}?streamid=right"), channel))
    for wrong in ("?streamid=wrong", ""):
        with pytest.raises(MediaError, match="refused the connection"):
            open_connection(parse_srt_url(f"srt://127.0.0.1:{port}{wrong}"), make_channel())

    right = open_connection(parse_srt_url(f"srt://127.0.0.1:{port}?streamid=right"), make_channel())
    listener = listening.result()

    assert isinstance(listener, SrtConnection)
    assert right is not None
    right.send(b"hello")
    assert listener.receive(5000) == b"hello"
    right.close()
    listener.close()


def test_ipv6_addresses_are_called():
    port = free_port()
    listening = InThread(lambda: open_connection(parse_srt_url(f"srt://[::1]:{port}?mode=listener"), make_channel()))
    caller = open_connection(parse_srt_url(f"srt://[::1]:{port}"), make_channel())
    listener = listening.result()

    assert caller is not None
    assert isinstance(listener, SrtConnection)
    caller.close()
    listener.close()


def test_a_caller_with_nobody_there_times_out():
    url = parse_srt_url(f"srt://127.0.0.1:{free_port()}?connect_timeout=300")

    with pytest.raises(MediaTimeoutError, match=r"did not answer within 300 ms.*connect_timeout"):
        open_connection(url, make_channel())


def test_a_listener_with_a_connect_timeout_times_out():
    url = parse_srt_url(f"srt://:{free_port()}?connect_timeout=300")

    with pytest.raises(MediaTimeoutError, match="No SRT peer called"):
        open_connection(url, make_channel())


@pytest.mark.parametrize("url", ["srt://:{port}", "srt://127.0.0.1:{port}?connect_timeout=60000"])
def test_a_stop_ends_waiting_for_a_peer(url):
    channel = make_channel()
    opening = InThread(lambda: open_connection(parse_srt_url(url.format(port=free_port())), channel))
    opening.thread.join(0.3)
    assert opening.thread.is_alive()

    channel._request_stop()

    assert opening.result(timeout_seconds=2) is None


def test_a_stop_ends_receiving():
    channel = make_channel()
    listener, caller = connect_pair(channel=channel)
    receiving = InThread(lambda: listener.receive(None))

    channel._request_stop()

    assert receiving.result() is None
    caller.close()
    listener.close()


def test_closing_ends_receiving_in_another_thread(pair):
    listener, _ = pair
    receiving = InThread(lambda: listener.receive(None))

    listener.close()

    assert not receiving.result()


def test_silence_times_out(pair):
    listener, _ = pair

    with pytest.raises(MediaTimeoutError, match=r"sent nothing for 200 ms.*option timeout"):
        listener.receive(200)


def test_sending_to_a_peer_that_left_fails(pair):
    listener, caller = pair
    listener.close()
    assert caller.receive(5000) == b""

    with pytest.raises(MediaError, match="took no more messages"):
        caller.send(b"late")
    assert caller.drain() is False


def test_a_taken_port_is_refused():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("0.0.0.0", 0))
        port = other.getsockname()[1]

        with pytest.raises(MediaError, match=r"cannot be made.*listener"):
            open_connection(parse_srt_url(f"srt://:{port}"), make_channel())


def test_a_host_without_an_address_is_refused():
    with pytest.raises(MediaError, match=r"'nowhere.invalid'.*has no address"):
        open_connection(parse_srt_url("srt://nowhere.invalid:9000"), make_channel())


def test_without_libsrt_the_error_names_the_package():
    with pytest.raises(MediaError, match=r"not installed.*apt-get install libsrt1.5-openssl"):
        libsrt._load_once(("libsrt-of-nobody.so.1",), ("srt-of-nobody",))


@pytest.mark.parametrize("name", ["libsrt.so.1.5", "libsrt-gnutls.so.1.5"])
def test_both_flavours_of_libsrt_answer(name):
    assert libsrt._load_once((name,), ()).version.startswith("1.5.")


def test_a_peer_that_left_in_the_instant_it_was_accepted_has_ended():
    class Broken:
        """A socket whose peer is gone before its first option is read."""

        def fail(self, *_arguments):
            raise libsrt.SrtCallError(2001, "Connection was broken")

        get_text = set_int = call = fail

    connection = SrtConnection(Broken(), 1, parse_srt_url("srt://:9000"), make_channel())

    assert connection.receive(timeout_ms=1000) == b""


@pytest.mark.parametrize(
    ("options", "idle_ms"), [("", 5000), ("timeout=800", 5000), ("timeout=20000", 21_000), ("timeout=0", 5000)]
)
@pytest.mark.parametrize("end", ["listener", "caller"])
def test_a_peer_may_be_away_for_as_long_as_the_url_says(end, options, idle_ms):
    listener, caller = connect_pair(**{f"{end}_options": options})
    connection = listener if end == "listener" else caller
    value, length = ctypes.c_int(), ctypes.c_int(4)
    connection._library.call(
        "getsockflag", connection._handle, libsrt.Option.PEERIDLETIMEO, ctypes.byref(value), ctypes.byref(length)
    )
    assert value.value == idle_ms
    caller.close()
    listener.close()


def test_a_peer_that_is_gone_without_a_goodbye_is_told(caplog):
    port = free_port()
    with HoldingRelay(port) as relay:
        listener, caller = connect_pair(port=port, called_port=relay.port)
        caller.send(b"the last word")
        assert listener.receive(5000) == b"the last word"
        relay.hold()

        assert listener.receive(20_000) == b""

        assert re.search(rf"The connection of srt://:{port} broke after \d+ s of silence; this is taken", caplog.text)
        listener.close()
        caller.close()


def test_a_goodbye_is_not_told(pair, caplog):
    listener, caller = pair
    caller.send(b"the last word")
    assert caller.drain()
    caller.close()
    assert [listener.receive(5000), listener.receive(5000)] == [b"the last word", b""]
    assert "broke" not in caplog.text

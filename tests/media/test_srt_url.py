"""srt:// URLs."""

import pytest

from mcai_worker_sdk.errors import MediaError
from mcai_worker_sdk.media.addresses import is_srt_url
from mcai_worker_sdk.media.srt import parse_srt_url


@pytest.mark.parametrize(
    ("url", "mode", "host"),
    [
        ("srt://:9000", "listener", ""),
        ("srt://example.org:9000", "caller", "example.org"),
        ("srt://[::1]:9000", "caller", "::1"),
        ("srt://127.0.0.1:9000?mode=listener", "listener", "127.0.0.1"),
        ("SRT://example.org:9000?mode=caller", "caller", "example.org"),
    ],
)
def test_without_a_mode_the_host_decides_who_calls(url, mode, host):
    parsed = parse_srt_url(url)

    assert is_srt_url(url)
    assert (parsed.mode, parsed.host, parsed.port) == (mode, host, 9000)


def test_every_option_is_read():
    parsed = parse_srt_url(
        "srt://h:1?latency=120&passphrase=a+b%20c%2Fd12345&pbkeylen=32&streamid=%23!::r=live"
        "&connect_timeout=700&timeout=1500&transtype=file"
    )

    assert parsed.latency_ms == 120
    assert parsed.passphrase == "a+b c/d12345"
    assert parsed.key_length == 32
    assert parsed.stream_id == "#!::r=live"
    assert parsed.connect_timeout_ms == 700
    assert (parsed.timeout_ms, parsed.has_own_timeout) == (1500, True)
    assert parsed.transport == "file"


def test_a_stream_id_in_srts_own_form_needs_no_escapes():
    parsed = parse_srt_url("srt://h:1?streamid=#!::r=live/cam1,m=publish&passphrase=abcdefghij#klm")

    assert parsed.stream_id == "#!::r=live/cam1,m=publish"
    assert parsed.passphrase == "abcdefghij#klm"


def test_defaults_are_those_existing_workers_know():
    caller, listener = parse_srt_url("srt://h:1"), parse_srt_url("srt://:1")

    assert (caller.latency_ms, caller.connect_timeout_ms, caller.timeout_ms) == (500, 3000, 10_000)
    assert listener.connect_timeout_ms is None
    assert parse_srt_url("srt://h:1?timeout=0").timeout_ms is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("srt://host", ["port", "1 to 65535"]),
        ("srt://host:70000", ["port", "1 to 65535"]),
        ("srt://host:0", ["port", "1 to 65535"]),
        ("srt://:1?mode=caller", ["mode", "host"]),
        ("srt://h:1?mode=rendezvous", ["mode", "'rendezvous'", "caller or listener"]),
        ("srt://h:1?latency=200000", ["latency", "milliseconds", "microseconds"]),
        ("srt://h:1?latency=-1", ["latency", "'-1'"]),
        ("srt://h:1?pbkeylen=20", ["pbkeylen", "16, 24 or 32"]),
        ("srt://h:1?timeout=soon", ["timeout", "'soon'", "milliseconds"]),
        ("srt://h:1/live/key", ["path", "streamid"]),
        ("srt://h:1#live", ["port", "1 to 65535"]),
        ("srt://h:1?maxbw=1", ["maxbw", "not known", "passphrase", "streamid"]),
        ("srt://h:1?latency=1&latency=2", ["latency", "twice"]),
        ("srt://h:1?transtype=stream", ["transtype", "live or file"]),
        ("srt://h:1?streamid=" + "x" * 513, ["streamid", "513", "512"]),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_by_name(url, words):
    with pytest.raises(MediaError) as caught:
        parse_srt_url(url)

    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("url", ["srt://h:1?passphrase=hushhush", "srt://u:hushhush@h:1", "srt://u:hushhush@h"])
def test_a_refusal_never_repeats_a_secret(url):
    with pytest.raises(MediaError) as caught:
        parse_srt_url(url)

    assert "hushhush" not in str(caught.value)


def test_the_passphrase_is_in_no_repr():
    assert "hushhushhush" not in repr(parse_srt_url("srt://h:1?passphrase=hushhushhush"))

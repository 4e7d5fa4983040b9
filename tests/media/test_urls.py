"""Addresses as errors and logs show them."""

from __future__ import annotations

import pytest

from mcai_worker_sdk.media.addresses import is_network_url, shown_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("/media/file@1.mp4", "/media/file@1.mp4"),
        ("https://server/a@b.mp4", "https://server/a@b.mp4"),
        ("https://user:hush@server/a.mp4?token=hush&x=1", "https://server/a.mp4?token=...&x=..."),
        ("rtmp://user:p@ssw0rd-tail@host/app", "rtmp://host/app"),
        ("srt://h:9000?passphrase=hush@hush", "srt://h:9000?passphrase=..."),
    ],
)
def test_an_address_is_shown_without_what_may_be_secret(url, shown):
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    ("url", "is_network"),
    [
        ("https://host/a", True),
        ("cache:http://host/a", True),
        ("async:cache:ftp://host/a", True),
        ("crypto+https://host/a", True),
        ("cache:file:///a", False),
        ("async:/a", False),
        ("subfile,,start,0,end,9,,:/a://b", False),
        ("concat:/a|/b", False),
        ("/a://b", False),
    ],
)
def test_a_network_source_is_known_behind_what_ffmpeg_puts_around_it(url, is_network):
    assert is_network_url(url) is is_network

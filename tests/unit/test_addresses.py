"""One rule for addresses: the literal name where there is such a file, else what a file: URL stands for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcai_worker_sdk.addresses import local_path, url_scheme

NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0") | st.sampled_from("%?#:;+&= 字"), min_size=1, max_size=40
).filter(lambda name: name not in {".", ".."} and len(os.fsencode(name)) < 200)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NAMES, st.booleans())
def test_every_name_comes_back_from_its_url(tmp_path, name, is_there):
    path = tmp_path / name
    if is_there:
        path.touch()
    uri = path.as_uri()
    try:
        for url in (uri, "FILE" + uri[4:], "file://LocalHost" + uri[7:], "file:" + uri[7:]):
            assert Path(local_path(url) or "") == path
    finally:
        path.unlink(missing_ok=True)


def test_bytes_that_are_no_utf_8_come_back_too():
    path = Path(os.fsdecode(b"/tmp/\xe9t\xe9"))

    assert local_path(path.as_uri()) == str(path)


@pytest.mark.parametrize(
    "name",
    ["a:b.mp4", "file:x", "concat:a|b", "http:x", "srt:x", "a%20b", "C:\\v", "pipe:0", "subfile,,start,0,end,9,,:a"],
)
def test_a_name_that_exists_is_taken_literally(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).touch()

    assert local_path(name) == name
    assert local_path(str(tmp_path / name)) == str(tmp_path / name)
    assert Path(local_path(f"file:{name}") or "") == Path(name)
    assert Path(local_path(f"file://{tmp_path}/{name}") or "") == tmp_path / name


def test_of_a_literal_and_a_decoded_name_the_literal_comes_first(tmp_path):
    encoded, decoded = tmp_path / "a%20b", tmp_path / "a b"
    decoded.touch()
    assert Path(local_path(f"file://{encoded}") or "") == decoded

    encoded.touch()
    assert Path(local_path(f"file://{encoded}") or "") == encoded


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("", ""),
        ("/no/such%20file", "/no/such%20file"),
        ("C:/no/such", "C:/no/such"),
        ("file:no/such%20file", "no/such file"),
        ("file:///no/such?x#y", "/no/such?x#y"),
        # A name with a NUL is none.
        ("file:///no/such%00file", "/no/such%00file"),
        # As FFmpeg takes it: a folder of that name.
        ("file://server/no%20such", "//server/no such"),
        ("file:\ud800", "\ud800"),
        ("http://host/a", None),
        ("concat:a|b", None),
        ("s3://bucket/a", None),
    ],
)
def test_what_is_not_there(address, path):
    assert local_path(address) == path


@pytest.mark.parametrize(
    ("address", "scheme"), [("FILE:a", "file"), ("C:/a", None), ("a/b:c", None), ("http://h", "http"), (":a", None)]
)
def test_a_scheme_has_two_letters_at_least(address, scheme):
    assert url_scheme(address) == scheme

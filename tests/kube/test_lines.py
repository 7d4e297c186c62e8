"""Answers taken apart."""

import msgspec
import pytest

from isthmus.kube.lines import ProtocolError, decode_line, decode_page, decode_status


def test_page() -> None:
    page = decode_page(b'{"kind":"PodList","metadata":{"resourceVersion":"5","continue":"c"},"items":[{"a":1},{}]}')
    assert (page.version, page.continued, [bytes(item) for item in page.items]) == ("5", "c", [b'{"a":1}', b"{}"])


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"items":[]}', b'{"metadata":{},"items":{}}', b"\xff"])
def test_what_is_no_page(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_page(body)


def test_line() -> None:
    line = decode_line(b'{"type":"ADDED","object":{"kind":"Pod","metadata":{"name":"p","resourceVersion":"9"}}}')
    assert (line.type, line.version) == ("ADDED", "9")
    assert bytes(line.object).startswith(b'{"kind"')


def test_line_of_an_object_that_is_broken_elsewhere_has_its_version() -> None:
    line = decode_line(b'{"type":"ADDED","object":{"metadata":{"name":5,"labels":[],"resourceVersion":"9"},"spec":1}}')
    assert line.version == "9"


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"type":"ADDED"}', b'{"type":"ADDED","object":{}}', b'{"type":1}'])
def test_what_is_no_line(text: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_line(text)


def test_status() -> None:
    status = decode_status(b'{"kind":"Status","code":429,"reason":"r","message":"m","details":{"retryAfterSeconds":3}}')
    assert (status.code, status.reason, status.message) == (429, "r", "m")
    assert status.details is not None
    assert status.details.retry_after_seconds == 3


@pytest.mark.parametrize("body", [b"upstream timed out\n", msgspec.Raw(b"upstream timed out")])
def test_what_is_no_status_is_its_own_message(body: bytes | msgspec.Raw) -> None:
    assert decode_status(body).message == "upstream timed out"

"""One string of bytes holds every form in which a resource is sent."""

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from isthmus.xds.resource import EDS, XdsResource


@pytest.mark.parametrize("size", [0, 1, 127, 128, 20_000])
def test_the_parts_are_tails_of_the_frame(size: int) -> None:
    made = XdsResource(EDS, "outbound|80||a.b", b"x" * size)
    resource = discovery_pb2.Resource.FromString(made.encode())
    assert (resource.name, resource.version, resource.resource.value) == (made.name, made.version, made.body)
    assert made.size == len(made.body) == size
    assert made.framed.endswith(made.encode())


def test_the_version_is_the_hash_of_the_body_unless_given() -> None:
    one, same, other = (XdsResource(EDS, "a", body) for body in (b"1", b"1", b"2"))
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one.version == same.version != other.version
    assert XdsResource(EDS, "a", b"1", "v7").version == "v7"
    assert one != "something else"


def test_it_says_what_it_is() -> None:
    assert repr(XdsResource(EDS, "a", b"123", "v")) == "XdsResource(EDS a v 3 B)"

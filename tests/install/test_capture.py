"""Capture: Istio's annotations become arguments of the init container, which the lab's own one understands."""

import pytest

from isthmus.base.errors import UsageError
from isthmus.install import capture
from isthmus_lab.init import capture_from

P = "traffic.sidecar.istio.io/"


def arguments(annotations: dict[str, str] | None = None, *, dns: bool = True) -> list[str]:
    made = capture.arguments({P + key: value for key, value in (annotations or {}).items()}, dns=dns)
    assert made is not None
    return made


def test_by_default_everything_is_captured_but_the_proxys_own_ports() -> None:
    assert arguments() == [
        *("-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT"),
        *("-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020", "--redirect-dns"),
    ]


@pytest.mark.parametrize(
    ("annotations", "field", "value"),
    [
        ({"excludeInboundPorts": "22, 8080"}, "exclude_inbound", {22, 8080, 15090, 15021, 15020, 15008}),
        ({"excludeOutboundPorts": "3306"}, "exclude_outbound", {3306, 15012}),
        ({"excludeOutboundIPRanges": "10.1.0.0/16,10.2.0.0/16"}, "exclude_ranges", ("10.1.0.0/16", "10.2.0.0/16")),
        ({"includeOutboundIPRanges": "10.0.0.0/8"}, "include_ranges", ("10.0.0.0/8",)),
        ({"includeInboundPorts": "80,443"}, "include_inbound", {80, 443}),
        ({"includeInboundPorts": ""}, "include_inbound", set()),
        ({"includeInboundPorts": "*"}, "include_inbound", None),
    ],
)
def test_annotations_reach_the_packet_rules(annotations: dict[str, str], field: str, value: object) -> None:
    made = capture_from(arguments(annotations))
    assert getattr(made, field) == value


def test_names_are_captured_only_if_wanted() -> None:
    for dns, port in ((True, 15053), (False, None)):
        made = capture_from(arguments(dns=dns))
        assert made is not None
        assert made.dns_port == port


def test_interception_none_captures_nothing() -> None:
    assert capture.arguments({capture.INTERCEPTION: "NONE"}, dns=True) is None


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        (P + "excludeInboundPorts", "http", "'http', which is no port"),
        (P + "excludeOutboundPorts", "0", "'0', which is no port"),
        (P + "excludeOutboundPorts", "*", "which is no port"),
        (P + "includeInboundPorts", "70000", "'70000', which is no port"),
        (P + "excludeOutboundIPRanges", "10.0.0.0/99", "10.0.0.0/99"),
        (P + "includeOutboundIPRanges", "here", "here"),
        (capture.INTERCEPTION, "TPROXY", "'TPROXY'"),
    ],
)
def test_what_cannot_be_understood_is_refused_by_name(name: str, value: str, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        capture.arguments({name: value}, dns=True)
    assert says in refused.value.message
    assert name in refused.value.message
    assert refused.value.remedy

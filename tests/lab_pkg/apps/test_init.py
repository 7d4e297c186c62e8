"""The init container's arguments, as injection writes them."""

import pytest

from isthmus.install import capture as injected
from isthmus.install.capture_rules import Capture
from isthmus_lab.init import capture_from

DEFAULT = Capture()


def captured(*arguments: str) -> Capture:
    capture = capture_from(arguments)
    assert capture is not None
    return capture


def test_the_defaults() -> None:
    assert captured() == DEFAULT


def test_what_injection_writes_for_a_pod_without_annotations() -> None:
    arguments = injected.arguments({}, dns=True)
    assert arguments is not None
    assert captured("istio-iptables", *arguments) == DEFAULT


def test_annotations_arrive() -> None:
    annotations = {
        "traffic.sidecar.istio.io/excludeOutboundPorts": "443,9000",
        "traffic.sidecar.istio.io/excludeInboundPorts": "81",
        "traffic.sidecar.istio.io/includeOutboundIPRanges": "10.0.0.0/8",
        "traffic.sidecar.istio.io/excludeOutboundIPRanges": "10.1.0.0/16",
        "traffic.sidecar.istio.io/includeInboundPorts": "80",
    }
    arguments = injected.arguments(annotations, dns=False)
    assert arguments is not None
    capture = captured("istio-iptables", *arguments)
    assert capture.exclude_outbound == {443, 9000, 15012}
    assert capture.exclude_inbound >= {81, 15020, 15021}
    assert capture.include_ranges == ("10.0.0.0/8",)
    assert capture.exclude_ranges == ("10.1.0.0/16",)
    assert capture.include_inbound == frozenset({80})
    assert capture.dns_port is None


def test_clean() -> None:
    assert capture_from(["--clean"]) is None


def test_other_interception_modes_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        capture_from(["-m", "TPROXY"])
    assert "invalid choice" in capsys.readouterr().err

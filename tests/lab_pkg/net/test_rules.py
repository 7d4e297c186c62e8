"""What the rules say, read back in words."""

from isthmus.install.capture_rules import Capture, capture_chains
from isthmus_lab.net import nft
from isthmus_lab.net.rules import (
    ServicePort,
    core_chains,
    router_chains,
    service_chains,
    wan_segments_cut,
)
from tests.lab_pkg.net.decode import words

TCP = "nfproto==ipv4 l4proto==tcp"
UDP = "nfproto==ipv4 l4proto==udp"


def text(chain: nft.Chain) -> list[str]:
    return [words(rule) for rule in chain.rules]


def test_capture_of_a_pod() -> None:
    outbound, inbound = capture_chains(Capture())
    assert text(outbound) == [
        "src==127.0.0.6 accept",
        f"mark==1337 oifname==lo dst&ff000000!=127.0.0.0 {TCP} redirect:15006",
        "mark==1337 accept",
        f"skuid==1337 oifname==lo dst&ff000000!=127.0.0.0 {TCP} redirect:15006",
        "skuid==1337 accept",
        f"{UDP} port==53 redirect:15053",
        f"{TCP} port==53 redirect:15053",
        "oifname==lo accept",
        f"{TCP} port==15012 accept",
        f"{TCP} redirect:15001",
    ]
    assert text(inbound) == [
        "iifname==lo accept",
        *(f"{TCP} port=={port} accept" for port in (22, 15008, 15020, 15021, 15090)),
        f"{TCP} redirect:15006",
    ]
    assert outbound.priority < service_chains([], "10.96.0.0/16")[0].priority


def test_capture_of_some_ports_and_ranges() -> None:
    capture = Capture(
        dns_port=None,
        include_ranges=("10.0.0.0/8",),
        exclude_ranges=("10.1.0.0/16",),
        exclude_outbound=frozenset({443}),
        include_inbound=frozenset({80}),
    )
    outbound, inbound = capture_chains(capture)
    assert text(outbound)[5:] == [
        "oifname==lo accept",
        "dst&ffff0000==10.1.0.0 accept",
        f"{TCP} port==443 accept",
        f"dst&ff000000==10.0.0.0 {TCP} redirect:15001",
    ]
    assert text(inbound)[-1] == f"{TCP} port==80 redirect:15006"


def test_a_service_goes_to_each_endpoint_equally() -> None:
    port = ServicePort("10.96.0.5", "tcp", 80, (("10.0.1.1", 8080), ("10.0.1.2", 8080), ("10.0.1.3", 8080)))
    chain, outside, refuse = service_chains([port], "10.96.0.0/16")
    assert text(chain) == [
        f"dst==10.96.0.5 {TCP} port==80 random%3==0 dnat:10.0.1.1:8080",
        f"dst==10.96.0.5 {TCP} port==80 random%2==0 dnat:10.0.1.2:8080",
        f"dst==10.96.0.5 {TCP} port==80 dnat:10.0.1.3:8080",
    ]
    assert text(outside) == ["oifname==wan0 masq"]
    assert text(refuse) == [f"dst&ffff0000==10.96.0.0 {TCP} reject", "dst&ffff0000==10.96.0.0 reject"]


def test_a_service_without_endpoints_is_only_refused() -> None:
    chain, *_ = service_chains([ServicePort("10.96.0.5", "udp", 53, ())], "10.96.0.0/16")
    assert chain.rules == ()


def test_a_router_lets_pods_out_and_nothing_in() -> None:
    forward, out = router_chains("10.10.0.0/16")
    assert forward.policy == nft.DROP
    assert text(forward) == ["ct&06000000!=00000000 accept", "iifname==lan oifname==wan accept"]
    assert text(out) == ["oifname==wan src&ffff0000==10.10.0.0 masq"]


def test_a_cut_is_silent_both_ways() -> None:
    (chain,) = core_chains({("198.18.0.0/20", "198.18.16.0/20")})
    assert text(chain) == [
        "src&fffff000==198.18.0.0 dst&fffff000==198.18.16.0 drop",
        "src&fffff000==198.18.16.0 dst&fffff000==198.18.0.0 drop",
    ]


def test_what_is_not_joined_is_cut() -> None:
    segments = {"a": "1", "b": "2", "c": "3"}
    assert wan_segments_cut(segments, frozenset({("a", "b")})) == {("1", "3"), ("2", "3")}

"""The init container: sets up the capture of a pod's traffic, with the arguments of istio-iptables that matter."""

import argparse
import sys
from collections.abc import Iterable

from isthmus.install import capture_rules as rules
from isthmus_lab.net import nft


def _ports(text: str) -> frozenset[int]:
    return frozenset(int(p) for p in text.split(",") if p.strip())


def _ranges(text: str) -> tuple[str, ...]:
    return tuple(r.strip() for r in text.split(",") if r.strip())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="isthmus-lab-init", description="Redirect a pod's traffic to its proxy.")
    add = parser.add_argument
    add("program", nargs="?", help="`istio-iptables`, as injection templates write it; no effect")
    add("-p", "--envoy-port", type=int, default=15001, help="outbound TCP goes here")
    add("-z", "--inbound-capture-port", type=int, default=15006, help="inbound TCP goes here")
    add("-u", "--proxy-uid", type=int, default=rules.PROXY_UID, help="this user's traffic is the proxy's own")
    add("-g", "--proxy-gid", help="no effect: the proxy is known by user and mark")
    add("-m", "--istio-inbound-interception-mode", choices=("REDIRECT",), default="REDIRECT")
    add("-i", "--istio-service-cidr", default="*", help="only destinations in these ranges are captured")
    add("-x", "--istio-service-exclude-cidr", default="", help="destinations in these ranges are not captured")
    add("-b", "--istio-inbound-ports", default="*", help="only these inbound ports are captured")
    add("-d", "--istio-local-exclude-ports", "--exclude-inbound-ports", dest="exclude_inbound", default="")
    add("-o", "--istio-local-outbound-ports-exclude", "--exclude-outbound-ports", dest="exclude_outbound", default="")
    add("--dns-port", type=int, default=15053, help="port 53 goes here, 0: names are not captured")
    add("--redirect-dns", action="store_true", help="no effect: names are captured by default")
    add("--log_output_level", help="no effect")
    add("--clean", action="store_true", help="remove the capture")
    return parser


def capture_from(arguments: Iterable[str]) -> rules.Capture | None:
    """What the arguments ask for; None: `--clean`."""
    args = _parser().parse_args(list(arguments))
    if args.clean:
        return None
    default = rules.Capture()
    everything = args.istio_inbound_ports == "*"
    return rules.Capture(
        outbound_port=args.envoy_port,
        inbound_port=args.inbound_capture_port,
        dns_port=args.dns_port or None,
        exclude_outbound=default.exclude_outbound | _ports(args.exclude_outbound),
        exclude_inbound=default.exclude_inbound | _ports(args.exclude_inbound),
        exclude_ranges=_ranges(args.istio_service_exclude_cidr),
        include_ranges=default.include_ranges if args.istio_service_cidr == "*" else _ranges(args.istio_service_cidr),
        include_inbound=None if everything else _ports(args.istio_inbound_ports),
        proxy_uid=args.proxy_uid,
    )


def main(arguments: list[str]) -> int:
    """Write the rules into the network namespace of this process."""
    capture = capture_from(arguments)
    if capture is None:
        nft.commit(nft.delete_messages(rules.CAPTURE_TABLE))
        sys.stdout.write("capture removed\n")
        return 0
    nft.commit(nft.table_messages(rules.CAPTURE_TABLE, rules.capture_chains(capture)))
    sys.stdout.write(f"outbound to {capture.outbound_port}, inbound to {capture.inbound_port}\n")
    return 0

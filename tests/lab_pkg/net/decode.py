"""Reads rules back with pyroute2's decoder, an independent implementation: tests compare words, not bytes."""

import ipaddress
import struct
from typing import Any

from pyroute2.netlink.nfnetlink.nftsocket import nft_rule_msg

from isthmus_lab.net import nft


def words(rule: nft.Rule) -> str:
    """A rule in words, close to what `nft list ruleset` prints."""
    message = nft.table_messages("t", [nft.Chain("c", "filter", "output", 0, (rule,))])[-1]
    decoded = nft_rule_msg(message)
    decoded.decode()
    loaded = ""
    said: list[str] = []
    registers: dict[str, bytes] = {}
    for expression in decoded.get_attr("NFTA_RULE_EXPRESSIONS"):
        name, data = expression.get_attr("NFTA_EXPR_NAME"), expression.get_attr("NFTA_EXPR_DATA")
        if name in ("payload", "meta", "ct", "numgen"):
            loaded = _source(name, data)
        elif name == "bitwise":
            mask = data.get_attr("NFTA_BITWISE_MASK").get_attr("NFTA_DATA_VALUE")
            loaded += f"&{mask.hex()}"
        elif name == "cmp":
            value = data.get_attr("NFTA_CMP_DATA").get_attr("NFTA_DATA_VALUE")
            sign = {"NFT_CMP_EQ": "==", "NFT_CMP_NEQ": "!="}[data.get_attr("NFTA_CMP_OP")]
            said.append(f"{loaded}{sign}{_shown(loaded, value)}")
        elif name == "immediate":
            content = data.get_attr("NFTA_IMMEDIATE_DATA")
            verdict = content.get_attr("NFTA_DATA_VERDICT")
            if verdict is not None:
                said.append({1: "accept", 0: "drop"}.get(_code(verdict), str(_code(verdict))))
            else:
                registers[data.get_attr("NFTA_IMMEDIATE_DREG")] = content.get_attr("NFTA_DATA_VALUE")
        else:
            said.append(_action(name, registers))
    return " ".join(said)


def _code(verdict: Any) -> int:
    code = verdict.get_attr("NFTA_VERDICT_CODE")
    return {"NF_ACCEPT": 1, "NF_DROP": 0}.get(code, -9)


def _source(name: str, data: Any) -> str:
    if name == "payload":
        place = (data.get_attr("NFTA_PAYLOAD_BASE"), data.get_attr("NFTA_PAYLOAD_OFFSET"))
        return {
            ("NFT_PAYLOAD_NETWORK_HEADER", 12): "src",
            ("NFT_PAYLOAD_NETWORK_HEADER", 16): "dst",
            ("NFT_PAYLOAD_TRANSPORT_HEADER", 2): "port",
        }[place]
    if name == "numgen":
        return f"random%{data.get_attr('NFTA_NG_MODULUS')}"
    if name == "ct":
        return "ct"
    return str(data.get_attr("NFTA_META_KEY")).removeprefix("NFT_META_").lower()


def _shown(source: str, value: bytes) -> str:
    if source.startswith(("src", "dst")):
        return str(ipaddress.IPv4Address(value))
    if source == "port":
        return str(struct.unpack(">H", value)[0])
    if source.endswith("ifname"):
        return value.rstrip(b"\0").decode()
    if source in ("mark", "skuid") or source.startswith("random"):
        return str(struct.unpack("=I", value)[0])
    return {b"\x06": "tcp", b"\x11": "udp", b"\x02": "ipv4"}.get(value, value.hex())


def _action(name: str, registers: dict[str, bytes]) -> str:
    first, second = registers.get("NFT_REG_1", b""), registers.get("NFT_REG_2", b"")
    if name == "redir":
        return f"redirect:{struct.unpack('>H', first)[0]}"
    if name == "nat":
        return f"dnat:{ipaddress.IPv4Address(first)}:{struct.unpack('>H', second)[0]}"
    return name

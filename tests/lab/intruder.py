"""Run inside a lab pod: how do the control plane's ports take a caller? Prints one JSON object.

python intruder.py peer '{"address", "port", "certificate", "cluster"}'    who follows the exports, as a linked cluster
python intruder.py csr '{"address", "token", "impersonated"}'              who asks for a certificate

The server is believed whoever it is: it is the server that is tested. `told`: types of what was answered.
"""

import json
import sys
from pathlib import Path
from typing import Any

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2

from isthmus.agent.secrets import make_request
from isthmus.edge.peer_server import DELTA, SERVICE
from isthmus.proto import ca_pb2
from isthmus.xds.resource import PEER_SERVICE, TRUST_BUNDLE

PATIENCE = 8.0


def channel(wanted: dict[str, Any], name: str) -> grpc.Channel:
    """To a server that shows any certificate of this name; under the roots that are given."""
    held = Path(wanted["certificate"]).read_bytes() if wanted.get("certificate") else None
    tls = grpc.ssl_channel_credentials(wanted["roots"].encode(), held, held)
    options = (("grpc.ssl_target_name_override", name), ("grpc.enable_http_proxy", 0))
    return grpc.secure_channel(f"{wanted['address']}:{wanted['port']}", tls, options=options)


def peer(wanted: dict[str, Any]) -> dict[str, Any]:
    """Ask for everything that linked control planes are told."""
    node = base_pb2.Node(id="peer~0.0.0.0~istiod-0.istio-system~istio-system.svc")
    node.metadata.update({"CLUSTER_ID": wanted["cluster"], "CHALLENGE": "x"})
    asked = [
        discovery_pb2.DeltaDiscoveryRequest(node=node, type_url=one, resource_names_subscribe=["*"])
        for one in (PEER_SERVICE, TRUST_BUNDLE)
    ]
    with channel(wanted, "istiod-peers.istio-system.svc") as opened:
        call = opened.stream_stream(f"/{SERVICE}/{DELTA}")
        answers = call((one.SerializeToString() for one in asked), timeout=PATIENCE)
        first = discovery_pb2.DeltaDiscoveryResponse.FromString(next(answers))
        answers.cancel()
    return {"outcome": "told", "names": [one.name for one in first.resources]}


def csr(wanted: dict[str, Any]) -> dict[str, Any]:
    """Ask for a certificate."""
    request = ca_pb2.IstioCertificateRequest(csr=make_request("spiffe://any/ns/any/sa/any").csr)
    if wanted.get("impersonated"):
        request.metadata["ImpersonatedIdentity"] = wanted["impersonated"]
    token = Path(wanted["token"]).read_text() if wanted["token"].startswith("/") else wanted["token"]
    metadata = (("authorization", f"Bearer {token}"), ("clusterid", wanted["cluster"]))
    with channel(wanted, "istiod.istio-system.svc") as opened:
        call = opened.unary_unary(
            "/istio.v1.auth.IstioCertificateService/CreateCertificate",
            request_serializer=ca_pb2.IstioCertificateRequest.SerializeToString,
            response_deserializer=ca_pb2.IstioCertificateResponse.FromString,
        )
        answer = call(request, metadata=metadata, timeout=PATIENCE)
    return {"outcome": "told", "certificates": len(answer.cert_chain)}


def main() -> None:
    """Knock, and print what was met."""
    wanted = json.loads(sys.argv[2])
    try:
        met = {"peer": peer, "csr": csr}[sys.argv[1]](wanted)
    except grpc.RpcError as error:
        met = {"outcome": error.code().name, "detail": error.details()}
    sys.stdout.write(json.dumps(met) + "\n")


if __name__ == "__main__":
    main()

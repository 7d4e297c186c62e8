"""What makes the clusters of a lab one mesh."""

import base64
import time
from pathlib import Path

import yaml

from isthmus.trust.authority import from_secret
from isthmus.trust.constraints import permits, signers
from isthmus_lab.labfile.load import load
from isthmus_lab.supervisor.mesh import RootAuthority, bound_to, cacerts
from isthmus_lab.supervisor.roles import mesh_objects

EXAMPLE = Path(__file__).parents[3] / "examples" / "two-networks"


def test_all_clusters_share_a_root_that_lasts(tmp_path: Path) -> None:
    root = RootAuthority(tmp_path / "ca").load()
    assert RootAuthority(tmp_path / "ca").load() == root
    assert (tmp_path / "ca" / "root-key.pem").stat().st_mode & 0o077 == 0
    authorities = []
    for cluster in ("east", "west"):
        data = {key: base64.b64decode(value) for key, value in cacerts(cluster, root)["data"].items()}
        authorities.append(from_secret(data, now=time.time()))
    east, west = authorities
    assert east.root_bundle == west.root_bundle
    assert east.certificate.subject != west.certificate.subject


def test_authorities_are_bound_where_trust_domains_differ(tmp_path: Path) -> None:
    assert bound_to(load(EXAMPLE), load(EXAMPLE).control_planes[0]) == ()
    lab = yaml.safe_load((EXAMPLE / "lab.yaml").read_text())
    lab.pop("include", None)
    lab["clusters"][1]["trustDomain"] = "west.example"
    (tmp_path / "lab.yaml").write_text(yaml.safe_dump(lab))
    world = load(tmp_path)
    domains = {plane.name: bound_to(world, plane) for plane in world.control_planes}
    assert domains == {"east": ("cluster.local",), "west": ("west.example",)}
    made = cacerts("west", RootAuthority(tmp_path / "ca").load(), domains["west"])["data"]
    authority = from_secret({key: base64.b64decode(value) for key, value in made.items()}, now=time.time())
    assert permits(signers(authority), "west.example")
    assert not permits(signers(authority), "cluster.local")


def test_each_cluster_gets_a_control_plane_and_a_gateway_on_the_wan() -> None:
    objects = mesh_objects(load(EXAMPLE), "west", {})
    deployments = {o["metadata"]["name"]: o for o in objects if o["kind"] == "Deployment"}
    assert deployments.keys() == {"istiod", "istio-eastwestgateway"}
    annotations = deployments["istio-eastwestgateway"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["lab.isthmus.dev/wan"] == "true"
    namespace = next(o for o in objects if o["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["topology.istio.io/network"] == "west-net"

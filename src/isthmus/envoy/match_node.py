"""What the proxy of a node does with its pods' connections, read from the resources it holds: a part of `match`."""

import msgspec
from envoy.extensions.filters.network.set_filter_state.v3 import set_filter_state_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from isthmus.envoy import match_routes
from isthmus.envoy.build import Message
from isthmus.envoy.filter_state import IDENTITY
from isthmus.envoy.filter_state import NAME as SET_FILTER_STATE
from isthmus.envoy.match import TCP_PROXY, Config, Connection, Target, Verdict, select_chain
from isthmus.envoy.naming import HBONE_PORT
from isthmus.envoy.node_outbound import SERVICES, WORKLOADS
from isthmus.envoy.tunnels import NAMES as TUNNELS


class NodeConfig(Config):
    """What the proxy of a node holds. Pods are named by their uid."""

    def pod_leaving(self, uid: str, connection: Connection) -> Verdict:
        """What happens to a connection of a pod, captured on its way out; targets say how they are reached."""
        thin = self.listeners.get(f"pod/{uid}/outbound")
        chain = select_chain(thin, connection) if thin is not None else None
        if chain is None or _cluster(chain) != SERVICES:
            return Verdict(closed="no listener takes what leaves the pod")
        return self._inside(SERVICES, connection)

    def identity(self, uid: str) -> str:
        """The certificate that tunnels of a pod show."""
        thin = self.listeners[f"pod/{uid}/outbound"]
        return next(
            str(value.format_string.text_format_source.inline_string)
            for chain in thin.filter_chains
            for one in chain.filters
            if one.name == SET_FILTER_STATE
            for value in set_filter_state_pb2.Config.FromString(one.typed_config.value).on_new_connection
            if value.object_key == IDENTITY
        )

    def pod_arriving(self, uid: str, connection: Connection) -> Verdict:
        """What happens to a plain connection to a pod."""
        return self._at(f"pod/{uid}/inbound", connection, "")

    def pod_tunnelled(self, uid: str, authority: str, peer: str, *, source: str = "") -> Verdict:
        """What happens to a tunnel to a pod, for an authority, from a caller with this certificate."""
        arrives = Connection(address="", port=HBONE_PORT, tls=True, peer=peer, source=source)
        found = self._at(f"pod/{uid}/hbone", arrives, authority)
        if found.closed:
            return found
        address, _, port = (found.route or authority).rpartition(":")
        return msgspec.structs.replace(found, targets=(Target(address=address.strip("[]"), port=int(port), share=1.0),))

    def _at(self, name: str, connection: Connection, authority: str) -> Verdict:
        listener = self.listeners.get(name)
        if listener is None:
            return Verdict(closed=f"no listener {name}")
        return self._through(listener, connection, {":authority": authority, ":method": "CONNECT", ":path": ""})

    def _inside(self, name: str, connection: Connection) -> Verdict:
        """A connection within the proxy, by where it was meant to go."""
        chain = select_chain(self.listeners[name], connection)
        if chain is None:
            return Verdict(listener=name, closed="no filter chain matches")
        cluster = _cluster(chain)
        if cluster == WORKLOADS:
            return self._inside(WORKLOADS, connection)
        if cluster in TUNNELS:
            target = Target(
                address=connection.address, port=connection.port, share=1.0, tunnel=cluster, peers=(chain.name,)
            )
            return Verdict(listener=name, chain=chain.name, cluster=cluster, targets=(target,))
        verdict = Verdict(listener=name, chain=chain.name)
        return self._reach(verdict, ((cluster, 1.0),), connection)


def _cluster(chain: Message) -> str:
    """The only cluster of a chain of bytes."""
    proxies = [one for one in chain.filters if one.name == TCP_PROXY]
    ((name, _),) = match_routes.split(tcp_proxy_pb2.TcpProxy.FromString(proxies[0].typed_config.value))
    return str(name)

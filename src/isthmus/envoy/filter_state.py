"""Filter state: what a connection carries with it inside Envoy, from the listener that accepted it to its upstream.

Objects that decide how an upstream connection is made (who it is, where its socket is) are `envoy.hashable_string`:
only those are part of the key of a connection pool. An `envoy.string` is not, and then one pod's connection serves
another pod, with the first one's identity and address.
"""

import msgspec
from envoy.config.core.v3 import base_pb2, substitution_format_string_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.extensions.filters.common.set_filter_state.v3 import value_pb2
from envoy.extensions.filters.network.set_filter_state.v3 import set_filter_state_pb2

from isthmus.envoy.build import Message, packed

IDENTITY = "envoy.tls.certificate_mappers.on_demand_secret"
"""The name of the certificate that upstream connections show: a SPIFFE ID."""

NETNS = "envoy.network.upstream_bind_override.network_namespace"
"""The network namespace that upstream sockets are made in, as a path."""

SERVER_NAMES = "envoy.network.upstream_subject_alt_names"
"""The identities, one of which the server must have, divided by commas."""

LOCAL_ADDRESS = "envoy.filters.listener.original_dst.local_ip"
"""Where the caller meant to go, told to the next internal listener."""

REMOTE_ADDRESS = "envoy.filters.listener.original_dst.remote_ip"
"""Where the caller is, told to the next internal listener."""

INSTEAD = "envoy.network.transport_socket.original_dst_address"
"""Where an original-destination cluster leads to, if that is not where the caller meant to go."""

NAME = "envoy.filters.network.set_filter_state"

HASHABLE = "envoy.hashable_string"

_SHARED = value_pb2.FilterStateValue


class Entry(msgspec.Struct, frozen=True):
    """One object to be set when a connection comes: `text` is a format string of Envoy's.

    `transitive`: it goes with the connection through all internal listeners, otherwise to the next one (`once`), or no
    further than this connection's own upstream. With `optional` nothing is set where the text is empty.
    """

    key: str
    text: str
    once: bool = False
    transitive: bool = False
    optional: bool = False


def setter(*entries: Entry) -> Message:
    """The network filter that sets objects; it stands before the filter that makes the upstream connection."""
    config = set_filter_state_pb2.Config(on_new_connection=[_value(one) for one in entries])
    return listener_components_pb2.Filter(name=NAME, typed_config=packed(config))


def _value(entry: Entry) -> Message:
    text = substitution_format_string_pb2.SubstitutionFormatString(
        text_format_source=base_pb2.DataSource(inline_string=entry.text), omit_empty_values=entry.optional
    )
    value = value_pb2.FilterStateValue(object_key=entry.key, format_string=text, skip_if_empty=entry.optional)
    if entry.key not in _OWN_FACTORY:
        value.factory_key = HASHABLE
    if entry.transitive:
        value.shared_with_upstream = _SHARED.TRANSITIVE
    elif entry.once:
        value.shared_with_upstream = _SHARED.ONCE
    return value


_OWN_FACTORY = frozenset((SERVER_NAMES, LOCAL_ADDRESS, REMOTE_ADDRESS, INSTEAD))
"""Objects with a meaning of their own: Envoy makes them by their key."""

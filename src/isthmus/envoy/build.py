"""Small parts that every builder needs. Messages live only inside the functions that build them."""

from typing import Any

from envoy.config.core.v3 import address_pb2, base_pb2, config_source_pb2, extension_pb2, grpc_service_pb2
from google.protobuf import any_pb2, duration_pb2, struct_pb2, wrappers_pb2

from isthmus.xds.resource import XdsResource

Message = Any
"""A protobuf message; the generated modules have no types."""


def resource(type_url: str, name: str, message: Message) -> XdsResource:
    """Encode a message, deterministically: equal content gives equal bytes and so the same version."""
    return XdsResource(type_url, name, message.SerializeToString(deterministic=True))


def packed(message: Message) -> Message:
    """The message as an Any."""
    holder = any_pb2.Any()
    holder.Pack(message, deterministic=True)
    return holder


def extension(name: str, message: Message) -> Message:
    """A TypedExtensionConfig."""
    return extension_pb2.TypedExtensionConfig(name=name, typed_config=packed(message))


def seconds(value: float) -> Message:
    """A Duration, to the millisecond."""
    millis = round(value * 1000)
    return duration_pb2.Duration(seconds=millis // 1000, nanos=millis % 1000 * 1_000_000)


def u32(value: int) -> Message:
    """A UInt32Value."""
    return wrappers_pb2.UInt32Value(value=value)


def boolean(value: bool) -> Message:
    """A BoolValue."""
    return wrappers_pb2.BoolValue(value=value)


def struct(fields: dict[str, Any]) -> Message:
    """A Struct of strings and nested Structs."""
    message = struct_pb2.Struct()
    message.update(fields)
    return message


def metadata(**filters: dict[str, Any]) -> Message:
    """Filter metadata by namespace."""
    return base_pb2.Metadata(filter_metadata={name: struct(fields) for name, fields in filters.items()})


def config_path(kind: str, namespace: str, name: str) -> str:
    """How metadata name the object that something is made by: people's tools show it."""
    return f"/apis/networking.istio.io/v1/namespaces/{namespace}/{kind}/{name}"


def socket_address(address: str, port: int) -> Message:
    """A TCP address."""
    return address_pb2.Address(socket_address=address_pb2.SocketAddress(address=address, port_value=port))


def ads() -> Message:
    """Take it from the stream that brought this, and wait for it: half a configuration is none."""
    return config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(),
        initial_fetch_timeout=seconds(0),
        resource_api_version=config_source_pb2.V3,
    )


def agent_sds(cluster: str) -> Message:
    """Take it from the agent's SDS, reached by a cluster of the bootstrap: keys never leave the node."""
    service = grpc_service_pb2.GrpcService(
        envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=cluster),
    )
    return config_source_pb2.ConfigSource(
        api_config_source=config_source_pb2.ApiConfigSource(
            api_type=config_source_pb2.ApiConfigSource.GRPC,
            transport_api_version=config_source_pb2.V3,
            set_node_on_first_message_only=True,
            grpc_services=[service],
        ),
        initial_fetch_timeout=seconds(0),
        resource_api_version=config_source_pb2.V3,
    )

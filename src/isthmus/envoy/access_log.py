"""One JSON line for each request or connection on standard output, with the same keys everywhere."""

from functools import cache

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import substitution_format_string_pb2
from envoy.extensions.access_loggers.stream.v3 import stream_pb2

from isthmus.envoy.build import Message, packed, struct

INBOUND = "inbound"
OUTBOUND = "outbound"
GATEWAY = "gateway"

FIELDS = {
    "start_time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "authority": "%REQ(:AUTHORITY)%",
    "response_code": "%RESPONSE_CODE%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "response_flags": "%RESPONSE_FLAGS%",
    "downstream_peer_uri_san": "%DOWNSTREAM_PEER_URI_SAN%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "upstream_request_attempt_count": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "bytes": "%BYTES_SENT%",
    "bytes_received": "%BYTES_RECEIVED%",
    "duration": "%DURATION%",
    "route_name": "%ROUTE_NAME%",
    "x_request_id": "%REQ(X-REQUEST-ID)%",
    "log_type": "%ACCESS_LOG_TYPE%",
}
"""Key -> Envoy's command. `bytes` are those sent to the caller."""


More = tuple[tuple[str, str], ...]
"""Further keys with their commands."""


def access_log(direction: str, more: More = ()) -> Message:
    """The logger of one direction."""
    return accesslog_pb2.AccessLog.FromString(_encoded(direction, more))


@cache
def _encoded(direction: str, more: More) -> bytes:
    """The bytes of one of a few constants."""
    line = substitution_format_string_pb2.SubstitutionFormatString(
        json_format=struct({"direction": direction} | FIELDS | dict(more))
    )
    log = accesslog_pb2.AccessLog(
        name="envoy.access_loggers.stdout", typed_config=packed(stream_pb2.StdoutAccessLog(log_format=line))
    )
    encoded: bytes = log.SerializeToString(deterministic=True)
    return encoded

"""Log lines: the same keys in every direction."""

import pytest
from envoy.extensions.access_loggers.stream.v3 import stream_pb2

from isthmus.envoy.access_log import GATEWAY, INBOUND, OUTBOUND, access_log

PROMISED = {
    "start_time",
    "direction",
    "method",
    "path",
    "response_code",
    "response_flags",
    "downstream_peer_uri_san",
    "requested_server_name",
    "upstream_host",
    "upstream_cluster",
    "downstream_remote_address",
    "downstream_local_address",
    "bytes",
    "duration",
    "route_name",
    "x_request_id",
}


@pytest.mark.parametrize("direction", [INBOUND, OUTBOUND, GATEWAY])
def test_every_line_has_the_promised_keys(direction: str) -> None:
    log = stream_pb2.StdoutAccessLog.FromString(access_log(direction).typed_config.value)
    fields = log.log_format.json_format.fields
    assert set(fields) >= PROMISED
    assert fields["direction"].string_value == direction

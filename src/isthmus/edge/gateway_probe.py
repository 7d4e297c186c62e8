"""Does a gateway serve? One TLS connection to it, which needs no identity; the gateway must show the mesh's.

The handshake is the answer: at this server name it is the gateway that shakes hands, with its own certificate.
"""

import asyncio
import errno
import os
import ssl
import time
from dataclasses import dataclass

from isthmus.envoy.naming import PROBE_SNI

_NO_WAY = frozenset(
    (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EACCES)
)
"""What says that nobody took the connection; any other error comes from somebody who did."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What one probe met. `answered`: the gateway itself answered; else, if `good`, its port was merely open."""

    good: bool
    answered: bool
    text: str


class GatewayProber:
    """Probes gateways under the mesh's roots, which are asked for each time, because they rotate."""

    def __init__(self) -> None:
        self._roots = b""
        self._context = ssl.create_default_context()

    async def probe(self, address: str, port: int, *, roots: bytes, within: float) -> Probe:
        """Connect and shake hands within so many seconds. Never raises for what it meets."""
        begin = time.monotonic()
        try:
            async with asyncio.timeout(within):
                _, writer = await asyncio.open_connection(
                    address, port, ssl=self._trusting(roots), server_hostname=PROBE_SNI
                )
                writer.transport.abort()
        except ssl.SSLCertVerificationError as error:
            return Probe(False, False, f"its certificate is not trusted: {error.verify_message}")
        except TimeoutError:
            return Probe(False, False, f"no answer within {within:g} s")
        except OSError as error:
            if error.errno in _NO_WAY:
                return Probe(False, False, os.strerror(error.errno).lower())
            return Probe(True, False, "takes connections, answers no probe")
        return Probe(True, True, f"serves, {(time.monotonic() - begin) * 1000:.1f} ms")

    def _trusting(self, roots: bytes) -> ssl.SSLContext:
        """Names are URIs here, which nobody checks against a host: any workload of the mesh will do."""
        if roots != self._roots:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=roots.decode())
            self._roots, self._context = roots, context
        return self._context

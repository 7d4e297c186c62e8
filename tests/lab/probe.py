"""Run inside a lab pod: what does one TCP or TLS attempt meet? Prints one JSON object.

python probe.py tcp HOST PORT
python probe.py tls HOST PORT SNI ALPN[,ALPN] [FILE]   FILE: PEM with a client certificate, its chain and key
python probe.py talk HOST PORT                         does a TCP echo server send back what it is sent?
"""

import json
import socket
import ssl
import sys


def tcp(host: str, port: int) -> dict[str, str]:
    """Try to connect; a connection that opens is reported with what it says first."""
    with socket.create_connection((host, port), timeout=3) as connection:
        connection.settimeout(3)
        connection.sendall(b"GET /hello HTTP/1.1\r\nHost: helloworld\r\nConnection: close\r\n\r\n")
        answer = connection.recv(200)
    return {"outcome": "answered" if answer else "closed", "detail": answer.decode(errors="replace")}


def talk(host: str, port: int) -> dict[str, str]:
    """Send a line to a TCP echo server, which may greet first; closed if the line does not come back."""
    with socket.create_connection((host, port), timeout=3) as connection:
        connection.settimeout(3)
        connection.sendall(b"marco\n")
        heard = b""
        while b"marco" not in heard:
            try:
                more = connection.recv(200)
            except ConnectionResetError:
                more = b""
            if not more:
                return {"outcome": "closed", "detail": heard.decode(errors="replace")}
            heard += more
    return {"outcome": "answered", "detail": heard.decode(errors="replace")}


def tls(host: str, port: int, sni: str, alpn: str, certificate: str = "") -> dict[str, str]:
    """Shake hands, without a client certificate if none is named, and send a request.

    A TLS 1.3 server refuses at the first read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if certificate:
        context.load_cert_chain(certificate)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(alpn.split(","))
    with socket.create_connection((host, port), timeout=3) as raw:
        try:
            connection = context.wrap_socket(raw, server_hostname=sni)
        except ssl.SSLEOFError as error:
            return {"outcome": "closed before the handshake", "detail": str(error)}
        except ConnectionResetError as error:
            return {"outcome": "closed before the handshake", "detail": str(error)}
        except ssl.SSLError as error:
            return {"outcome": "handshake refused", "detail": str(error)}
        peer = connection.version() or ""
        try:
            connection.sendall(b"GET /hello HTTP/1.1\r\nHost: helloworld\r\nConnection: close\r\n\r\n")
            answer = connection.recv(200)
        except ssl.SSLError as error:
            return {"outcome": "handshake refused", "detail": f"{peer}: {error}"}
        return {"outcome": "answered" if answer else "closed", "detail": answer.decode(errors="replace")}


def main() -> None:
    """Do the attempt and print what it met."""
    kind, host, port, *rest = sys.argv[1:]
    try:
        simple = talk if kind == "talk" else tcp
        met = tls(host, int(port), *rest) if kind == "tls" else simple(host, int(port))
    except TimeoutError:
        met = {"outcome": "timed out", "detail": ""}
    except ConnectionRefusedError:
        met = {"outcome": "refused", "detail": ""}
    except OSError as error:
        met = {"outcome": "unreachable", "detail": str(error)}
    sys.stdout.write(json.dumps(met) + "\n")


if __name__ == "__main__":
    main()

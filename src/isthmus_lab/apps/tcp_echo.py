"""A TCP service: greets with `cluster:pod` and sends back what it gets."""

import argparse
import asyncio
import os
import signal

from isthmus_lab.apps.whoami import whoami

_BLOCK = 65536


async def serve(port: int, stop: asyncio.Event) -> None:
    """Listen on all addresses until `stop`."""
    me = whoami()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(f"{me.cluster}:{me.instance}\n".encode())
            while data := await reader.read(_BLOCK):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "0.0.0.0", port)
    await stop.wait()
    server.close()


async def _run(port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(port, stop)


def main(arguments: list[str]) -> int:
    """`tcp-echo [--port N]`; the environment's PORT is the default."""
    parser = argparse.ArgumentParser(prog="tcp-echo")
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "9000")))
    asyncio.run(_run(parser.parse_args(arguments).port))
    return 0


if __name__ == "__main__":
    import sys

    raise SystemExit(main(sys.argv[1:]))

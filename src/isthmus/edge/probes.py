"""One attempt of a readiness probe, from the machine that the workload runs on."""

import asyncio
import ssl

from isthmus.base.probe import Action, Exec, HttpGet, TcpSocket

_TAIL = 200
_KILL_PATIENCE = 1.0


async def attempt(action: Action, *, patience: float) -> str:
    """Why the workload is not ready, empty if it is. `patience` in seconds."""
    try:
        async with asyncio.timeout(patience):
            match action:
                case HttpGet():
                    return await _get(action)
                case TcpSocket(port, host):
                    _, writer = await asyncio.open_connection(host, port)
                    writer.transport.abort()
                    return ""
                case Exec(command):
                    return await _run(command)
    except TimeoutError:
        return f"no answer within {patience:g} s"
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return "the answer is no HTTP"
    except (OSError, ValueError) as error:
        return str(error) or type(error).__name__


async def _get(action: HttpGet) -> str:
    context = None
    if action.scheme == "HTTPS":
        # Whether it is ready is asked here, not who it is; Kubernetes does not verify either.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(action.host, action.port, ssl=context)
    try:
        headers = {
            "Host": f"{action.host}:{action.port}",
            "User-Agent": "isthmus-probe",
            "Accept": "*/*",
            "Connection": "close",
            **dict(action.headers),
        }
        lines = [f"GET /{action.path.lstrip('/')} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
        writer.write("\r\n".join(lines).encode())
        words = (await reader.readuntil(b"\r\n")).split()
    finally:
        writer.transport.abort()
    if len(words) < 2 or not words[1].isdigit():
        return "the answer is no HTTP"
    status = int(words[1])
    return "" if 200 <= status < 400 else f"HTTP status {status}"


async def _run(command: tuple[str, ...]) -> str:
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdin=null, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await asyncio.wait_for(process.wait(), _KILL_PATIENCE)
        raise
    if process.returncode == 0:
        return ""
    said = output.decode(errors="replace").strip()[-_TAIL:]
    return f"{command[0]} ended with {process.returncode}" + (f": {said}" if said else "")

"""A real S3 server (SeaweedFS) behind a proxy that adds latency, for benchmarks.

What passes to the server waits; what comes back does not. Bytes that follow each other wait together, so that the delay is one
of time and not of throughput.
"""

import asyncio
import contextlib
import os
import pathlib
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

BUCKET = "lake"
PORT_FLAGS = ["s3.port", "s3.port.grpc", "s3.port.iceberg", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc"]
PORT_FLAGS += ["filer.port", "filer.port.grpc", "admin.port"]
OPTIONS = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-webdav=false", "-admin.ui=false", "-s3.port.lance=0", f"-bucket={BUCKET}"]
OPTIONS += ["-tableBucket=warehouse", "-master.telemetry=false"]
START_MAX_S = 90
CHUNK_BYTES = 1 << 18


class Server:
    """Its endpoints, with and without latency, and made-up keys."""

    def __init__(self, near: int, far: int, key: str, secret: str) -> None:
        self.near = f"http://127.0.0.1:{near}"
        self.far = f"http://127.0.0.1:{far}"
        self.environment = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_REGION": "us-east-1"}


@contextlib.contextmanager
def server(folder: pathlib.Path, latency_ms: int):
    """Runs both in `folder`, which is empty, until the block ends."""
    ports = free_ports(len(PORT_FLAGS) + 1)
    found = Server(ports[0], ports[-1], secrets.token_hex(8), secrets.token_hex(16))
    weed = pathlib.Path(sys.executable).with_name("weed")
    flags = [f"-{flag}={port}" for flag, port in zip(PORT_FLAGS, ports)]
    environment = {**os.environ, **found.environment}
    with open(folder / "weed.log", "wb") as log, contextlib.ExitStack() as running:
        call = [weed, "mini", f"-dir={folder}", *OPTIONS, *flags]
        running.enter_context(ending(subprocess.Popen(call, env=environment, stdout=log, stderr=log)))
        proxy = [sys.executable, __file__, str(ports[-1]), str(ports[0]), str(latency_ms)]
        running.enter_context(ending(subprocess.Popen(proxy)))
        wait_until(lambda: answers(found.near) and answers(found.far), f"{weed} did not answer, see {log.name}")
        yield found


@contextlib.contextmanager
def ending(process: subprocess.Popen):
    """Ends the process with the block."""
    try:
        yield
    finally:
        process.kill()
        process.wait()


def free_ports(count: int) -> list[int]:
    """Ports that are free now."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def answers(endpoint: str) -> bool:
    """Whether an S3 server speaks there; one that refuses does."""
    try:
        urllib.request.urlopen(f"{endpoint}/{BUCKET}", timeout=5)
    except urllib.error.HTTPError as error:
        return error.code == 403
    except OSError:
        return False
    return True


def wait_until(ready, otherwise: str) -> None:
    """Looks again until it is so."""
    began = time.monotonic()
    while not ready():
        if time.monotonic() - began > START_MAX_S:
            sys.exit(otherwise)
        time.sleep(0.2)


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Passes bytes on, each `delay` seconds after it came."""
    waiting: asyncio.Queue = asyncio.Queue(maxsize=64)
    loop = asyncio.get_running_loop()

    async def take() -> None:
        while data := await reader.read(CHUNK_BYTES):
            await waiting.put((loop.time() + delay, data))
        await waiting.put((0, b""))

    async def give() -> None:
        while True:
            due, data = await waiting.get()
            if not data:
                return writer.close()
            if (left := due - loop.time()) > 0:
                await asyncio.sleep(left)
            writer.write(data)
            await writer.drain()

    # A connection that breaks off is none that is passed on.
    with contextlib.suppress(ConnectionError):
        await asyncio.gather(take(), give())


async def proxy(listen: int, to: int, latency_ms: int) -> None:
    """Serves for ever."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", to)
        await asyncio.gather(forward(reader, far_writer, latency_ms / 1000), forward(far_reader, writer, 0))

    serving = await asyncio.start_server(connection, "127.0.0.1", listen)
    await serving.serve_forever()


if __name__ == "__main__":
    asyncio.run(proxy(*map(int, sys.argv[1:])))

"""The metadata filter as a server inside the test's own process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from startup.lib import metadata_filter


@contextmanager
def filtering(upstream: str, **seconds: float) -> Iterator[int]:
    """The filter in a thread of this process; its port."""
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    faults: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _loop, context: faults.append(context))
    ports: list[int] = []
    ready = threading.Event()

    async def serve() -> None:
        served = metadata_filter.Filter(metadata_filter.Upstream(upstream), **seconds)
        server = await asyncio.start_server(
            served.serve_connection, "127.0.0.1", 0, limit=metadata_filter.MAX_HEAD_BYTES
        )
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        await stop.wait()
        server.close()
        served.drop_all()
        await asyncio.sleep(0.01)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
    assert faults == []

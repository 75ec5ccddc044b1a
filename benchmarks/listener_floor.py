"""The floor for `listener.py`: so many long polls with aiohttp and nothing else. `listener_floor.py URL POLLS`"""

from __future__ import annotations

import asyncio
import sys

import aiohttp


async def main(url: str, polls: int) -> None:
    """Until killed."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def poll() -> None:
            while True:
                async with session.get(url) as answer:
                    await answer.read()

        await asyncio.gather(*(poll() for _ in range(polls)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))

"""The SHA-256 of a file that anybody may download. No token goes along."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

import aiohttp
from yarl import URL

from rollout.cloud.errors import CloudError

CHUNK_BYTES: Final = 1 << 20
QUIET_SECONDS: Final = 60.0
"""A download that brings nothing for so long has ended."""
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


async def sha256_of(url: str, size_bytes: int, on_bytes: Callable[[int], None]) -> str:
    """The digest of the file behind `url`, as 64 hex digits; redirects are followed. It is not kept.

    `on_bytes` hears how many bytes have come. Raises CloudError for a file that does not come, or not whole.
    """
    asked = f"downloading {URL(url).name}"
    if URL(url).scheme != "https" and URL(url).host not in _LOOPBACK:
        raise CloudError("GitHub", 0, asked, text="names an address that is not https")
    digest, seen = hashlib.sha256(), 0
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=QUIET_SECONDS, sock_read=QUIET_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
            if answer.status != 200:
                raise CloudError("GitHub", answer.status, asked)
            async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
                digest.update(chunk)
                seen += len(chunk)
                on_bytes(seen)
    except (aiohttp.ClientError, TimeoutError):
        raise CloudError("GitHub", 0, asked) from None
    if seen != size_bytes:
        raise CloudError("GitHub", 200, asked, text=f"sent {seen} of {size_bytes} bytes")
    return digest.hexdigest()

"""An engine for graphs of long operations: asyncio, limits, gates, retries, a journal. It knows nothing of runners."""

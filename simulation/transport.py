"""The listener's `Transport`, with the simulated network under it."""

from __future__ import annotations

from collections.abc import Mapping

from scaleset.transport import Response, TransportError

from simulation.network import LostError, Network


class VirtualTransport:
    """Sends requests of one part."""

    def __init__(self, network: Network, part: str) -> None:
        self._network = network
        self._part = part

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None, timeout_seconds: float
    ) -> Response:
        """One try. Raises TransportError."""
        try:
            reply = await self._network.exchange(self._part, method, url, headers, body, timeout_seconds)
        except LostError as error:
            raise TransportError(str(error), sent=error.sent) from None
        return Response(status=reply.status, headers=reply.headers, body=reply.body)

    async def close(self) -> None:
        """There is nothing to close."""

"""The functions' `Session`, with the simulated network under it: everything else of it is the function's own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any
from urllib.parse import urlencode

from emulators.door import Headers
from simulation import cooperative
from simulation.network import LostError, Network


def virtual_session(
    module: ModuleType,
    network: Network,
    part: str,
    *,
    clock: Callable[[], float],
    now: Callable[[], float],
    chance: random.Random,
) -> Any:
    """A session of the class in a function's `clients.session`, for code that `cooperative.call` runs.

    Every function holds that module as its own, so the class is made anew from each.
    """
    base: Any = module.Session
    no_answer: Any = module.NoAnswerError
    answer: Any = module.Answer

    def sleep(seconds: float) -> None:
        cooperative.wait(asyncio.sleep(seconds))

    class VirtualSession(base):
        def once(
            self,
            service: str,
            method: str,
            url: str,
            *,
            deadline: Any,
            try_seconds: float = 10.0,
            headers: Mapping[str, str] | None = None,
            params: Mapping[str, str] | None = None,
            body: bytes | None = None,
        ) -> Any:
            left = deadline.left()
            if left < module.SHORTEST_TRY_SECONDS:
                raise no_answer(service, "no time is left", sent=False)
            where = f"{url}?{urlencode(params)}" if params else url
            most = min(left, try_seconds)
            try:
                reply = cooperative.wait(network.exchange(part, method, where, headers or {}, body, most))
            except LostError as error:
                raise no_answer(service, str(error), sent=error.sent) from None
            return answer(status=reply.status, headers=Headers(reply.headers), body=reply.body)

    return VirtualSession(sleep=sleep, clock=clock, now=now, chance=chance.random)

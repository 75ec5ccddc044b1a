"""Lets synchronous code wait on the virtual clock: it runs in a greenlet, and each of its waits is awaited outside.

The functions are written for threads. Here each request runs in a greenlet of its own, all in one thread: `call` starts
one, and wherever the code waits (a request, a pause, a lock) `wait` switches to the event loop, which goes on with
others. So requests interleave at every call that they make, and nowhere else.

A lock of `threading` would stop the only thread for ever. `replace_locks` puts a `Lock` in the place of every one that
an object holds, directly or through what it holds.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, ParamSpec, TypeVar

import greenlet

P = ParamSpec("P")
T = TypeVar("T")

_LOCK_KIND: Final = type(threading.Lock())


async def call(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What the function returns or raises. When this is cancelled, so is the function, wherever it waits."""
    work = greenlet.greenlet(function)
    given: Any = work.switch(*args, **kwargs)
    while not work.dead:
        try:
            value = await given
        except BaseException as error:  # noqa: BLE001 - handed on to where the function waits, whatever it is
            given = work.throw(error)
        else:
            given = work.switch(value)
    return given


def wait(awaitable: Awaitable[T]) -> T:
    """From within a function that `call` runs: the awaitable's result, once it is there; meanwhile others run."""
    outside = greenlet.getcurrent().parent
    if outside is None:
        raise RuntimeError("only code that simulation.cooperative.call runs can wait")
    return outside.switch(awaitable)


class Lock:
    """`threading.Lock` as far as the functions use it, for code that `call` runs. Whoever waits longest is next."""

    def __init__(self) -> None:
        self._held = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:  # noqa: FBT001, FBT002 - threading's signature
        """Whether it is held now; False once `timeout` virtual seconds are over."""
        if not self._held:
            self._held = True
            return True
        return blocking and wait(self._turn(None if timeout < 0 else timeout))

    def release(self) -> None:
        """Let go of it, or pass it on."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._held = False

    def locked(self) -> bool:
        """Whether somebody holds it."""
        return self._held

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    async def _turn(self, seconds: float | None) -> bool:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(seconds):
                await turn
        except TimeoutError:
            return False
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # it was this one's turn already
            raise
        return True


def replace_locks(holder: object) -> int:
    """Put cooperative locks in the place of all that an object holds; how many there were.

    Goes through the attributes of plain objects; whatever has no `__dict__` keeps what it has.
    """
    seen: set[int] = set()
    found = 0
    left: list[object] = [holder]
    while left:
        each = left.pop()
        attributes: dict[str, Any] | None = getattr(each, "__dict__", None)
        if id(each) in seen or attributes is None or isinstance(each, type):
            continue
        seen.add(id(each))
        for name, value in attributes.items():
            if isinstance(value, _LOCK_KIND):
                attributes[name] = Lock()
                found += 1
            elif not callable(value) or hasattr(value, "__self__"):
                left.append(getattr(value, "__self__", value))
    return found

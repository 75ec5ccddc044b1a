"""The clients against the stand-ins, over loopback; pauses are noted, not sat out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from emulators.site import Site
from rollout.cloud.github import GitHub
from rollout.cloud.google import Google


@pytest.fixture
def site():
    with Site(seed=7) as site:
        yield site


@pytest.fixture
def group(site):
    return site.google.add_group("presubmit-cpu", zones=("us-west1-a", "us-west1-b"), target_size=2)


@pytest.fixture
def vm(site, group):
    return site.google.create_instance(group)


@pytest.fixture
def environ(site):
    return site.operator_environment()


@pytest.fixture
def pauses():
    """The seconds of every pause."""
    return []


@pytest.fixture
def waiting(pauses):
    """How clients wait: a pause is over at once, and the clock has moved on by it."""

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    return {"sleep": sleep, "clock": lambda: time.monotonic() + sum(pauses)}


@pytest.fixture
def google(environ, waiting):
    """Has a function use a client of the project, and gives what that returns."""

    def run(use: Callable[[Google], Awaitable[Any]], **changes: str) -> Any:
        async def main():
            async with Google("iree-oss", environ={**environ, **changes}, **waiting) as google:
                return await use(google)

        return asyncio.run(main())

    return run


@pytest.fixture
def github(environ, waiting):
    """The same for the organization."""

    def run(use: Callable[[GitHub], Awaitable[Any]], **options: Any) -> Any:
        async def main():
            async with GitHub("iree-org", environ=environ, **waiting, **options) as github:
                return await use(github)

        return asyncio.run(main())

    return run

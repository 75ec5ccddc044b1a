"""A site of its own for every test, and callers with and without rights."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization

from emulators.site import Site

FLAVOR = {"Metadata-Flavor": "Google"}


@pytest.fixture
def site():
    with Site(seed=7) as site:
        yield site


@pytest.fixture
def group(site):
    return site.google.add_group("presubmit-cpu", zones=("us-west1-a", "us-west1-b"), target_size=2,
                                 autoscaler={"min": 1, "max": 10})  # fmt: skip


@pytest.fixture
def vm(site, group):
    return site.google.create_instance(group)


@dataclass
class Caller:
    """Asks one service, with its token if it has one."""

    url: str
    token: str = ""

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        options = {"timeout": 5, **options, "headers": {**headers, **options.get("headers", {})}}
        return requests.request(method, self.url + path, **options)


@cache
def loaded(pem: str) -> Any:
    """A private key; checking one while it is loaded takes longer than most tests."""
    return serialization.load_pem_private_key(pem.encode(), None)


@dataclass
class App:
    """The App as a client has it: makes JWTs and buys tokens."""

    site: Site

    def assertion(self, *, key: str = "", **claims: Any) -> str:
        now = int(time.time())
        issuer = str(self.site.github.app_id)
        payload = {"iat": now - 60, "exp": now + 480, "iss": issuer, "jti": uuid.uuid4().hex, **claims}
        payload = {name: value for name, value in payload.items() if value is not None}
        return jwt.encode(payload, loaded(key or self.site.github.app_key_pem), "RS256")

    def buy(self, assertion: str, installation: int | None = None) -> requests.Response:
        path = f"/app/installations/{installation or self.site.github.installation_id}/access_tokens"
        return Caller(self.site.github_url, assertion).ask("POST", path)


def metadata(host: str, key: str, **query: str) -> requests.Response:
    return Caller(f"http://{host}").ask("GET", f"/computeMetadata/v1/{key}", headers=FLAVOR, params=query)


@pytest.fixture(name="metadata")
def metadata_function():
    return metadata


@pytest.fixture
def app(site):
    return App(site)


@pytest.fixture
def google(site):
    """A function, with its token."""
    answer = metadata(site.metadata_host, "instance/service-accounts/default/token")
    return Caller(site.compute_url, answer.json()["access_token"])


@pytest.fixture
def github(site, app):
    """The App's installation, with its token."""
    return Caller(site.github_url, app.buy(app.assertion()).json()["token"])


@pytest.fixture
def anybody(site):
    """Somebody without a token, at Google's services."""
    return Caller(site.compute_url)


@pytest.fixture
def when_asked(site):
    """Does something once a route was asked so often: for requests that wait."""
    threads: list[threading.Thread] = []

    def arrange(route: str, action: Callable[[], Any], *, times: int = 1) -> None:
        def wait():
            until = time.monotonic() + 5
            while len(site.asked(route)) < times and time.monotonic() < until:
                time.sleep(0.001)
            action()

        threads.append(threading.Thread(target=wait))
        threads[-1].start()

    yield arrange
    for thread in threads:
        thread.join()

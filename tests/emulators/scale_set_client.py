"""A bare client of scale sets: what GitHub's own sends, call by call, without any rule of its own."""

from __future__ import annotations

import json
from typing import Any

import requests

from emulators.site import Site

VERSION = {"api-version": "6.0-preview"}
JSON = {"Content-Type": "application/json"}


class Client:
    """One connection, and perhaps a session."""

    def __init__(self, site: Site, token: str, *, scope: str = "") -> None:
        self.site = site
        self.token = token
        self.scope = scope or site.github.organization
        self.admin = ""
        self.url = ""
        self.session: dict[str, Any] = {}

    @property
    def config_url(self) -> str:
        return f"{self.site.github_url}/{self.scope}"

    def registration_token(self) -> requests.Response:
        first, _, second = self.scope.partition("/")
        kind = "enterprises" if first == "enterprises" else "repos" if second else "orgs"
        path = self.scope if kind == "enterprises" else f"{kind}/{self.scope}"
        url = f"{self.site.github_url}/api/v3/{path}/actions/runners/registration-token"
        return requests.post(url, headers={"Authorization": f"Bearer {self.token}"}, timeout=5)

    def register(self, token: str, **changes: Any) -> requests.Response:
        body = {"url": self.config_url, "runner_event": "register", **changes}
        headers = {**JSON, "Authorization": f"RemoteAuth {token}"}
        url = f"{self.site.github_url}/api/v3/actions/runner-registration"
        return requests.post(url, data=json.dumps(body) + "\n", headers=headers, timeout=5)

    def connect(self) -> Client:
        answer = self.register(self.registration_token().json()["token"])
        self.admin, self.url = answer.json()["token"], answer.json()["url"]
        return self

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> requests.Response:
        """Ask the Actions service with the admin token."""
        headers = {**JSON, "Authorization": f"Bearer {self.admin}"}
        data = None if body is None else json.dumps(body)
        url = f"{self.url}/_apis/{path}"
        return requests.request(method, url, params={**VERSION, **query}, data=data, headers=headers, timeout=5)

    def create(self, name: str = "fleet-a", labels: tuple[str, ...] = (), **changes: Any) -> requests.Response:
        body = {
            "name": name,
            "runnerGroupId": 1,
            "labels": [{"type": "System", "name": label} for label in labels or (name,)],
            "RunnerSetting": {"disableUpdate": True},
            "createdOn": "0001-01-01T00:00:00Z",
            **changes,
        }
        return self.ask("POST", "runtime/runnerscalesets", body)

    def open(self, number: int, owner: str = "listener-1") -> requests.Response:
        body = {"sessionId": "00000000-0000-0000-0000-000000000000", "ownerName": owner}
        answer = self.ask("POST", f"runtime/runnerscalesets/{number}/sessions", body)
        if answer.status_code == 200:
            self.session = answer.json()
        return answer

    def refresh(self) -> requests.Response:
        answer = self.ask("PATCH", self._session_path)
        if answer.status_code == 200:
            self.session = answer.json()
        return answer

    def close(self) -> requests.Response:
        return self.ask("DELETE", self._session_path)

    def poll(self, after: int = 0, capacity: int | None = 10, timeout: float = 5) -> requests.Response:
        headers = {**self._queue, "Accept": "application/json; api-version=6.0-preview"}
        if capacity is not None:
            headers["X-ScaleSetMaxCapacity"] = str(capacity)
        query = {"lastMessageId": after} if after else {}
        return requests.get(self.session["messageQueueUrl"], params=query, headers=headers, timeout=timeout)

    def events(self, after: int = 0, capacity: int | None = 10) -> list[tuple[str, str]]:
        """What the next message tells: kinds and job ids."""
        answer = self.poll(after, capacity)
        if answer.status_code == 202:
            return []
        return [(event["messageType"], event["jobId"]) for event in told(answer)]

    def acknowledge(self, number: int) -> requests.Response:
        path, _, query = self.session["messageQueueUrl"].partition("?")
        return requests.delete(f"{path}/{number}?{query}", headers={**JSON, **self._queue}, timeout=5)

    def acquire(self, *requested: int) -> requests.Response:
        number = self.session["runnerScaleSet"]["id"]
        url = f"{self.url}/_apis/runtime/runnerscalesets/{number}/acquirejobs"
        return requests.post(url, params=VERSION, json=requested, headers=self._queue, timeout=5)

    def jit(self, number: int, name: str) -> requests.Response:
        path = f"runtime/runnerscalesets/{number}/generatejitconfig"
        return self.ask("POST", path, {"name": name, "workFolder": ""})

    @property
    def _session_path(self) -> str:
        return f"runtime/runnerscalesets/{self.session['runnerScaleSet']['id']}/sessions/{self.session['sessionId']}"

    @property
    def _queue(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.session['messageQueueAccessToken']}"}


def told(answer: requests.Response) -> list[dict[str, Any]]:
    """The events of a message."""
    return json.loads(answer.json()["body"])


def exception(answer: requests.Response) -> str:
    """The class that an error names."""
    name: str = answer.json()["typeName"]
    return name.partition(",")[0].rpartition(".")[2]

"""The real function, served in this process over HTTP, before the emulated GitHub and Google Cloud.

`functions_framework.create_app` loads main.py as the command does. Only time is replaced: the broker reads the site's
clock, and what it would sleep passes there at once. A test that wants a hang sets `patience_seconds`, how long in real
time a try lasts; its nominal time then passes on the clock.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from unittest import mock

import flask
import functions_framework
from broker import settings
from broker.app import Broker
from broker.clients.session import Answer, NoAnswerError, Session
from google.auth.compute_engine import _metadata
from werkzeug.serving import WSGIRequestHandler, make_server

from emulators.faults import LEAK_MARK
from emulators.github.runner import Runner
from emulators.google.instance import Instance
from emulators.site import Site

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "functions/registration_broker/main.py"
AUDIENCE = "https://us-central1-iree-oss.cloudfunctions.net/gh-runner-broker"
BUCKET = "iree-oss-gh-runner-grants"
LISTENER_BUCKET = "iree-oss-gh-runner-listener"
PRESUBMIT, POSTSUBMIT = "gh-runner-presubmit-cpu-us-west1-abcd", "gh-runner-postsubmit-cpu-us-west1-efgh"
PRESUBMIT_JOBS, POSTSUBMIT_JOBS = "gh-runner-presubmit-jobs-us-west1-ijkl", "gh-runner-postsubmit-jobs-us-west1-mnop"
"""Of pools that follow the job queue."""
MINIMAL, BASIC = (f"gh-runner-{level}@iree-oss.iam.gserviceaccount.com" for level in ("minimal", "basic"))
ACCOUNTS = {PRESUBMIT: MINIMAL, POSTSUBMIT: BASIC, PRESUBMIT_JOBS: MINIMAL, POSTSUBMIT_JOBS: BASIC}
BOOT_DEADLINE_SECONDS = 600


def table() -> dict[str, Any]:
    """The fleet's table: groups of anybody's code, and of merged code; one of each follows the job queue."""
    groups = {}
    for name, account in ACCOUNTS.items():
        runner_group = "presubmit" if account == MINIMAL else "postsubmit"
        jobs = name in {PRESUBMIT_JOBS, POSTSUBMIT_JOBS}
        pool = f"{runner_group}-{'jobs' if jobs else 'cpu'}"
        groups[name] = {
            "region": "us-west1",
            "pool": pool,
            "zones": ["us-west1-a", "us-west1-b"],
            "service_account": account,
            "runner_group": runner_group,
            "labels": ["self-hosted", "Linux", "X64", f"runner-group={runner_group}", "environment=prod", "cpu"],
            "signal": "jobs" if jobs else "cpu",
            "min": 1,
            "max": 10,
            "rank": 0,
            "idle": 0,
            "scale_set": f"gh-runner-{pool}" if jobs else "",
            "standby": None,
        }
    return {"environment": "prod", "project": "iree-oss", "organization": "iree-org", "groups": groups}


def environment(site: Site, folder: Path) -> dict[str, str]:
    """What a deployment sets, and the endpoints that only tests set."""
    (folder / "fleet.json").write_text(json.dumps(table()))
    return {
        "BROKER_AUDIENCE": AUDIENCE,
        "BROKER_APP_ID": str(site.github.app_id),
        "BROKER_INSTALLATION_ID": str(site.github.installation_id),
        "BROKER_APP_KEY_SECRET": "projects/iree-oss/secrets/github-app-key/versions/latest",
        "BROKER_GRANTS_BUCKET": BUCKET,
        "BROKER_LISTENER_BUCKET": LISTENER_BUCKET,
        "BROKER_BOOT_DEADLINE_SECONDS": str(BOOT_DEADLINE_SECONDS),
        "BROKER_FLEET_FILE": str(folder / "fleet.json"),
        "BROKER_GITHUB_URL": site.github_url,
        "BROKER_GITHUB_WEB_URL": site.github_url,
        "BROKER_COMPUTE_URL": site.compute_url,
        "BROKER_STORAGE_URL": site.storage_url,
        "BROKER_SECRETS_URL": site.secrets_url,
        "BROKER_CERTS_URL": site.certs_url,
        "GCE_METADATA_HOST": site.metadata_host,
    }


def furnish(site: Site) -> None:
    """What stands ready before the first VM boots."""
    for name, account in ACCOUNTS.items():
        site.google.add_group(name, service_account=account, zones=("us-west1-a", "us-west1-b"), target_size=0)
    site.github.add_runner_group("presubmit")
    site.github.add_runner_group("postsubmit")
    for group in table()["groups"].values():
        if group["scale_set"]:
            site.github.add_scale_set(group["scale_set"], group=group["runner_group"], labels=group["labels"])
    site.google.put_secret("github-app-key", site.github.app_key_pem)
    site.google.add_bucket(BUCKET)
    site.google.add_bucket(LISTENER_BUCKET)


def runners_of(site: Site, vm: Instance) -> list[Runner]:
    """The runners at GitHub that were made for a VM. A scale set's carries its id in its name, others in a label."""
    return [
        runner
        for runner in site.github.runners.values()
        if f"instance-id={vm.id}" in runner.labels
        or (runner.scale_set_id and int(runner.name.rpartition("-")[2], 36) == int(vm.id))
    ]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a VM was told."""

    status: int
    headers: Mapping[str, str]
    raw: bytes = field(repr=False)

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    @property
    def error(self) -> str:
        """The error code; empty for a success."""
        return self.body.get("error", "")


def send(
    port: int,
    method: str = "POST",
    path: str = "/jit",
    *,
    token: str | None = None,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """One request over HTTP."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
    try:
        identity = {} if token is None else {"Authorization": f"Bearer {token}"}
        connection.request(method, path, body=body, headers={**identity, **(headers or {})})
        response = connection.getresponse()
        given = {name.lower(): value for name, value in response.getheaders()}
        return Reply(status=response.status, headers=given, raw=response.read())
    finally:
        connection.close()


class QuietHandler(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - the base class's names
        """Nothing: a test reads the function's own lines."""


def _nothing(*_: str) -> None:
    """What a test does before most calls."""


class SteeredSession(Session):
    """The broker's session on the site's clock."""

    def __init__(self, site: Site) -> None:
        now = site.clock.now
        super().__init__(sleep=site.clock.advance, clock=now, now=now, chance=lambda: 0.5)
        self.site = site
        self.patience_seconds: float | None = None
        self.before_call: Callable[[str, str, str], None] = _nothing
        self.calls: list[tuple[str, str, str]] = []

    def once(self, service: str, method: str, url: str, *, try_seconds: float = 10.0, **rest: Any) -> Answer:
        self.calls.append((service, method, url))
        self.before_call(service, method, url)
        if self.patience_seconds is None:
            return super().once(service, method, url, try_seconds=try_seconds, **rest)
        try:
            return super().once(service, method, url, try_seconds=self.patience_seconds, **rest)
        except NoAnswerError as error:
            if "Timeout" in error.reason:
                self.site.clock.advance(min(try_seconds, rest["deadline"].left()))
            raise


class BrokerService:
    """The function and its clouds. A context manager; `site` is there to be disturbed."""

    def __init__(self, folder: Path, *, clock_scale: float = 1.0) -> None:
        self._folder = folder
        self.site = Site(clock_scale=clock_scale)
        self.lines: list[Mapping[str, Any]] = []
        self.skew_seconds = 0.0
        """By which the broker's clock is ahead of everybody's."""

    def __enter__(self) -> Self:
        self.site.__enter__()
        furnish(self.site)
        self.environment = environment(self.site, self._folder)
        self._patches = [
            mock.patch.dict("os.environ", self.environment),
            # google-auth reads it when it is imported, once.
            mock.patch.object(_metadata, "_GCE_METADATA_HOST", self.site.metadata_host),
        ]
        for patch in self._patches:
            patch.start()
        app = functions_framework.create_app("handle", str(SOURCE))
        assert isinstance(app, flask.Flask)
        self.app = app
        self._main: Any = sys.modules.pop("main")
        self.renew()
        self._server = make_server("127.0.0.1", 0, self.app, threaded=True, request_handler=QuietHandler)
        self._server.daemon_threads = True  # pyright: ignore[reportAttributeAccessIssue]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.session.close()
        for patch in self._patches:
            patch.stop()
        self.site.__exit__()

    def renew(self) -> None:
        """A new process, as far as what it remembers goes."""
        if hasattr(self, "session"):
            self.session.close()
        self._main._BROKER._session.close()
        self.session = SteeredSession(self.site)
        self._main._BROKER = Broker(
            settings.load(self.environment, self._folder),
            session=self.session,
            now=lambda: self.site.clock.now() + self.skew_seconds,
            clock=self.site.clock.now,
            log=self.lines.append,
        )

    def write_table(self, changed: dict[str, Any]) -> None:
        """Another deployment's table, from the next `renew` on."""
        (self._folder / "fleet.json").write_text(json.dumps(changed))

    def calm(self) -> None:
        """What the process learnt of faults is forgotten, its caches stay."""
        broker = self._main._BROKER
        broker._installation._limited_until = 0.0
        broker._verifier._keys._tried = None
        self.session.before_call = _nothing
        self.session.patience_seconds = None

    @property
    def port(self) -> int:
        return self._server.server_port

    def vm(
        self, group: str = PRESUBMIT, *, age_seconds: float = 30, name: str = "", zone: str = "us-west1-a"
    ) -> Instance:
        """A VM of a group, booted."""
        found = self.site.google.groups[group]
        return self.site.google.create_instance(found, name=name, zone=zone, age_seconds=age_seconds)

    def token(self, vm: Instance, **spoiled: Any) -> str:
        """Its identity token for the broker."""
        return self.site.google.identity_token(vm, spoiled.pop("audience", AUDIENCE), **spoiled)

    def send(self, method: str = "POST", path: str = "/jit", **given: Any) -> Reply:
        return send(self.port, method, path, **given)

    def jit(self, vm: Instance) -> Reply:
        """What register does on a VM."""
        return self.send(token=self.token(vm))

    def deregister(self, vm: Instance) -> Reply:
        """What retire does on a VM."""
        return self.send(path="/deregister", token=self.token(vm))

    def grant(self, vm: Instance) -> dict[str, Any] | None:
        """What the ledger says about a VM."""
        stored = self.site.google.objects.get((BUCKET, f"grants/{vm.id}.json"))
        return json.loads(stored.data) if stored else None

    def runner(self, vm: Instance) -> Runner:
        """The one runner at GitHub that was made for a VM."""
        (runner,) = self.runners(vm)
        return runner

    def runners(self, vm: Instance) -> list[Runner]:
        """All of them."""
        return runners_of(self.site, vm)

    @property
    def grants(self) -> list[str]:
        return [name for bucket, name in self.site.google.objects if bucket == BUCKET]

    def log_text(self) -> str:
        """Everything that was logged."""
        return "\n".join(json.dumps(line) for line in self.lines)

    def secrets(self) -> list[str]:
        """What may stand in no log and in no error: tokens, keys, and what others said."""
        pem = self.site.github.app_key_pem.splitlines()
        tokens = [*self.site.github.app.tokens, *self.site.google.tokens._all]
        return [LEAK_MARK, "credential-that-must-not-leak", "ghs_", "ya29.", "eyJ", *pem[1:3], *tokens]

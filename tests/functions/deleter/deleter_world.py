"""A fleet in emulated clouds, and the deleter served over HTTP before it: what its tests arrange, call and look at."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import flask
import requests
from deleter import settings
from deleter.app import Deleter
from deleter.clients.session import Session
from deleter.fleet_table import parse
from werkzeug.serving import BaseWSGIServer, make_server

from emulators.google.instance import Instance
from emulators.site import Site

PROJECT = "iree-oss"
AUDIENCE = "https://us-central1-iree-oss.cloudfunctions.net/gh-runner-deleter"
BUCKET = "iree-oss-gh-runner-permits"
DEMAND_BUCKET = "iree-oss-gh-runner-listener"
MINIMAL = f"gh-runner-minimal@{PROJECT}.iam.gserviceaccount.com"
BASIC = f"gh-runner-basic@{PROJECT}.iam.gserviceaccount.com"
FOREIGN = "not-of-the-fleet"
TOKEN = "ya29.of-the-deleter"

GROUPS: dict[str, dict[str, Any]] = {
    "presubmit-west": {"region": "us-west1", "service_account": MINIMAL, "signal": "cpu", "min": 1, "max": 100},
    "scheduled-west": {"region": "us-west1", "service_account": MINIMAL, "signal": "schedule", "min": 0, "max": 100},
    "postsubmit-east": {"region": "us-east1", "service_account": BASIC, "signal": "jobs", "min": 0, "max": 100},
    "fixed-west": {"region": "us-west1", "service_account": BASIC, "signal": "fixed", "min": 3, "max": 3},
}
CPU, SCHEDULE, JOBS, FIXED = GROUPS


def fleet_table() -> str:
    """The deleter's fleet.json."""
    more = {"pool": "a-pool", "runner_group": "presubmit", "labels": ["self-hosted"], "rank": 0, "idle": 0}
    groups = {
        name: {
            **group,
            **more,
            "zones": [f"{group['region']}-a"],
            "scale_set": "a-pool" if group["signal"] == "jobs" else "",
            "standby": None,
        }
        for name, group in GROUPS.items()
    }
    return json.dumps({"environment": "prod", "project": PROJECT, "organization": "iree-org", "groups": groups})


def environment(site: Site, fleet_file: Path) -> dict[str, str]:
    """What tells the deleter about the emulators."""
    return {
        "DELETER_AUDIENCE": AUDIENCE,
        "DELETER_PERMITS_BUCKET": BUCKET,
        "DELETER_DEMAND_BUCKET": DEMAND_BUCKET,
        "DELETER_FLEET_FILE": str(fleet_file),
        "DELETER_COMPUTE_URL": site.compute_url,
        "DELETER_STORAGE_URL": site.storage_url,
        "DELETER_CERTS_URL": site.certs_url,
        "GCE_METADATA_HOST": site.metadata_host,
    }


class Time:
    """A clock that only moves when somebody sleeps on it, and only for that thread: a request has one of its own."""

    def __init__(self) -> None:
        self._own = threading.local()
        self.seconds = 0.0
        """How long the thread slept that slept longest."""

    def clock(self) -> float:
        return getattr(self._own, "seconds", 0.0)

    def sleep(self, seconds: float) -> None:
        self._own.seconds = self.clock() + seconds
        self.seconds = max(self.seconds, self._own.seconds)
        time.sleep(0.0005)  # lets another thread have its turn


class DeleterWorld:
    """Use it as a context manager. `call` asks over HTTP as a VM."""

    def __init__(self, *, still: bool = True) -> None:
        """`still`: pauses are not waited for but added to the deleter's clock."""
        self.site = Site()
        self.google = self.site.google
        self.faults = self.site.faults
        self.time = Time()
        self.lines: list[Mapping[str, Any]] = []
        self.skew = 0.0
        self._still = still

    def __enter__(self) -> Self:
        self.site.__enter__()
        for name, group in GROUPS.items():
            scaled = {"min": group["min"], "max": group["max"]} if group["signal"] in ("cpu", "schedule") else None
            self.google.add_group(
                name,
                region=group["region"],
                service_account=group["service_account"],
                target_size=0,
                autoscaler=scaled,
            )
        self.google.add_group(FOREIGN, service_account=MINIMAL, target_size=1)
        self.google.add_bucket(BUCKET)
        self.google.add_bucket(DEMAND_BUCKET)
        self.token = self.google.tokens.of(self.google.function_account, self.site.clock.now()).token
        given = settings.Settings(
            audience=AUDIENCE,
            permits_bucket=BUCKET,
            demand_bucket=DEMAND_BUCKET,
            fleet=parse(fleet_table()),
            compute_url=self.site.compute_url,
            storage_url=self.site.storage_url,
            certs_url=self.site.certs_url,
        )
        clock, sleep = (self.time.clock, self.time.sleep) if self._still else (time.monotonic, time.sleep)
        self.session = Session(sleep=sleep, clock=clock, now=self.now)
        self.deleter = Deleter(
            given,
            session=self.session,
            token=lambda _: self.token,
            now=self.now,
            clock=clock,
            log=self.lines.append,
        )
        self.app = wsgi(self.deleter)
        self._server: BaseWSGIServer = make_server("127.0.0.1", 0, self.app, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.http = requests.Session()
        self.http.trust_env = False
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.session.close()
        self.site.__exit__()

    def now(self) -> float:
        """The deleter's wall clock."""
        return self.site.clock.now() + self.skew

    def vms(self, group: str, count: int, **how: Any) -> list[Instance]:
        """Running VMs of a group, which is to have that many more."""
        found = self.google.groups[group]
        found.target_size += count
        return [self.google.create_instance(found, **how) for _ in range(count)]

    def recommend(self, size: int | None, group: str = CPU) -> None:
        """What the group's autoscaler says."""
        scaler = self.google.groups[group].autoscaler
        assert scaler
        scaler.recommended = size

    def bearer(self, vm: Instance, **spoiled: Any) -> dict[str, str]:
        """A VM's Authorization header."""
        return {"Authorization": f"Bearer {self.google.identity_token(vm, AUDIENCE, **spoiled)}"}

    def call(self, method: str, path: str, vm: Instance | None = None, **how: Any) -> requests.Response:
        """Ask the deleter, by default as a VM."""
        headers = {**(self.bearer(vm) if vm else {}), **how.pop("headers", {})}
        return requests.request(method, self.url + path, headers=headers, timeout=60, **how)

    def ask(self, vm: Instance) -> tuple[bool, str]:
        """The answer to POST /retire."""
        reply = self.call("POST", "/retire", vm)
        assert reply.status_code == 200, (reply.status_code, reply.text)
        said = reply.json()
        return said["permit"], said["reason"]

    def give_back(self, vm: Instance) -> None:
        """DELETE /retire, answered well."""
        reply = self.call("DELETE", "/retire", vm)
        assert (reply.status_code, reply.json()) == (200, {"returned": True})

    def ledger(self, group: str = CPU) -> dict[str, Any]:
        """The stored ledger."""
        stored = self.google.objects.get((BUCKET, f"permits/{group}.json"))
        return json.loads(stored.data) if stored else {"permits": {}, "suspects": []}

    def holders(self, group: str = CPU) -> set[str]:
        """The ids that hold a permit."""
        return set(self.ledger(group)["permits"])

    def changed(self) -> list[str]:
        """The routes of all that was asked of Google and changes something, in order."""
        changing = ("compute.delete_instances", "compute.recreate_instances", "storage.insert", "storage.delete")
        return [request.route for request in self.site.requests if request.route in changing]

    def named(self, route: str) -> list[list[str]]:
        """The instances that orders of a route named."""
        return [json.loads(request.body)["instances"] for request in self.site.asked(route)]


def wsgi(deleter: Deleter) -> flask.Flask:
    """The deleter as functions-framework serves it: every path and method reaches it."""
    app = flask.Flask("deleter")

    def handle(path: str) -> flask.Response:  # noqa: ARG001 - Flask's way
        return deleter.handle(flask.request)

    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
    options: dict[str, Any] = {"methods": methods, "provide_automatic_options": False}
    app.add_url_rule("/", "root", handle, defaults={"path": ""}, **options)
    app.add_url_rule("/<path:path>", "any", handle, **options)
    return app

"""A fleet in emulated clouds, and the reconciler served over HTTP before it: what tests arrange, call and look at."""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import flask
import requests
from reconciler import settings
from reconciler.app import Reconciler
from reconciler.budget import Budget, BudgetedSession
from reconciler.naming import base36
from werkzeug.serving import BaseWSGIServer, make_server

from emulators.github.runner import Runner
from emulators.google.group import Group
from emulators.google.instance import Instance
from emulators.site import Site

PROJECT = "iree-oss"
BUCKETS = {role: f"{PROJECT}-gh-runner-{role}" for role in ("reconciler", "broker", "deleter", "listener")}
OWN, GRANTS, PERMITS, LISTENER = BUCKETS.values()
FOREIGN = f"{PROJECT}-gh-runner-minimal-artifacts"
BOOT_DEADLINE_SECONDS, MAX_RUN_SECONDS = 600, 86_400
INTERVAL_SECONDS = 300
TOO_OLD = BOOT_DEADLINE_SECONDS + 301
"""An age at which a VM without a configuration gets none any more."""

JOBS, JOBS_EAST = "gh-runner-presubmit-cpu-us-west1-aaaa", "gh-runner-presubmit-cpu-us-east1-bbbb"
CPU, FIXED = "gh-runner-postsubmit-cpu-us-west1-cccc", "gh-runner-a100-us-west1-dddd"
GROUPS: dict[str, tuple[str, str]] = {
    JOBS: ("presubmit-cpu", "jobs"),
    JOBS_EAST: ("presubmit-cpu", "jobs"),
    CPU: ("postsubmit-cpu", "cpu"),
    FIXED: ("a100", "fixed"),
}


def table(groups: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """The fleet's table."""
    return {
        "project": PROJECT,
        "environment": "prod",
        "organization": "iree-org",
        "groups": {name: _row(name, pool, signal) for name, (pool, signal) in groups.items()},
    }


def _row(name: str, pool: str, signal: str) -> dict[str, Any]:
    region = "us-east1" if "us-east1" in name else "us-west1"
    return {
        "region": region,
        "pool": pool,
        "zones": [f"{region}-a", f"{region}-b"],
        "service_account": f"gh-runner-minimal@{PROJECT}.iam.gserviceaccount.com",
        "runner_group": "presubmit",
        "labels": ["self-hosted", "environment=prod"],
        "signal": signal,
        "min": 0,
        "max": 100,
        "rank": 0 if region == "us-west1" else 1,
        "idle": 0,
        "scale_set": f"gh-runner-{pool}" if signal == "jobs" else "",
        "standby": None,
    }


def environment(site: Site, fleet_file: Path, **more: str) -> dict[str, str]:
    """What tells the reconciler about the emulators."""
    return {
        "RECONCILER_APP_ID": str(site.github.app_id),
        "RECONCILER_INSTALLATION_ID": str(site.github.installation_id),
        "RECONCILER_APP_KEY_SECRET": f"projects/{PROJECT}/secrets/github-app-key/versions/latest",
        "RECONCILER_BUCKET": OWN,
        "RECONCILER_GRANTS_BUCKET": GRANTS,
        "RECONCILER_PERMITS_BUCKET": PERMITS,
        "RECONCILER_LISTENER_BUCKET": LISTENER,
        "RECONCILER_DRY_RUN": "false",
        "RECONCILER_MOST_PERCENT": "20",
        "RECONCILER_BOOT_DEADLINE_SECONDS": str(BOOT_DEADLINE_SECONDS),
        "RECONCILER_MAX_RUN_SECONDS": str(MAX_RUN_SECONDS),
        "RECONCILER_RUNNER_RELEASES": "{}",
        "RECONCILER_FLEET_FILE": str(fleet_file),
        "RECONCILER_GITHUB_URL": site.github_url,
        "RECONCILER_COMPUTE_URL": site.compute_url,
        "RECONCILER_STORAGE_URL": site.storage_url,
        "RECONCILER_SECRETS_URL": site.secrets_url,
        "RECONCILER_MONITORING_URL": site.compute_url,
        "GCE_METADATA_HOST": site.metadata_host,
        **more,
    }


class ReconcilerWorld:
    """Use it as a context manager. `run` asks over HTTP as Cloud Scheduler does."""

    def __init__(
        self,
        folder: Path,
        *,
        groups: Mapping[str, tuple[str, str]] = GROUPS,
        budget: Budget | None = None,
        **more: str,
    ) -> None:
        """`more` are variables of the environment that are to differ."""
        self.site = Site()
        self.google, self.github, self.faults = self.site.google, self.site.github, self.site.faults
        self.groups = groups
        self.lines: list[Mapping[str, Any]] = []
        self.listening = True
        """Whether the listener writes before each run."""
        self.wanted: dict[str, int] = {}
        self.budget = budget or Budget()
        self._folder = folder
        self._more = more
        self._made = 0
        self.skew = 0.0
        """By how much the reconciler's clock is ahead."""

    def __enter__(self) -> Self:
        self.site.__enter__()
        for name in self.groups:
            region = _row(name, "", "")["region"]
            self.google.add_group(name, region=region, zones=(f"{region}-a", f"{region}-b"), target_size=0)
        for bucket in (*BUCKETS.values(), FOREIGN):
            self.google.add_bucket(bucket)
        # No fleet that has VMs has no grant at all.
        self.google.put_object(GRANTS, "grants/1.json", b'{"state": "registered"}')
        self.google.put_secret("github-app-key", self.github.app_key_pem)
        self.github.add_runner_group("presubmit")
        fleet = self._folder / "fleet.json"
        fleet.write_text(json.dumps(table(self.groups)))
        self.environment = environment(self.site, fleet, **self._more)
        self.reconciler = self.another()
        self._server: BaseWSGIServer = make_server("127.0.0.1", 0, wsgi(self.reconciler), threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.session.close()
        self.site.__exit__()

    def another(self, workers: int = 8) -> Reconciler:
        """One more process of the function."""
        clock = self.site.clock
        self.session = BudgetedSession(self.budget, sleep=clock.advance, clock=clock.now, now=clock.now)
        return Reconciler(
            settings.load(self.environment, self._folder),
            budget=self.budget,
            session=self.session,
            token=lambda _: self.google.tokens.of(self.google.function_account, self.site.clock.now()).token,
            now=lambda: self.site.clock.now() + self.skew,
            clock=self.site.clock.now,
            log=self.lines.append,
            workers=workers,
        )

    # What there is.

    def group(self, name: str = JOBS) -> Group:
        """A group."""
        return self.google.groups[name]

    def vm(self, group: str = JOBS, *, age: float = TOO_OLD, **how: Any) -> Instance:
        """A running VM of a group, which is to have that one more."""
        found = self.google.groups[group]
        found.target_size += 1
        self._made += 1
        name = how.pop("name", f"{group.rpartition('-')[0]}-{self._made:04}")
        return self.google.create_instance(found, name=name, age_seconds=age, **how)

    def grant(self, vm: Instance, *, age: float = 0.0, state: str = "registered", **more: Any) -> None:
        """The broker's grant of a VM, last written so long ago."""
        group = vm.metadata["created-by"].rpartition("/")[2]
        record = {"instance_id": vm.id, "instance": vm.name, "zone": vm.zone, "group": group, "state": state, **more}
        self.google.put_object(GRANTS, f"grants/{vm.id}.json", json.dumps(record).encode())
        self.google.objects[GRANTS, f"grants/{vm.id}.json"].updated -= age

    def register(self, vm: Instance, *, age: float = 0.0, online: bool = True, labelled: bool = False) -> Runner:
        """A VM's grant and its runner: a scale set's, or one that the REST call made."""
        labels = ["self-hosted", f"zone={vm.zone}", f"hostname={vm.name}", f"instance-id={vm.id}"]
        suffix = base36(vm.id)
        name = vm.name if labelled else f"{vm.name[: 63 - len(suffix)]}-{suffix}"
        runner = self.github.add_runner(name, labels=labels if labelled else [])
        if online:
            self.github.connect(name)
        self.grant(vm, age=age, runner_id=runner.id)
        return runner

    def placeholder(self, group: str = JOBS) -> Instance:
        """A VM that a group wants and cannot make."""
        vm = self.vm(group)
        vm.action, vm.status = "CREATING", "PROVISIONING"
        vm.errors = [{"code": "ZONE_RESOURCE_POOL_EXHAUSTED", "message": "words of Google's"}]
        return vm

    # What happens.

    def pass_time(self, seconds: float = INTERVAL_SECONDS) -> None:
        """Time passes."""
        self.site.clock.advance(seconds)

    def listen(self) -> None:
        """What the listener writes every few seconds."""
        now = self.site.clock.now()
        record = {"fence": 1, "written": _text(now), "expires": _text(now + 120)}
        self._put("lease.json", {"holder": "somebody", "fence": 1, "state": "held", "renewed": _text(now)})
        for pool in {pool for pool, signal in self.groups.values() if signal == "jobs"}:
            self._put(f"pools/{pool}.json", {"pool": pool, **record})
        for group, desired in self.wanted.items():
            self._put(f"demand/{group}.json", {"desired": desired, "expires": record["expires"]})

    def _put(self, name: str, value: Mapping[str, Any]) -> None:
        self.google.put_object(LISTENER, name, json.dumps(value).encode())

    def before_acting(self, happens: Callable[[], None]) -> None:
        """Have something happen once, after a run has planned and before it first acts."""
        departure: Any = self.reconciler._departure
        original = departure.carry_out

        def late(*args: Any) -> None:
            departure.carry_out = original
            happens()
            original(*args)

        departure.carry_out = late

    def call(self, method: str = "POST", path: str = "/") -> requests.Response:
        """Ask the reconciler."""
        with requests.Session() as http:
            http.trust_env = False
            return http.request(method, self.url + path, timeout=120)

    def run(self) -> dict[str, Any]:
        """One run; its counters."""
        if self.listening:
            self.listen()
        reply = self.call()
        assert reply.status_code == 200, reply.text
        return reply.json()

    def runs(self, count: int = 2) -> dict[str, Any]:
        """So many runs, five minutes apart; the last one's counters."""
        for _ in range(count - 1):
            self.run()
            self.pass_time()
        return self.run()

    # What came of it.

    def report(self) -> dict[str, Any]:
        """The latest report."""
        return json.loads(self.google.objects[OWN, "reports/latest.json"].data)

    def found(self, kind: str) -> list[dict[str, Any]]:
        """The latest report's disagreements of a kind."""
        return [entry for entry in self.report()["disagreements"] if entry["kind"] == kind]

    def only(self, kind: str) -> dict[str, Any]:
        """The one disagreement of a kind."""
        [entry] = self.found(kind)
        return entry

    def changed(self) -> list[str]:
        """The routes of all that was asked and ends or removes something, in order."""
        changing = ("compute.delete_instances", "compute.recreate_instances", "compute.resize", "github.remove_runner",
                    "storage.delete")  # fmt: skip
        return [request.route for request in self.site.requests if request.route in changing]

    def gauge(self, name: str, pool: str = "presubmit-cpu") -> int | None:
        """A gauge's last value; None where it was never written."""
        values = [
            int(series["points"][0]["value"]["int64Value"])
            for series in self.google.time_series
            if series["metric"]["type"].rpartition("/")[2] == name
            and series["metric"]["labels"] == {"environment": "prod", "pool": pool}
        ]
        return values[-1] if values else None


def _text(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()


def wsgi(reconciler: Reconciler) -> flask.Flask:
    """The reconciler as functions-framework serves it: every path and method reaches it."""
    app = flask.Flask("reconciler")

    def handle(path: str) -> flask.Response:  # noqa: ARG001 - Flask's way
        return reconciler.handle(flask.request)

    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    options: dict[str, Any] = {"methods": methods, "provide_automatic_options": False}
    app.add_url_rule("/", "root", handle, defaults={"path": ""}, **options)
    app.add_url_rule("/<path:path>", "any", handle, **options)
    return app

"""One project of Google Cloud: what a test arranges and looks at."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from emulators import identity
from emulators.clock import Clock
from emulators.google import compute_rest, disk_rest, instance_rest, operation_rest, reply, storage_rest
from emulators.google.access_token import AccessTokens
from emulators.google.bucket import Storage, StoredObject
from emulators.google.compute import PROJECT_NUMBER, Compute
from emulators.google.group import Group, Version
from emulators.google.instance import ROOT, Instance
from emulators.google.logging import Logging
from emulators.google.metadata_server import MetadataServer
from emulators.google.monitoring import Monitoring
from emulators.google.operation import OperationError
from emulators.google.secret import Secrets
from emulators.google.template import Template
from emulators.route import Call, Reply, Route, Table, json_reply

UNGUARDED = frozenset({"metadata", "certs"})
"""Services that ask for no access token."""

TICKING = frozenset({"compute", "metadata"})
"""Services that show what becomes of VMs as time passes."""


class Google:
    """The project. Every method may be called from any thread."""

    def __init__(self, *, clock: Clock, lock: threading.RLock, seed: int, project: str) -> None:
        self.clock = clock
        self.lock = lock
        self.project = project
        self.project_number = PROJECT_NUMBER
        self.function_account = f"functions@{project}.iam.gserviceaccount.com"
        self.url = "https://www.googleapis.com"
        self.compute = Compute(clock=clock, seed=seed, project=project)
        self.storage = Storage(clock=clock)
        self.tokens = AccessTokens(seed=seed)
        self.keys = identity.KeySet()
        self.metadata = MetadataServer(self)
        self.secrets = Secrets(self)
        self.monitoring = Monitoring(self)
        self.logging = Logging(self)
        certs = Route(name="certs.keys", method="GET", path="/oauth2/v3/certs", handler=self._certs)
        services = [
            *compute_rest.routes(self),
            *instance_rest.routes(self),
            *disk_rest.routes(self),
            *operation_rest.routes(self),
            *storage_rest.routes(self),
            *self.secrets.routes(),
            *self.monitoring.routes(),
            *self.logging.routes(),
        ]
        self.table = Table([certs, *services, *self.metadata.routes()])

    @property
    def autofill(self) -> bool:
        """Whether groups fill up to their target sizes by themselves."""
        return self.compute.autofill

    @autofill.setter
    def autofill(self, value: bool) -> None:
        self.compute.autofill = value

    @property
    def groups(self) -> dict[str, Group]:
        """The instance groups, by name."""
        return self.compute.groups

    @property
    def objects(self) -> dict[tuple[str, str], StoredObject]:
        """What is stored, by bucket and name."""
        return self.storage.objects

    @property
    def time_series(self) -> list[dict[str, Any]]:
        """What was written to Cloud Monitoring, in that order."""
        return self.monitoring.time_series

    def add_group(
        self,
        name: str,
        *,
        region: str = "us-west1",
        zones: Sequence[str] = (),
        service_account: str = "",
        target_size: int = 1,
        project: str = "",
        autoscaler: dict[str, Any] | None = None,
    ) -> Group:
        """Have a regional managed instance group; `autoscaler` is {"min", "max", "recommended"}."""
        project = project or self.project
        with self.lock:
            return self.compute.add_group(
                name,
                region=region,
                zones=tuple(zones) or (f"{region}-a",),
                service_account=service_account or f"runner@{project}.iam.gserviceaccount.com",
                target_size=target_size,
                autoscaler=autoscaler,
                project=project,
            )

    def remove_group(self, name: str) -> Group:
        """Somebody deletes a group by hand; its VMs are gone at once."""
        with self.lock:
            return self.compute.remove_group(name)

    def create_instance(
        self, group: Group, *, name: str = "", zone: str = "", age_seconds: float = 0.0, version: str | None = None
    ) -> Instance:
        """Have a running VM of a group, of the version that is short of VMs or the one named. Its target size stays."""
        created = self.clock.now() - age_seconds
        with self.lock:
            return self.compute.add_instance(group, name=name, zone=zone, created=created, version=version)

    def add_template(
        self, name: str, *, region: str = "us-west1", metadata: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None, machine_type: str = "n2-standard-16",
    ) -> Template:  # fmt: skip
        """Have a regional instance template; its metadata and labels go to the VMs that are made from it."""
        with self.lock:
            template = Template(
                id=self.compute.number(),
                name=name,
                region=region,
                project=self.project,
                created=self.clock.now(),
                machine_type=machine_type,
                labels=dict(labels or {}),
                metadata=dict(metadata or {}),
            )
            self.compute.templates[region, name] = template
            return template

    def set_versions(self, group: Group, versions: Sequence[tuple[str, str, int | None]]) -> None:
        """Change a group's versions past the API: (name, template's name, fixed size or None for the rest)."""
        root = f"{ROOT}/projects/{group.project}/regions/{group.region}/instanceTemplates"
        with self.lock:
            group.versions = [
                Version(name=name, template=f"{root}/{made}", fixed=size) for name, made, size in versions
            ]
            group.revision += 1
            self.compute.changed += 1

    def write_serial(self, vm: Instance, text: str) -> None:
        """A VM writes to its serial port."""
        with self.lock:
            vm.serial += text.encode()

    def log(
        self, payload: Mapping[str, Any] | str, *, severity: str = "INFO", at: float | None = None,
        labels: Mapping[str, str] | None = None, resource: Mapping[str, str] | None = None, log: str = "runner",
    ) -> None:  # fmt: skip
        """Have an entry in Cloud Logging; `resource` are its resource's labels, such as instance_id."""
        with self.lock:
            self.logging.add(payload, severity=severity, at=at, labels=labels or {}, resource=resource or {}, log=log)

    def delete_instance(self, vm: Instance) -> None:
        """A VM is gone at once, as after a deletion past its group."""
        with self.lock:
            for group in self.compute.groups.values():
                if vm in group.instances:
                    group.instances.remove(vm)
                    self.compute.changed += 1

    def preempt(self, vm: Instance) -> None:
        """Compute Engine takes a VM away: it is told, and stops 30 s later."""
        with self.lock:
            vm.preempted, vm.status, vm.until = True, "STOPPING", self.clock.now() + 30
            vm.revision += 1
            self.compute.changed += 1

    def fail_operation(
        self, route: str, *, code: str = "", message: str = "", http_status: int = 503, times: int = 1
    ) -> None:
        """The next operations of a route (such as "compute.delete_instances") are accepted and fail later."""
        self._check_route(route)
        error = OperationError(code=code or OperationError.code, message=message, http_status=http_status)
        with self.lock:
            self.compute.failing[route].extend([error] * times)

    def add_bucket(self, name: str) -> None:
        """Have a bucket, and from now on no other than those added. Until then every bucket exists."""
        with self.lock:
            self.storage.buckets = (self.storage.buckets or set()) | {name}

    def put_object(self, bucket: str, name: str, data: bytes) -> int:
        """Store an object past the API; its generation."""
        with self.lock:
            return self.storage.put(bucket, name, data).generation

    def put_secret(self, name: str, value: str | bytes) -> int:
        """Have one more version of a secret; its number."""
        with self.lock:
            return self.secrets.put(name, value.encode() if isinstance(value, str) else value)

    def deny(self, route: str, account: str = "") -> None:
        """403 for that account, or the functions', on a route."""
        self._check_route(route)
        self.tokens.deny(route, account or self.function_account)

    def allow(self, route: str, account: str = "") -> None:
        """Undo it."""
        self.tokens.allow(route, account or self.function_account)

    def identity_token(
        self,
        vm: Instance,
        audience: str,
        *,
        key: str = "",
        alg: str = "RS256",
        kid: str | None = None,
        **overrides: Any,
    ) -> str:
        """A VM's identity token of format `full`, as its metadata server makes it, with any part spoiled.

        `overrides` replace claims and the members of google.compute_engine (None takes one away; `claims` is a mapping
        of more such); `key` names another key to sign with, whose id goes into the header unless `kid` is given.
        """
        now = int(self.clock.now())
        engine: dict[str, Any] = {
            "project_id": vm.project,
            "project_number": vm.project_number,
            "zone": vm.zone,
            "instance_id": vm.id,
            "instance_name": vm.name,
            "instance_creation_timestamp": int(vm.created),
            "instance_confidentiality": 0,
        }
        claims: dict[str, Any] = {
            **self._claims(vm.service_account, audience, now),
            "google": {"compute_engine": engine},
        }
        for name, value in {**overrides.pop("claims", {}), **overrides}.items():
            place = engine if name in engine else claims
            place[name] = value
        engine = {name: value for name, value in engine.items() if value is not None}
        if claims.get("google") is not None and "google" not in overrides:
            claims["google"] = {"compute_engine": engine}
        claims = {name: value for name, value in claims.items() if value is not None}
        return identity.encode(claims, identity.signing_key(key) if key else self.keys.current, alg=alg, kid=kid)

    def account_token(self, account: str, audience: str) -> str:
        """An identity token that names no VM, as functions get."""
        return identity.encode(self._claims(account, audience, int(self.clock.now())), self.keys.current)

    def handle(self, route: Route, call: Call) -> Reply | None:
        """Answer a call; the site holds the lock."""
        if route.service in TICKING:
            self.compute.tick()
        if route.service not in UNGUARDED:
            self.tokens.check(route, call, self.clock.now())
        return route.handler(call)

    def failure(self, route: str, status: int, retry_after: int | None) -> Reply:
        """What a fault answers."""
        return reply.failure(route, status, retry_after)

    def no_route(self, method: str, path: str) -> Reply:
        """What an unknown path gets."""
        return Reply(
            status=404, body=f"No {method} {path} in this stand-in.".encode(), headers={"Content-Type": "text/html"}
        )

    def _check_route(self, route: str) -> None:
        known = self.table.names
        if route not in known:
            raise ValueError(f"no route is called {route!r}; there are {', '.join(known)}")

    @staticmethod
    def _claims(account: str, audience: str, now: int) -> dict[str, Any]:
        subject = str(100_000_000_000_000_000_000 + sum(account.encode()))
        return {
            "iss": identity.ISSUER,
            "iat": now,
            "exp": now + identity.LIFETIME_SECONDS,
            "aud": audience,
            "sub": subject,
            "azp": subject,
            "email": account,
            "email_verified": True,
        }

    def _certs(self, call: Call) -> Reply:  # noqa: ARG002 - the same for everybody
        headers = {"Cache-Control": "public, max-age=19845, must-revalidate, no-transform"}
        return json_reply(200, self.keys.document, headers)

"""The metadata server of a VM or of a function: tokens, identity, attributes, waiting for a change.

After https://docs.cloud.google.com/compute/docs/metadata/querying-metadata and .../verifying-instance-identity
(November 2026). A VM's lies on a port of its own; on any other it is a function's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from emulators.google.access_token import AccessToken
from emulators.google.instance import Instance
from emulators.route import Call, Refusal, Reply, Route, json_reply

if TYPE_CHECKING:
    from emulators.google.cloud import Google

ROOT: Final = "/computeMetadata/v1/"
ACCOUNTS: Final = "instance/service-accounts/"
ATTRIBUTES: Final = "instance/attributes/"
FLAVOR: Final = {"Metadata-Flavor": "Google", "Server": "Metadata Server for VM"}
SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"


class MetadataServer:
    """The handlers, and who is served on which port."""

    def __init__(self, google: Google) -> None:
        self._google = google
        self._served: dict[int, tuple[str, Instance | None]] = {}

    def serve(self, port: int, account: str, vm: Instance | None) -> None:
        """Be the metadata server of that VM, or of a function of that account, on a port."""
        self._served[port] = account, vm

    def routes(self) -> Iterable[Route]:
        """No token is needed, but the header."""
        account = f"{ROOT}{ACCOUNTS}{{account...}}"
        yield Route(name="metadata.ping", method="GET", path="/", handler=self.ping)
        yield Route(name="metadata.token", method="GET", path=f"{account}/token", handler=self.token)
        yield Route(name="metadata.identity", method="GET", path=f"{account}/identity", handler=self.identity)
        yield Route(name="metadata.value", method="GET", path=f"{ROOT}{{key...}}", handler=self.value)

    def ping(self, call: Call) -> Reply:
        """The root, by which clients find out that there is a metadata server."""
        self._check(call)
        return _text("computeMetadata/\n")

    def token(self, call: Call) -> Reply:
        """An access token."""
        account, _ = self._who(call)
        now = self._google.clock.now()
        token: AccessToken = self._google.tokens.of(account, now)
        value = {"access_token": token.token, "expires_in": int(token.expires - now), "token_type": "Bearer"}
        return json_reply(200, value, FLAVOR)

    def identity(self, call: Call) -> Reply:
        """An identity token; with `format=full` it names the VM."""
        account, vm = self._who(call)
        audience = call.query.get("audience", "")
        if not audience:
            raise Refusal(_text("non-empty audience parameter required", status=400))
        if vm is None or call.query.get("format") != "full":
            return _text(self._google.account_token(account, audience))
        return _text(self._google.identity_token(vm, audience))

    def value(self, call: Call) -> Reply | None:
        """Anything else; with wait_for_change once it differs from what it was, or from `last_etag`."""
        account, vm = self._who(call)
        key = call.parameters["key"]
        values = self._values(account, vm)
        found = values.get(key)
        if key.rstrip("/") in {f"{ACCOUNTS}default", ACCOUNTS + account}:
            return json_reply(200, {"aliases": ["default"], "email": account, "scopes": [SCOPE]}, FLAVOR)
        if key == ATTRIBUTES and call.query.get("recursive") == "true":
            return json_reply(200, dict(vm.metadata) if vm else {}, FLAVOR)
        if found is None and key.endswith("/"):
            names = sorted({name.removeprefix(key).partition("/")[0] for name in values if name.startswith(key)})
            found = "\n".join(names) if names else None
        etag = hashlib.sha256(repr(found).encode()).hexdigest()[:16]
        if call.query.get("wait_for_change", "").lower() == "true":
            known = call.query.get("last_etag") or call.notes.setdefault("etag", etag)
            limit = float(call.query.get("timeout_sec") or "inf")
            call.notes["until"] = call.at + limit
            if etag == known and self._google.clock.now() < call.notes["until"]:
                return None
        if found is None:
            raise Refusal(_text("The requested URL was not found on this server.", status=404))
        return _text(found, etag=etag)

    def _check(self, call: Call) -> None:
        if call.headers.get("Metadata-Flavor") != "Google" or "X-Forwarded-For" in call.headers:
            raise Refusal(_text("Missing Metadata-Flavor:Google header.", status=403))

    def _who(self, call: Call) -> tuple[str, Instance | None]:
        self._check(call)
        account, vm = self._served.get(call.port, (self._google.function_account, None))
        asked = call.parameters.get("account", "default")
        if asked not in {"default", account}:
            raise Refusal(_text("The service account was not found.", status=404))
        return account, vm

    def _values(self, account: str, vm: Instance | None) -> dict[str, str]:
        number = self._google.project_number
        values = {
            "project/project-id": self._google.project,
            "project/numeric-project-id": str(number),
            "universe/universe-domain": "googleapis.com",
            "instance/service-accounts/default/email": account,
            f"instance/service-accounts/{account}/email": account,
            "instance/service-accounts/default/scopes": f"{SCOPE}\n",
        }
        if vm is None:
            return {**values, "instance/region": f"projects/{number}/regions/us-west1"}
        return {
            **values,
            "instance/id": vm.id,
            "instance/name": vm.name,
            "instance/hostname": f"{vm.name}.{vm.zone}.c.{vm.project}.internal",
            "instance/zone": f"projects/{number}/zones/{vm.zone}",
            "instance/machine-type": f"projects/{number}/machineTypes/n2-standard-16",
            "instance/preempted": "TRUE" if vm.preempted else "FALSE",
            "instance/maintenance-event": "NONE",
            **{ATTRIBUTES + key: value for key, value in vm.metadata.items()},
        }


def _text(text: str, *, status: int = 200, etag: str = "0") -> Reply:
    headers = {**FLAVOR, "Content-Type": "application/text", "ETag": etag}
    return Reply(status=status, body=text.encode(), headers=headers)

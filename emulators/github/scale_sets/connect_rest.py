"""The two REST calls by which a client of scale sets gets at the Actions service. They belong to the API.

An App's installation may ask for its organization and the repositories in it, a personal token for an enterprise too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from emulators.clock import rfc3339
from emulators.github.reply import invalid, refuse
from emulators.route import Call, Reply, Route, json_reply

if TYPE_CHECKING:
    from emulators.github.hub import GitHub


NAMES: Final = frozenset({"registration_token", "register"})
"""Of the routes, without what they begin with."""


def routes(hub: GitHub) -> Iterable[Route]:
    """At the root, as on api.github.com, and below api/v3, as on a server of one's own."""
    calls = ConnectRest(hub)
    token = "/actions/runners/registration-token"  # noqa: S105 - a path
    for prefix in ("", "/api/v3"):
        for scope in ("/orgs/{organization}", "/repos/{organization}/{repository}", "/enterprises/{enterprise}"):
            yield Route(
                name="github.scale_sets.registration_token",
                method="POST",
                path=prefix + scope + token,
                handler=calls.registration_token,
            )
        path = f"{prefix}/actions/runner-registration"
        yield Route(name="github.scale_sets.register", method="POST", path=path, handler=calls.register)


class ConnectRest:
    """The handlers."""

    def __init__(self, hub: GitHub) -> None:
        self._hub = hub

    def registration_token(self, call: Call) -> Reply:
        """A token by which runners and scale sets are registered."""
        now = self._hub.clock.now()
        self._hub.app.check_token(call, now)
        given = call.parameters
        if "enterprise" in given:
            if call.bearer not in self._hub.app.personal_tokens:
                raise refuse(403, "Resource not accessible by integration")
            scope = f"enterprises/{given['enterprise']}"
        else:
            if given["organization"].lower() != self._hub.organization.lower():
                raise refuse(404, "Not Found")
            scope = "/".join(filter(None, (given["organization"], given.get("repository"))))
        token, expires = self._hub.scale_sets.connections.registration(scope, now)
        return json_reply(201, {"token": token, "expires_at": rfc3339(expires)})

    def register(self, call: Call) -> Reply:
        """Where the Actions service is, and an admin token for it."""
        sets = self._hub.scale_sets
        body: Any = call.json()
        given: dict[str, Any] = body if isinstance(body, dict) else {}  # pyright: ignore[reportUnknownVariableType]
        url, event = given.get("url"), given.get("runner_event")
        authorization = call.headers.get("Authorization", "")
        token = sets.connections.admin(authorization, str(url), self._hub.clock.now())
        if event != "register":
            raise invalid(f"For 'properties/runner_event', {event!r} is not 'register'.")
        return json_reply(200, {"url": sets.service_url, "token": token})

"""GitHub's REST calls for an organization's runners.

After https://docs.github.com/en/rest/actions/self-hosted-runners and .../self-hosted-runner-groups (November 2026).
Where the documentation is silent: 409 for a taken name (ubicloud/ubicloud#692), 422 for deleting a runner that is
shown busy, with the message that actions-runner-controller's source quotes, and that one whose job is not shown yet is
deleted (github-aws-runners/terraform-aws-github-runner#5228).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from emulators.github.configuration import configuration
from emulators.github.page import page
from emulators.github.reply import invalid, refuse
from emulators.github.runner import Runner
from emulators.route import Call, Reply, Route, json_reply

if TYPE_CHECKING:
    from emulators.github.hub import GitHub

NAME: Final = re.compile(r"[^\s/\\\"']{1,64}")
MAX_LABELS: Final = 100


def routes(hub: GitHub) -> Iterable[Route]:
    """At the root, as on api.github.com, and below api/v3, as on a server of one's own."""
    calls = Rest(hub)
    table = {
        "access_token": ("POST", "/app/installations/{installation}/access_tokens", calls.access_token),
        "runner_groups": ("GET", "/orgs/{organization}/actions/runner-groups", calls.runner_groups),
        "group_repositories": (
            "GET",
            "/orgs/{organization}/actions/runner-groups/{group}/repositories",
            calls.group_repositories,
        ),
        "jit": ("POST", "/orgs/{organization}/actions/runners/generate-jitconfig", calls.jit),
        "runners": ("GET", "/orgs/{organization}/actions/runners", calls.runners),
        "runner": ("GET", "/orgs/{organization}/actions/runners/{runner}", calls.runner),
        "remove_runner": ("DELETE", "/orgs/{organization}/actions/runners/{runner}", calls.remove_runner),
    }
    for name, (method, path, handler) in table.items():
        for prefix in ("", "/api/v3"):
            yield Route(name=f"github.{name}", method=method, path=prefix + path, handler=handler)


class Rest:
    """The handlers."""

    def __init__(self, hub: GitHub) -> None:
        self._hub = hub

    def access_token(self, call: Call) -> Reply:
        """An App's JWT for an installation token."""
        token = self._hub.app.issue(call, self._hub.clock.now())
        return json_reply(201, self._hub.app.document(token))

    def runner_groups(self, call: Call) -> Reply:
        """The organization's groups, or those that a repository may use."""
        self._check(call)
        repository = call.query.get("visible_to_repository")
        base = f"{self._hub.url}/orgs/{self._hub.organization}/actions/runner-groups"
        groups: list[dict[str, Any]] = [
            {
                "id": group.id,
                "name": group.name,
                "visibility": group.visibility,
                "default": group.name == "Default",
                "inherited": False,
                "allows_public_repositories": True,
                "restricted_to_workflows": False,
                "selected_workflows": [],
                "workflow_restrictions_read_only": False,
                "runners_url": f"{base}/{group.id}/runners",
            }
            for group in self._hub.groups.values()
            if repository is None or group.repositories is None or repository in group.repositories
        ]
        return page(self._hub, call, "runner_groups", groups)

    def group_repositories(self, call: Call) -> Reply:
        """The repositories that were selected for a group."""
        self._check(call)
        group = next((each for each in self._hub.groups.values() if str(each.id) == call.parameters["group"]), None)
        if group is None:
            raise refuse(404, "Not Found")
        names = sorted(group.repositories or ())
        found = [
            {"id": 1000 + n, "name": name, "full_name": f"{self._hub.organization}/{name}"}
            for n, name in enumerate(names)
        ]
        return page(self._hub, call, "repositories", found)

    def jit(self, call: Call) -> Reply:
        """Register a runner and hand out its configuration."""
        self._check(call)
        body = call.json()
        if not isinstance(body, dict):
            raise refuse(400, "Problems parsing JSON")
        name, group, labels, folder = _registration(body)  # pyright: ignore[reportUnknownArgumentType]
        known = next((each for each in self._hub.groups.values() if each.id == group), None)
        if known is None:
            raise refuse(404, "Not Found")
        if not known.usable:
            raise refuse(403, "Resource not accessible by integration")
        if name in self._hub.runners:
            raise refuse(409, f"Already exists - A runner with the name {name} already exists.")
        runner = self._hub.add_runner(name, labels=labels, group_id=group, work_folder=folder)
        return json_reply(
            201, {"runner": self._hub.document(runner), "encoded_jit_config": configuration(self._hub, runner)}
        )

    def runners(self, call: Call) -> Reply:
        """The organization's runners, or the one of a name."""
        self._check(call)
        wanted = call.query.get("name")
        found = [runner for runner in self._hub.runners.values() if wanted is None or runner.name == wanted]
        return page(self._hub, call, "runners", [self._hub.document(runner) for runner in found])

    def runner(self, call: Call) -> Reply:
        """One runner."""
        return json_reply(200, self._hub.document(self._known(call)))

    def remove_runner(self, call: Call) -> Reply:
        """Delete a registration, if it is not *shown* busy; a job that runs nevertheless goes on without it."""
        runner = self._known(call)
        if self._hub.shown_busy(runner):
            raise refuse(422, f'Bad request - Runner "{runner.name}" is still running a job"')
        self._hub.remove(runner)
        return Reply(status=204)

    def _known(self, call: Call) -> Runner:
        self._check(call)
        runner = self._hub.runner_with_id(call.parameters["runner"])
        if runner is None:
            raise refuse(404, "Not Found")
        return runner

    def _check(self, call: Call) -> None:
        self._hub.app.check_token(call, self._hub.clock.now())
        if call.parameters["organization"].lower() != self._hub.organization.lower():
            raise refuse(404, "Not Found")


def _registration(body: Mapping[str, Any]) -> tuple[str, int, list[str], str]:
    name, group, labels = body.get("name"), body.get("runner_group_id"), body.get("labels")
    folder = body.get("work_folder", "_work")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise invalid("Runner name must be 1 to 64 characters long, without spaces, slashes and quotes.")
    if not isinstance(group, int) or isinstance(group, bool):
        raise invalid(f"For 'properties/runner_group_id', {json.dumps(group)} is not an integer.")
    if not isinstance(labels, list) or not all(isinstance(label, str) and label for label in labels):  # pyright: ignore[reportUnknownVariableType]
        raise invalid("For 'properties/labels', an array of strings is expected.")
    if not 1 <= len(labels) <= MAX_LABELS:  # pyright: ignore[reportUnknownArgumentType]
        raise invalid(f"For 'properties/labels', 1 to {MAX_LABELS} items are expected.")
    if not isinstance(folder, str):
        raise invalid("For 'properties/work_folder', a string is expected.")
    return name, group, labels, folder  # pyright: ignore[reportUnknownVariableType]

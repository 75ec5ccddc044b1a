"""The Actions service's calls for a connection: groups, scale sets, sessions, just-in-time configurations, runners.

Statuses are the ones that GitHub's Go client insists on: 200 for what is made, 204 for what is deleted. What a client
sends besides is not insisted on: `api-version`, `createdOn`, `maxCapacity`. An update replaces what it
names; whether the real one does is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from emulators.github.configuration import configuration
from emulators.github.runner import Runner
from emulators.github.scale_sets.exchange import ScaleSets
from emulators.github.scale_sets.reply import listed, refuse
from emulators.github.scale_sets.scale_set import ScaleSet
from emulators.github.scale_sets.session import Session
from emulators.route import Call, Reply, Route, json_reply

if TYPE_CHECKING:
    from emulators.github.hub import GitHub, RunnerGroup

RUNTIME: Final = "/rest/_apis/runtime"
SETS: Final = f"{RUNTIME}/runnerscalesets"
SET: Final = SETS + "/{scale_set}"
AGENTS: Final = "/rest/_apis/distributedtask/pools/0/agents"


def routes(hub: GitHub) -> Iterable[Route]:
    """All of them need an admin token."""
    calls = ServiceRest(hub)
    table = {
        "runner_group": ("GET", f"{RUNTIME}/runnergroups/", calls.runner_group),
        "find": ("GET", SETS, calls.find),
        "get": ("GET", SET, calls.get),
        "create": ("POST", SETS, calls.create),
        "update": ("PATCH", SET, calls.update),
        "delete": ("DELETE", SET, calls.delete),
        "jit": ("POST", SET + "/generatejitconfig", calls.jit),
        "acquirable": ("GET", SET + "/acquirablejobs", calls.acquirable),
        "open_session": ("POST", SET + "/sessions", calls.open_session),
        "refresh_session": ("PATCH", SET + "/sessions/{session}", calls.refresh_session),
        "close_session": ("DELETE", SET + "/sessions/{session}", calls.close_session),
        "runners": ("GET", AGENTS, calls.runners),
        "runner": ("GET", AGENTS + "/{runner}", calls.runner),
        "remove_runner": ("DELETE", AGENTS + "/{runner}", calls.remove_runner),
    }
    for name, (method, path, handler) in table.items():
        yield Route(name=f"github.scale_sets.{name}", method=method, path=path, handler=handler)


class ServiceRest:
    """The handlers."""

    def __init__(self, hub: GitHub) -> None:
        self._hub = hub

    @property
    def _sets(self) -> ScaleSets:
        return self._hub.scale_sets

    # Groups and sets

    def runner_group(self, call: Call) -> Reply:
        """The groups, or the one of a name."""
        self._check(call)
        wanted = call.query.get("groupName", "").lower()
        found = [each for each in self._hub.groups.values() if not wanted or each.name.lower() == wanted]
        return listed([_group(each) for each in found])

    def find(self, call: Call) -> Reply:
        """The sets of a group, or the one of a name in it."""
        scope = self._check(call)
        group, name = call.query.get("runnerGroupId"), call.query.get("name")
        found = [
            each.document()
            for each in self._sets.all
            if each.repository == scope and group in {None, str(each.group.id)} and name in {None, each.name}
        ]
        return listed(found)

    def get(self, call: Call) -> Reply:
        """One set."""
        return json_reply(200, self._known(call).document())

    def create(self, call: Call) -> Reply:
        """A set; its name is taken only once in a group."""
        scope = self._check(call)
        body = _body(call)
        name = body.get("name")
        if not isinstance(name, str) or not name:
            raise _argument("name")
        group = self._group(body.get("runnerGroupId", 1))
        self._check_name(name, group, scope)
        made = self._sets.add(
            name, group, _labels(body) or (), repository=scope, disable_update=_disable_update(body) is True
        )
        return json_reply(200, made.document())

    def update(self, call: Call) -> Reply:
        """Replace what is given of it."""
        scale_set = self._known(call)
        body = _body(call)
        group = self._group(body.get("runnerGroupId", scale_set.group.id))
        name = str(body.get("name") or scale_set.name)
        if (name, group) != (scale_set.name, scale_set.group):
            self._check_name(name, group, scale_set.repository)
        scale_set.name, scale_set.group = name, group
        if (labels := _labels(body)) is not None:
            self._sets.relabel(scale_set, labels)
        if (disable := _disable_update(body)) is not None:
            scale_set.disable_update = disable
        return json_reply(200, scale_set.document())

    def delete(self, call: Call) -> Reply:
        """Refused while a runner of it is shown to have a job."""
        scale_set = self._known(call)
        for runner in scale_set.busy.values():
            if self._hub.shown_busy(runner):
                raise _running(runner)
        self._sets.delete(scale_set)
        return Reply(status=204)

    # Sessions

    def open_session(self, call: Call) -> Reply:
        """The set's one session."""
        scale_set = self._known(call)
        owner = _body(call).get("ownerName")
        if not isinstance(owner, str) or not owner:
            raise _argument("ownerName")
        made = self._sets.sessions.open(scale_set, owner)
        if made is None:
            holder = scale_set.session.owner if scale_set.session else ""
            text = f"The runner scale set {scale_set.name} already has an active session for owner {holder}."
            raise refuse(409, "RunnerScaleSetSessionConflictException", text)
        return self._session_shown(made)

    def refresh_session(self, call: Call) -> Reply:
        """Its next token. An evicted session is not found."""
        session = self._sets.sessions.of(self._known(call))
        if session is None or session.id != call.parameters["session"]:
            text = f"Session {call.parameters['session']} was not found in redis."
            raise refuse(404, "RunnerAdminException", text)
        self._sets.sessions.refresh(session)
        return self._session_shown(session)

    def close_session(self, call: Call) -> Reply:
        """It is in nobody's way any more. One that is gone was the wrong request."""
        session = self._sets.sessions.of(self._known(call))
        if session is None or session.id != call.parameters["session"]:
            text = f"The session {call.parameters['session']} has expired."
            raise refuse(400, "RunnerScaleSetSessionExpiredException", text)
        self._sets.sessions.end(session)
        return Reply(status=204)

    # Jobs and runners

    def acquirable(self, call: Call) -> Reply:
        """What Enterprise Server offers the set; 204 when that is nothing."""
        offered = self._known(call).offered.values()
        return listed([job.message("JobAvailable") for job in offered]) if offered else Reply(status=204)

    def jit(self, call: Call) -> Reply:
        """Register a runner of the set, with its labels, and hand out its configuration."""
        scale_set = self._known(call)
        body = _body(call)
        name = body.get("name")
        if not isinstance(name, str) or not name:
            raise _argument("name")
        if name in self._hub.runners:
            raise refuse(409, "AgentExistsException", f"A runner with the name {name} already exists.")
        folder = str(body.get("workFolder") or "_work")
        runner = self._hub.add_runner(
            name, labels=[*scale_set.labels], group_id=scale_set.group.id, work_folder=folder, scale_set_id=scale_set.id
        )
        return json_reply(200, {"runner": _runner(runner), "encodedJITConfig": configuration(self._hub, runner)})

    def runners(self, call: Call) -> Reply:
        """All runners, or the one of a name."""
        self._check(call)
        name = call.query.get("agentName")
        known = self._hub.runners
        found = list(known.values()) if name is None else [known[name]] if name in known else []
        return listed([_runner(runner) for runner in found])

    def runner(self, call: Call) -> Reply:
        """One runner."""
        self._check(call)
        runner = self._hub.runner_with_id(call.parameters["runner"])
        if runner is None:
            text = f"Could not find runner with id {call.parameters['runner']}."
            raise refuse(404, "AgentNotFoundException", text)
        return json_reply(200, _runner(runner))

    def remove_runner(self, call: Call) -> Reply:
        """Delete a registration, if it is not shown busy; one that is gone already is done."""
        self._check(call)
        runner = self._hub.runner_with_id(call.parameters["runner"])
        if runner is not None:
            if self._hub.shown_busy(runner):
                raise _running(runner)
            self._hub.remove(runner)
        return Reply(status=204)

    def _check(self, call: Call) -> str:
        """The repository that the caller's connection is for; empty for the organization."""
        return self._sets.connections.check(call, self._hub.clock.now()).repository

    def _known(self, call: Call) -> ScaleSet:
        scope = self._check(call)
        found = self._sets.with_id(call.parameters["scale_set"])
        if found is None or found.repository != scope:
            text = f"The runner scale set {call.parameters['scale_set']} was not found."
            raise refuse(404, "RunnerScaleSetNotFoundException", text)
        return found

    def _group(self, number: Any) -> RunnerGroup:
        found = next((each for each in self._hub.groups.values() if each.id == number), None)
        if found is None:
            raise refuse(404, "RunnerGroupNotFoundException", f"Runner group {number} was not found.")
        return found

    def _check_name(self, name: str, group: RunnerGroup, scope: str) -> None:
        if any((each.name, each.group, each.repository) == (name, group, scope) for each in self._sets.all):
            text = f"A runner scale set with the name {name} already exists in runner group {group.name}."
            raise refuse(400, "RunnerScaleSetExistsException", text)

    def _session_shown(self, session: Session) -> Reply:
        url = self._sets.queue_url
        if self._sets.options.blank_queue_urls > 0:
            self._sets.options.blank_queue_urls -= 1
            url = ""
        return json_reply(200, session.document(url))


def _body(call: Call) -> Mapping[str, Any]:
    body: Any = call.json()
    if not isinstance(body, dict):
        raise refuse(400, "VssPropertyValidationException", "The body is no JSON object.")
    return body  # pyright: ignore[reportUnknownVariableType]


def _argument(name: str) -> Exception:
    return refuse(400, "ArgumentNullException", f"Value cannot be null. (Parameter '{name}')")


def _running(runner: Runner) -> Exception:
    return refuse(400, "JobStillRunningException", f"The runner {runner.name} is still running a job.")


def _labels(body: Mapping[str, Any]) -> list[str] | None:
    given: Any = body.get("labels")
    if not isinstance(given, list):
        return None
    return [str(label["name"]) for label in given if isinstance(label, dict) and label.get("name")]  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType, reportUnknownArgumentType]


def _disable_update(body: Mapping[str, Any]) -> bool | None:
    """From either spelling of the setting."""
    setting: Any = body.get("RunnerSetting", body.get("runnerSetting"))
    if not isinstance(setting, dict) or "disableUpdate" not in setting:
        return None
    return setting["disableUpdate"] is True


def _group(group: RunnerGroup) -> dict[str, Any]:
    return {"id": group.id, "name": group.name, "size": 0, "isDefaultGroup": group.name == "Default"}


def _runner(runner: Runner) -> dict[str, Any]:
    return {"id": runner.id, "name": runner.name, "runnerScaleSetId": runner.scale_set_id}

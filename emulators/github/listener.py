"""What a stand-in for a runner's listener may ask: connect, wait for a job, finish it. Not GitHub's wire format.

`POST /_runner/session` {"agentId", "clientId", "version"} with what stands in the just-in-time configuration gives
{"sessionId"}; `GET /_runner/message?sessionId=` waits for a job; `DELETE /_runner/session?sessionId=` disconnects.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from emulators.github.reply import refuse
from emulators.github.runner import Runner
from emulators.route import Call, Reply, Route, json_reply

if TYPE_CHECKING:
    from emulators.github.hub import GitHub

POLL_SECONDS: Final = 50
"""After which a poll ends without a message, as GitHub's do."""


def routes(hub: GitHub) -> Iterable[Route]:
    """The three calls."""
    calls = Listener(hub)
    yield Route(name="github.connect", method="POST", path="/_runner/session", handler=calls.connect)
    yield Route(name="github.poll", method="GET", path="/_runner/message", handler=calls.poll)
    yield Route(name="github.finish", method="POST", path="/_runner/finish", handler=calls.finish)
    yield Route(name="github.disconnect", method="DELETE", path="/_runner/session", handler=calls.disconnect)


class Listener:
    """The handlers."""

    def __init__(self, hub: GitHub) -> None:
        self._hub = hub

    def connect(self, call: Call) -> Reply:
        """Open a session: refused without a registration, for an old version, and while another one is open."""
        body: Any = call.json()
        given: dict[str, Any] = body if isinstance(body, dict) else {}  # pyright: ignore[reportUnknownVariableType]
        runner = self._hub.runner_with_id(str(given.get("agentId")))
        if runner is None or runner.credential != given.get("clientId"):
            raise refuse(401, "The runner registration has been deleted from the server, please re-configure.")
        version = str(given.get("version", ""))
        if version in self._hub.refused_versions or _numbers(version) < _numbers(self._hub.minimum_version):
            raise refuse(403, f"Runner version v{version} is deprecated and cannot receive messages.")
        if runner.session:
            raise refuse(409, "A session for this runner already exists.")
        self._hub.connect(runner.name, version=version)
        return json_reply(200, {"sessionId": runner.session})

    def poll(self, call: Call) -> Reply | None:
        """The job that a test gave this runner; 202 when none comes; 404 once its registration is gone."""
        runner = self._runner(call)
        if runner.job:
            return json_reply(200, {"job": runner.job})
        call.notes["until"] = call.at + POLL_SECONDS
        return Reply(status=202) if self._hub.clock.now() >= call.notes["until"] else None

    def finish(self, call: Call) -> Reply:
        """The job is done; `result` says how, and that all is well when it says nothing."""
        result = call.query.get("result", "succeeded").replace("cancelled", "canceled")
        self._hub.finish_job(self._runner(call, removed=True).name, result)
        return Reply(status=204)

    def disconnect(self, call: Call) -> Reply:
        """The session is closed; the registration stays."""
        self._hub.disconnect(self._runner(call).name)
        return Reply(status=204)

    def _runner(self, call: Call, *, removed: bool = False) -> Runner:
        session = call.query.get("sessionId", "")
        known = [*self._hub.runners.values(), *(self._hub.gone if removed else ())]
        runner = next((each for each in known if session and each.session == session), None)
        if runner is None:
            raise refuse(404, "The session is not known.")
        return runner


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())

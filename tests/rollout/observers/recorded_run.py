"""Runs as events, without an engine: numbers, times and states as the engine's own would be."""

from __future__ import annotations

import random

from rollout.engine.events import Event, Kind, Reason
from rollout.engine.states import State, check

BEGAN_AT = 1_795_608_000.0
"""2026-11-25T12:00:00Z."""


class Recorder:
    """Makes events; `at` is in seconds since the run's start, and states go only where the engine's table lets them."""

    def __init__(self, name: str = "canary 2026-11-02") -> None:
        self.name = name
        self.events: list[Event] = []
        self.states: dict[str, State] = {}

    def add(self, at: float, kind: Kind, **more) -> Event:
        event = Event(number=len(self.events) + 1, at=BEGAN_AT + at, elapsed_seconds=at, kind=kind, **more)
        self.events.append(event)
        return event

    def begin(self, steps: list[dict], *, limits: dict | None = None, resumed: bool = False) -> None:
        described = [describe(**step) for step in steps]
        self.states |= {step["id"]: step.get("state", State.SCHEDULED) for step in described}
        data = {"name": self.name, "steps": described, "resumed": resumed, "limits": limits or {}}
        self.add(0.0, Kind.RUN_STARTED, data=data)

    def grow(self, at: float, step: str, steps: list[dict]) -> None:
        described = [describe(**each) for each in steps]
        self.states |= {each["id"]: State.SCHEDULED for each in described}
        self.add(at, Kind.STEPS_ADDED, step=step, data={"steps": described})

    def state(self, at: float, step: str, new: State, code: str = "", message: str = "", cause: str = "", **data):
        old = self.states[step]
        check(step, old, new)
        self.states[step] = new
        reason = Reason(code=code, message=message, cause=cause) if code else None
        return self.add(at, Kind.STATE, step=step, old=old, new=new, reason=reason, data=data)

    def run(self, begin: float, end: float, step: str, new: State = State.PASSED, code="", message="", **data) -> None:
        """From its queue to its end."""
        self.state(begin, step, State.QUEUED)
        self.state(begin, step, State.RUNNING, attempt=1)
        self.state(end, step, new, code, message, attempt=1, **data)

    def end(self, at: float, verdict: str) -> None:
        counts = {state: list(self.states.values()).count(state) for state in State}
        self.add(at, Kind.RUN_ENDED, data={"verdict": verdict, "counts": counts})


def describe(**facts) -> dict:
    """A step as RUN_STARTED describes it; only `id` is needed."""
    return {
        "id": facts["id"],
        "title": facts.get("title", ""),
        "group": facts.get("group", ""),
        "backend": facts.get("backend", "google"),
        "needs": list(facts.get("needs", ())),
        "weight": facts.get("weight", 1.0),
        "uses": facts.get("uses", {}),
    } | ({"state": facts["state"]} if "state" in facts else {})


def canary() -> Recorder:
    """Two groups, a retry, a failure with output, a gate, a step that never runs, and a wide title."""
    run = Recorder()
    west, east = "us-west1/cpu", "us-east1/cpu"
    run.begin(
        [
            {"id": "templates", "title": "make templates", "weight": 20},
            {"id": "west/update", "needs": ["templates"], "group": west, "weight": 60, "uses": {"cpus/us-west1": 96}},
            {"id": "west/verify", "needs": ["west/update"], "group": west, "title": "確認 of 8 VMs", "weight": 90},
            {"id": "east/update", "needs": ["templates"], "group": east, "weight": 60},
            {"id": "east/verify", "needs": ["east/update"], "group": east, "weight": 90, "backend": "github"},
            {"id": "promote", "needs": ["west/verify", "east/verify"], "title": "promote <script>alert(1)</script>"},
        ],
        limits={"total": 2, "resources.cpus/us-west1": 192},
    )
    run.run(0.1, 18.4, "templates")
    run.state(18.4, "west/update", State.QUEUED)
    run.state(18.4, "west/update", State.RUNNING, attempt=1)
    run.state(18.4, "east/update", State.QUEUED)
    run.state(18.5, "east/update", State.RUNNING, attempt=1)
    link = "https://console.cloud.google.com/operation-7"
    run.add(19.0, Kind.ATTACHED, step="west/update", data={"external_id": "operation-7", "link": link})
    run.add(25.0, Kind.PROGRESS, step="west/update", data={"text": "3 of 8 VMs"})
    run.state(40.0, "east/update", State.RETRY_WAIT, "unavailable", "Google said 503", attempt=1)
    run.add(50.0, Kind.PROGRESS, step="west/update", data={"text": "6 of 8 VMs"})
    run.state(52.0, "east/update", State.QUEUED)
    run.state(52.0, "east/update", State.RUNNING, attempt=2)
    run.state(75.0, "west/update", State.PASSED, attempt=1, link=link)
    run.state(75.0, "west/verify", State.BLOCKED_ON_GATE, "bake", "60 s from now")
    run.state(
        90.5,
        "east/update",
        State.FAILED,
        "quota",
        "CPUS in us-east1: 96 asked for, 0 left",
        attempt=2,
        link="https://console.cloud.google.com/quotas",
        tail=["limit: 960", "\x1b[31musage: 960\x1b[0m", "::error::no command"],
    )
    run.state(90.5, "east/verify", State.SKIPPED, "dependency", "east/update did not pass", cause="east/update")
    return run


def finished_canary() -> Recorder:
    run = canary()
    run.state(135.0, "west/verify", State.QUEUED)
    run.state(135.0, "west/verify", State.RUNNING, attempt=1)
    run.add(140.0, Kind.STOPPING, data={"stage": 1, "why": "SIGINT"})
    run.state(151.0, "west/verify", State.PASSED, attempt=1)
    run.state(151.0, "promote", State.SKIPPED, "dependency", "east/verify did not pass", cause="east/verify")
    run.add(151.2, Kind.COMPENSATING, step="west/update", data={"outcome": "started", "message": ""})
    run.add(158.0, Kind.COMPENSATING, step="west/update", data={"outcome": "passed", "message": ""})
    run.end(158.1, "failed")
    return run


def wide(steps: int, *, seed: int = 1, groups: int = 40) -> Recorder:
    """A layered run of so many steps in so many groups, with failures and what they forbid, at most 64 at once."""
    draw = random.Random(seed)
    run = Recorder(f"{steps:,} steps")
    ids = [f"layer-{i // groups:03}/group-{i % groups:02}" for i in range(steps)]
    needs = {step: [ids[i - groups]] if i >= groups else [] for i, step in enumerate(ids)}
    run.begin(
        [{"id": step, "needs": needs[step], "group": f"group-{i % groups:02}"} for i, step in enumerate(ids)],
        limits={"total": 64},
    )
    ends: dict[str, tuple[float, bool]] = {}
    planned: list[tuple[float, int, str, State]] = []
    for i, step in enumerate(ids):
        before = [ends[need] for need in needs[step]]
        allowed = max((end for end, _ in before), default=0.0)
        if not all(good for _, good in before):
            planned.append((allowed, i, step, State.SKIPPED))
            ends[step] = allowed, False
            continue
        begin = allowed + draw.random()
        end = begin + draw.uniform(0.5, 20)
        good = draw.random() > 0.002
        planned += [(allowed, i, step, State.QUEUED), (begin, i, step, State.RUNNING)]
        planned.append((end, i, step, State.PASSED if good else State.FAILED))
        ends[step] = end, good
    for at, _, step, new in sorted(planned, key=lambda each: each[:2]):
        told = {State.FAILED: ("exit-1", "it did not work"), State.SKIPPED: ("dependency", "what it needs failed")}
        run.state(at, step, new, *told.get(new, ("", "")))
    last = max(end for end, _ in ends.values())
    run.end(last, "failed" if State.FAILED in run.states.values() else "passed")
    return run

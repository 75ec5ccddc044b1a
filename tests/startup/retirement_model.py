"""Every way in which an idle VM's retirement can go: the production machine among all that can happen around it.

The functions and tables of `startup.lib.retirement` run here as they are, against a model of the VM (listener, worker),
GitHub (registration, a job on its way), the deleter (one permit, and another VM that wants it), the network (a call is
executed and answered; executed and its answer lost; not executed; executed later), an operator who holds, lets go,
drains and thinks better of it at any time, what deletes the VM once its listener is gone, the timer, and kills.
Breadth first, so the trace to a violation is a shortest one. `python -m tests.startup.retirement_model` prints a table.

Properties:
  P0  no VM asks for a permit that has or had a job, or has not listened for the idle timeout unless it is drained.
  P1  no listener is stopped while its worker runs, however late GitHub delivers.
  P2  no job is lost that GitHub assigned, even before its worker starts; while deliveries take at most LAG_SECONDS.
  P3  no VM leaves by idling without a permit, and a permit is held by one VM at most.
  P4  at rest no permit is held and the listener runs; and from every state some continuation gets there or ends the VM.
  P5  an idle VM leaves: while it has no job and the permit is to be had, some continuation ends it.
  P6  no attempt begins while an operator holds the VM, and it is not deleted then.
  P7  a drained VM leaves as P5 says without waiting for the idle timeout.

What is assumed: the deleter's own decisions are exact and its calls may be repeated; a permit ends with its VM; a call
that was sent has landed before the next run of the timer; a registration can be removed under a running job, but
nothing is assigned to a runner without one, and a listener without one ends by itself only while no job is on its way;
while a run looks at the frozen listener, nobody else lets it run. GitHub's flag may be wrong at any time, either way:
that is more than its lag. The deleter may say no in any doubt, even to the holder, who then still holds. Time passes
only while a run settles: more of it only helps delivery. The other VM stands for all others: whatever may be done with
a permit, it may do. A hold ends by itself. No continuation counts on others' help or on a listener that ends by itself.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from startup.lib import retirement
from startup.lib.retirement import AFTER, Outcome, Seen, Stage

TICK_SECONDS: Final = 30
LAG_SECONDS: Final = 60
LAST_AGE: Final = LAG_SECONDS // TICK_SECONDS
MOST_TICKS: Final = -(-retirement.SETTLE_SECONDS // TICK_SECONDS)

NO_JOB: Final = -1  # 0 and more: ticks since GitHub assigned the job that is on its way
WORKS: Final = 100
WORKED: Final = 101
VISIBLE: Final = (WORKS, WORKED)

DONE, REFUSED, UNKNOWN = Outcome.DONE, Outcome.REFUSED, Outcome.UNKNOWN
BESIDE_A_WORKER: Final = "P1 stopped beside a worker"
OTHERS_HELP: Final = "somebody lets the listener run"
ENDS_ITSELF: Final = "the listener ends without a registration"
HELP: Final = frozenset({OTHERS_HELP, ENDS_ITSELF})
TIME_PASSES: Final = "the idle timeout passes"
DRAINS: Final = "an operator drains it"


class Run(NamedTuple):
    """The script: about to decide, to act or to end, at a stage, having settled for some ticks."""

    phase: str
    stage: Stage
    ticks: int


class World(NamedTuple):
    """Everything that matters about one VM."""

    listener: str = "runs"  # frozen, ending (by a signal it handles itself), gone
    idle: bool = False
    job: int = NO_JOB
    registered: bool = True
    permit: str = "free"  # mine, used by leaving; other's, spent by leaving
    saved: str | None = None
    run: Run | None = None
    late: Stage | None = None  # a call that was sent, whose answer nobody awaits any more
    held: bool = False
    drained: bool = False
    deleted: bool = False


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What decides: production's functions and tables, and what its effects do. A variant replaces one of them."""

    begin: Callable[[str | None], Stage] = retirement.begin
    decide: Callable[[Stage, Seen], Stage] = retirement.decide
    after: Mapping[tuple[Stage, Outcome], Stage] = field(default_factory=lambda: AFTER)
    goes_on: Callable[[Stage, Outcome], bool] = retirement.goes_on
    saves: bool = True
    freezes: bool = True
    kills: bool = True
    gives_back: bool = True
    keeps_held: bool = True
    """Whether what deletes a VM waits for the end of a hold."""
    bounded: bool = True
    """Whether deliveries take at most LAG_SECONDS; else they may take for ever, and P2 is not asked for."""


class Step(NamedTuple):
    """An edge: what happens, the world after it, and what it violates."""

    label: str
    world: World
    violates: str = ""


@dataclass(frozen=True)
class Verdict:
    """What a search found: its size, and a shortest trace for every violated property."""

    states: int
    edges: int
    violations: dict[str, list[str]]


def search(rules: Rules) -> Verdict:
    """All that can be reached, breadth first."""
    start = World()
    came_from: dict[World, tuple[World, str]] = {}
    into: dict[World, list[tuple[World, str]]] = {start: []}
    ends: list[World] = []
    violations: dict[str, list[str]] = {}
    queue = deque([start])
    edges = 0
    while queue:
        world = queue.popleft()
        if world.deleted or _rests(world):
            ends.append(world)
        for label, following, violates in steps(world, rules):
            edges += 1
            new = following not in into
            if new:
                came_from[following] = (world, label)
                into[following] = []
                queue.append(following)
            into[following].append((world, label))
            found = violates or _violated_by(following)
            if found and found not in violations:
                violations[found] = [*_trace(world, came_from), label]
    stuck = _cannot_reach(into, ends, into, HELP)
    if stuck:
        violations["P4 no continuation ends well"] = _trace(stuck, came_from)
    waiting = [world for world in into if world.job == NO_JOB and world.permit not in ("spent", "used")]
    leavers = [world for world in ends if world.permit == "used"]
    stuck = _cannot_reach(into, leavers, waiting, HELP)
    if stuck:
        violations["P5 an idle VM cannot leave"] = _trace(stuck, came_from)
    stuck = _cannot_reach(into, leavers, (world for world in waiting if world.drained), {*HELP, TIME_PASSES, DRAINS})
    if stuck:
        violations["P7 a drained VM waits"] = _trace(stuck, came_from)
    return Verdict(len(into), edges, violations)


def steps(world: World, rules: Rules) -> Iterator[Step]:
    """All that can happen next."""
    if world.deleted:
        return
    yield from _operator(world)
    if world.listener == "gone":
        if not world.held or not rules.keeps_held:
            yield Step(
                "the VM is deleted", world._replace(deleted=True), "P6 deleted though held" if world.held else ""
            )
        return
    yield from _github(world, rules)
    yield from _others(world, rules)
    if world.run is not None:
        yield Step("the run is killed", world._replace(run=None))
        yield from _PHASES[world.run.phase](world, world.run, rules)


def _operator(world: World) -> Iterator[Step]:
    """What an operator can do, and time with a hold."""
    yield Step("the hold is over" if world.held else "an operator holds it", world._replace(held=not world.held))
    if world.listener != "gone":
        label = "an operator drains it no more" if world.drained else DRAINS
        yield Step(label, world._replace(drained=not world.drained))


def _github(world: World, rules: Rules) -> Iterator[Step]:
    """What GitHub and the listener can do."""
    on_its_way = NO_JOB < world.job < WORKS
    if not world.idle and world.job == NO_JOB:
        yield Step(TIME_PASSES, world._replace(idle=True))
    if world.registered and world.job == NO_JOB:
        yield Step("GitHub assigns a job", world._replace(job=0))
    if on_its_way and world.listener in ("runs", "ending"):
        violates = BESIDE_A_WORKER if world.listener == "ending" else ""
        yield Step("the job arrives, its worker starts", world._replace(job=WORKS), violates)
    if world.listener == "ending":
        yield Step("the listener ends", _gone(world), _lost(world, rules))
    if world.job == WORKS:
        yield Step("the worker ends", world._replace(job=WORKED))
    if world.job == WORKED and world.listener == "runs":
        yield Step("the listener ends after its job", _gone(world))
    if not world.registered and world.job == NO_JOB and world.listener == "runs":
        yield Step(ENDS_ITSELF, _gone(world), _unpermitted(world))


def _others(world: World, rules: Rules) -> Iterator[Step]:
    """What the other VM, the network, somebody on this VM and the timer can do."""
    if world.permit == "free":
        yield Step("the other VM gets the permit", world._replace(permit="other's"))
    if world.permit == "other's":
        yield Step("the other VM gives the permit back", world._replace(permit="free"))
        yield Step("the other VM leaves", world._replace(permit="spent"))
    if world.late is not None:
        for outcome, landed in _executed(world.late, world, rules):
            yield Step(f"late: {world.late.value} lands, {outcome.value}", landed._replace(late=None))
    if world.run is None and world.listener == "frozen":
        yield Step(OTHERS_HELP, world._replace(listener="runs"))
    if world.run is None and world.late is None:
        begun = Run("decides", rules.begin(world.saved), 0)
        yield Step(f"the timer starts a run: {begun.stage.value}", world._replace(run=begun))


def _decides(world: World, run: Run, rules: Rules) -> Iterator[Step]:
    visible = world.job in VISIBLE
    seen = Seen(
        idle=world.idle,
        job=visible,
        settled_seconds=run.ticks * TICK_SECONDS,
        held=world.held,
        drained=world.drained,
    )
    stage = rules.decide(run.stage, seen)
    violates = _begins_wrongly(world, visible=visible) if stage is Stage.ASKING else ""
    following = None if stage is Stage.RESTING else Run("acts", stage, run.ticks)
    yield Step(f"decides on {stage.value}", _save(world, stage, rules)._replace(run=following), violates)


def _begins_wrongly(world: World, *, visible: bool) -> str:
    if visible or not (world.idle or world.drained):
        return "P0 asks though not idle"
    return "P6 begins though held" if world.held else ""


def _acts(world: World, run: Run, rules: Rules) -> Iterator[Step]:
    for label, outcome, after, violates in _results(world, run, rules):
        stage = rules.after[run.stage, outcome]
        ticks = after.run.ticks if after.run else run.ticks
        phase = "decides" if rules.goes_on(stage, outcome) else "ends"
        yield Step(f"{run.stage.value}: {label}", after._replace(run=Run(phase, stage, ticks)), violates)


def _ends(world: World, run: Run, rules: Rules) -> Iterator[Step]:
    yield Step(f"ends, {run.stage.value} saved", _save(world, run.stage, rules)._replace(run=None))


_PHASES: Final = {"decides": _decides, "acts": _acts, "ends": _ends}


def _results(world: World, run: Run, rules: Rules) -> Iterator[tuple[str, Outcome, World, str]]:
    """What an action can do to the world and tell the script: label, outcome, world after it, violation."""
    match run.stage:
        case Stage.SETTLING:
            if rules.bounded and world.job == LAST_AGE and world.listener == "runs":
                return  # it arrives first
            on_its_way = rules.bounded and NO_JOB < world.job < LAST_AGE
            waited = run._replace(ticks=min(run.ticks + 1, MOST_TICKS))
            yield "waits", DONE, world._replace(job=world.job + on_its_way, run=waited), ""
        case Stage.FREEZING:
            yield "frozen", DONE, world._replace(listener="frozen" if rules.freezes else world.listener), ""
            yield "not every thread in time, runs again", UNKNOWN, world._replace(listener="runs"), ""
        case Stage.STOPPING if rules.kills:
            violates = BESIDE_A_WORKER if world.job == WORKS else _lost(world, rules) or _unpermitted(world)
            yield "killed", DONE, _gone(world), violates
            yield "not killed in time", UNKNOWN, world, ""
        case Stage.STOPPING:
            yield "told to end, and to run for that", DONE, world._replace(listener="ending"), ""
        case call:
            sent = world._replace(listener="runs") if call is Stage.RETURNING else world
            for outcome, executed in _executed(call, sent, rules):
                if (call, outcome) in rules.after:
                    yield f"answered {outcome.value}", outcome, executed, ""
                yield f"{outcome.value}, answer lost", UNKNOWN, executed, ""
            yield "not executed", UNKNOWN, sent, ""
            yield "not executed yet", UNKNOWN, sent._replace(late=call), ""


def _executed(call: Stage, world: World, rules: Rules) -> Iterator[tuple[Outcome, World]]:
    """What a service may do with a call."""
    match call:
        case Stage.ASKING:
            if world.permit in ("free", "mine"):
                yield DONE, world._replace(permit="mine")
            yield REFUSED, world
        case Stage.DEREGISTERING:
            yield DONE, world._replace(registered=False)
            if world.registered:
                yield REFUSED, world  # GitHub may take it for busy, and it may be
        case _:
            returns = rules.gives_back and world.permit == "mine"
            yield DONE, world._replace(permit="free") if returns else world


def _save(world: World, stage: Stage, rules: Rules) -> World:
    return world._replace(saved=stage.value) if rules.saves else world


def _lost(world: World, rules: Rules) -> str:
    return "P2 an assigned job is lost" if rules.bounded and NO_JOB < world.job < WORKS else ""


def _unpermitted(world: World) -> str:
    return "" if world.permit == "mine" else "P3 leaves without a permit"


def _gone(world: World) -> World:
    return world._replace(listener="gone", permit="used" if world.permit == "mine" else world.permit)


def _at_rest(world: World) -> bool:
    return world.run is None and world.saved in (None, Stage.RESTING.value)


def _rests(world: World) -> bool:
    return _at_rest(world) and world.listener == "runs" and world.permit != "mine" and world.late is None


def _violated_by(world: World) -> str:
    if not _at_rest(world) or world.listener == "gone":
        return ""
    if world.listener == "frozen":
        return "P4 rests with a frozen listener"
    return "P4 rests with a permit" if world.permit == "mine" else ""


def _cannot_reach(
    into: Mapping[World, list[tuple[World, str]]],
    ends: list[World],
    from_all: Iterable[World],
    uncounted: Collection[str],
) -> World | None:
    """A state, the earliest, from which none of the ends can be reached without what does not count."""
    reaching = set(ends)
    queue = deque(ends)
    while queue:
        for world, label in into[queue.popleft()]:
            if label not in uncounted and world not in reaching:
                reaching.add(world)
                queue.append(world)
    return next((world for world in from_all if world not in reaching), None)


def _trace(world: World, came_from: Mapping[World, tuple[World, str]]) -> list[str]:
    labels: list[str] = []
    while world in came_from:
        world, label = came_from[world]
        labels.append(label)
    return labels[::-1]


# Variants: production, and production with one guard taken out.


def _blind_in(blind: Stage) -> Callable[[Stage, Seen], Stage]:
    """`decide` that sees no job in a stage."""
    return lambda stage, seen: retirement.decide(stage, replace(seen, job=seen.job and stage is not blind))


def _impatient(stage: Stage, seen: Seen) -> Stage:
    """`decide` that takes every VM for idle."""
    return retirement.decide(stage, replace(seen, idle=True))


def _without_marks(stage: Stage, seen: Seen) -> Stage:
    """`decide` that knows no drain."""
    return retirement.decide(stage, replace(seen, drained=False))


def _ignoring_holds(stage: Stage, seen: Seen) -> Stage:
    """`decide` that knows no hold."""
    return retirement.decide(stage, replace(seen, held=False))


def _drain_for_idle_and_free(stage: Stage, seen: Seen) -> Stage:
    """`decide` that takes a drain for leave to go, whatever runs."""
    return retirement.decide(stage, replace(seen, job=seen.job and not seen.drained))


def _held_back(stage: Stage, seen: Seen) -> Stage:
    """`decide` that lets a hold end an attempt at any stage, as a job does."""
    return retirement.decide(stage, replace(seen, job=seen.job or seen.held))


def _settles_for(seconds: int) -> Callable[[Stage, Seen], Stage]:
    """`decide` with another SETTLE_SECONDS."""
    more = retirement.SETTLE_SECONDS - seconds
    return lambda stage, seen: retirement.decide(stage, replace(seen, settled_seconds=seen.settled_seconds + more))


def _begins(saved: Stage, stage: Stage) -> Callable[[str | None], Stage]:
    """`begin` with another entry."""
    return lambda text: stage if text == saved.value else retirement.begin(text)


def _after(stage: Stage, outcome: Outcome, following: Stage) -> Mapping[tuple[Stage, Outcome], Stage]:
    return {**AFTER, (stage, outcome): following}


SOUND: Final = {"bounded": Rules(), "unbounded": Rules(bounded=False)}
"""Production, with deliveries that take at most LAG_SECONDS, and with any."""

BROKEN: Final = {
    "no idle check": (Rules(decide=_impatient), "P0 asks though not idle"),
    "no look for a job before asking": (
        Rules(decide=_blind_in(Stage.RESTING)),
        "P0 asks though not idle",
    ),
    "refused permit ignored": (
        Rules(after=_after(Stage.ASKING, REFUSED, Stage.DEREGISTERING)),
        "P3 leaves without a permit",
    ),
    "unknown permit taken for granted": (
        Rules(after=_after(Stage.ASKING, UNKNOWN, Stage.DEREGISTERING)),
        "P3 leaves without a permit",
    ),
    "unknown permit taken for refused": (
        Rules(after=_after(Stage.ASKING, UNKNOWN, Stage.RESTING)),
        "P4 rests with a permit",
    ),
    "refused deregistration ignored": (
        Rules(after=_after(Stage.DEREGISTERING, REFUSED, Stage.SETTLING)),
        "P2 an assigned job is lost",
    ),
    "unknown deregistration taken for done": (
        Rules(after=_after(Stage.DEREGISTERING, UNKNOWN, Stage.SETTLING)),
        "P2 an assigned job is lost",
    ),
    "unknown deregistration given up": (
        Rules(after=_after(Stage.DEREGISTERING, UNKNOWN, Stage.RETURNING)),
        "P3 leaves without a permit",
    ),
    "unknown return taken for done": (
        Rules(after=_after(Stage.RETURNING, UNKNOWN, Stage.RESTING)),
        "P4 rests with a permit",
    ),
    "goes on after an unknown outcome": (
        Rules(goes_on=lambda stage, _: stage is not Stage.RESTING),
        "P4 rests with a permit",
    ),
    "no settling": (Rules(decide=_settles_for(0)), "P2 an assigned job is lost"),
    "settles for less than the lag": (Rules(decide=_settles_for(30)), "P2 an assigned job is lost"),
    "settles no longer than the lag": (Rules(decide=_settles_for(60)), "P2 an assigned job is lost"),
    "no freeze": (Rules(freezes=False, bounded=False), BESIDE_A_WORKER),
    "no last look": (Rules(decide=_blind_in(Stage.STOPPING), bounded=False), BESIDE_A_WORKER),
    "ends the listener by a signal it handles": (Rules(kills=False, bounded=False), BESIDE_A_WORKER),
    "nothing saved": (Rules(saves=False), "P4 rests with a frozen listener"),
    "asking forgotten": (Rules(begin=_begins(Stage.ASKING, Stage.RESTING)), "P4 rests with a permit"),
    "freezing forgotten": (
        Rules(begin=_begins(Stage.FREEZING, Stage.RESTING), bounded=False),
        "P4 rests with a frozen listener",
    ),
    "failed freeze given up": (
        Rules(after=_after(Stage.FREEZING, UNKNOWN, Stage.RETURNING)),
        "P3 leaves without a permit",
    ),
    "stopping resumed without a freeze": (
        Rules(begin=_begins(Stage.STOPPING, Stage.STOPPING), bounded=False),
        BESIDE_A_WORKER,
    ),
    "a hold ignored": (Rules(decide=_ignoring_holds), "P6 begins though held"),
    "deleted though held": (Rules(keeps_held=False), "P6 deleted though held"),
    "a hold that ends an attempt half-way": (Rules(decide=_held_back), "P3 leaves without a permit"),
    "a drain ignored": (Rules(decide=_without_marks), "P7 a drained VM waits"),
    "a drain that overrules a job": (Rules(decide=_drain_for_idle_and_free, bounded=False), BESIDE_A_WORKER),
    "permit not returned": (Rules(gives_back=False), "P4 rests with a permit"),
}
"""One guard out of production each, and a property that no longer holds."""

PROMPT_ONLY: Final = {
    "no look before deregistering": Rules(decide=_blind_in(Stage.DEREGISTERING)),
    "no watching while settling": Rules(decide=_blind_in(Stage.SETTLING)),
}
"""Looks that no property needs: they only end an attempt early. The machine has one rule for all looks."""


def main() -> None:
    """Print every variant's size and verdict; for a violation, its shortest trace."""
    rules = {f"production, {name}": rules for name, rules in SOUND.items()}
    rules |= {name: rules for name, (rules, _) in BROKEN.items()} | PROMPT_ONLY
    lines = [f"{'variant':42} {'states':>7} {'edges':>7}  verdict"]
    for name, variant in rules.items():
        verdict = search(variant)
        lines.append(f"{name:42} {verdict.states:7} {verdict.edges:7}  {'; '.join(verdict.violations) or 'holds'}")
        lines += [f"    {found}: {' | '.join(trace)}" for found, trace in verdict.violations.items()]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

"""Every way in which VMs can ask, be drained, return, leave, be replaced and be cut off: the deleter's own functions
among it all.

`deleter.decide` runs here as it is, against a model of a group (target size, members, VMs in deletion, a replacement),
its ledger in a bucket, and the VMs. Each look of each handler is a step of its own, so everything can happen between
two. A handler may be killed anywhere; a write it has sent then lands later, or never. Breadth first, so the trace to a
violation is a shortest one. `python -m tests.functions.deleter.deleter_model` prints a table.

Properties, while only VMs with a permit leave for good and what is wanted stays the same:
  P1  permits of VMs that are still counted never exceed the surplus, target size - wanted; where some are drained, they
      exceed it by no more than may be missing at once.
  P2  a VM that was told yes has its permit in the ledger until it returns it or leaves.
  P3  a VM that was told that its permit is back has none, however late a write lands.
  P4  from every state some continuation shrinks the group to what is wanted.
  P5  from every state some continuation ends all VMs that are drained. Whoever sizes the group then grows it again.

A generation is modelled as whether somebody wrote since a handler's read. A VM starts a call when its last one is over
or its handler dead, as startup/lib/retirement.py does, whose pause between runs is longer than a handler lives.
"""

from __future__ import annotations

import datetime
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from deleter import decide
from deleter.decide import Answer, Ledger, LedgerUnreadableError, Member, Reason, Size

WHEN: Final = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)
GARBAGE: Final = b'{"permits": '


class Call(NamedTuple):
    """A handler's work for one VM: what it has seen so far. `valid` while nobody wrote since its read."""

    asks: bool
    looks: tuple[str, ...] = ()
    ledger: bytes | None = None
    valid: bool = True
    ids: tuple[tuple[str, str], ...] = ()
    size: Size | None = None
    write: bytes | None = None
    says: str = ""


class Vm(NamedTuple):
    """A VM: away (not made yet), in, deleting or gone; what it knows; its handler; a write that lands late."""

    place: str = "in"
    knows: str = "resting"  # resting, unsure, permitted
    call: Call | None = None
    late: Call | None = None


class World(NamedTuple):
    """One group. VMs by position; the last may be a replacement that does not exist yet."""

    target: int
    vms: tuple[Vm, ...]
    ledger: bytes | None = None
    faults: int = 1  # how many more kills, deaths and garbled writes may happen


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What decides: production's, and how its adapter goes about it. A variant replaces one of them."""

    order: tuple[str, ...] = ("ledger", "members", "size")
    ask: Callable[..., Answer] = decide.ask
    ask_drained: Callable[..., Answer] = decide.ask_drained
    read: Callable[[bytes | None], Ledger] = decide.read_ledger
    conditional: bool = True
    heals: bool = True
    fences: bool = True
    keeps: bool = True
    """Whether the ledger alone answers a holder."""


class Verdict(NamedTuple):
    """What a search found."""

    states: int
    edges: int
    violations: dict[str, list[str]]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Where a search starts."""

    vms: int
    replacements: int
    wanted: int
    faults: int
    drained: int = 0
    """The first so many of the VMs are drained."""

    @property
    def missing(self) -> int:
        """How far below the target size a group may fall that has as many VMs as it wants."""
        return decide.missing_at_once(self.wanted) if self.drained else 0

    @property
    def start(self) -> World:
        """All VMs in, nothing asked."""
        away = (Vm(place="away"),) * self.replacements
        return World(self.vms, (Vm(),) * self.vms + away, faults=self.faults)


def search(rules: Rules, scene: Scene, limit: int = 2_000_000) -> Verdict:
    """All that can be reached from a scene, breadth first."""
    start = scene.start
    came_from: dict[World, tuple[World, str]] = {}
    into: dict[World, list[World]] = {start: []}
    violations: dict[str, list[str]] = {}
    queue = deque([start])
    edges = 0
    while queue:
        world = queue.popleft()
        for label, following in steps(world, rules, scene):
            edges += 1
            if following not in into:
                assert len(into) < limit, "the model grew out of hand"
                came_from[following] = (world, label)
                into[following] = []
                queue.append(following)
                for found in _violated(following, scene):
                    violations.setdefault(found, _trace(following, came_from))
            if not label.startswith("fault"):
                into[following].append(world)
    shrunk = [world for world in into if world.target == scene.wanted]
    left = [world for world in into if all(vm.place == "gone" for vm in world.vms[: scene.drained])]
    for ends, violated in ((shrunk, "P4 stays too large for ever"), (left, "P5 a drained VM stays for ever")):
        stuck = _cannot_reach(into, ends)
        if stuck is not None:
            violations[violated] = _trace(stuck, came_from)
    return Verdict(len(into), edges, violations)


def _cannot_reach(into: dict[World, list[World]], ends: list[World]) -> World | None:
    """A state, the earliest, from which none of the ends can be reached."""
    reaching = set(ends)
    queue = deque(ends)
    while queue:
        for world in into[queue.popleft()]:
            if world not in reaching:
                reaching.add(world)
                queue.append(world)
    return next((world for world in into if world not in reaching), None)


def steps(world: World, rules: Rules, scene: Scene) -> Iterator[tuple[str, World]]:
    """All that can happen next."""
    for at, vm in enumerate(world.vms):
        yield from _own(world, at, vm)
        if vm.call is not None:
            yield from _handler(world, at, vm, vm.call, rules, scene)
        if vm.late is not None:
            yield f"late write of {at} lands", _write(_put(world, at, vm._replace(late=None)), vm.late, rules)[0]
    if world.target < scene.wanted:
        yield "the group grows again", world._replace(target=scene.wanted)
    if world.faults:
        yield from _faults(world)


def _own(world: World, at: int, vm: Vm) -> Iterator[tuple[str, World]]:
    """What a VM does, and its group with it."""
    if vm.place == "deleting":
        yield f"{at} is gone", _put(world, at, vm._replace(place="gone", call=None))
    if vm.place == "away" and sum(other.place == "in" for other in world.vms) < world.target:
        yield f"{at} replaces", _put(world, at, Vm())
    if vm.place != "in" or vm.call is not None:
        return
    if vm.knows == "resting":
        yield f"{at} asks", _put(world, at, vm._replace(knows="unsure", call=Call(asks=True)))
    else:
        yield f"{at} returns", _put(world, at, vm._replace(knows="unsure", call=Call(asks=False)))
    if vm.knows == "permitted":
        yield f"{at} leaves", _put(world._replace(target=world.target - 1), at, vm._replace(place="deleting"))


def _handler(world: World, at: int, vm: Vm, call: Call, rules: Rules, scene: Scene) -> Iterator[tuple[str, World]]:
    """The next step of a handler."""
    if call.says:
        yield f"{at} hears {call.says}", _put(world, at, _told(vm, call))
        return
    if call.write is not None:
        written, took = _write(world, call, rules)
        again = Call(asks=call.asks)
        # A no, or a failure, stands even where its write did not.
        final = took or _says(call) in ("no", "failed")
        then = call._replace(write=None, says=_says(call)) if final else again
        yield f"write for {at}", _put(written, at, written.vms[at]._replace(call=then))
        return
    label, following = _look(world, at, call, rules, scene)
    yield f"{label} for {at}", _put(world, at, vm._replace(call=following))


def _look(world: World, at: int, call: Call, rules: Rules, scene: Scene) -> tuple[str, Call]:
    """The next look, or the decision after the last."""
    left = [look for look in rules.order if look not in call.looks]
    if "ledger" in call.looks and not left:
        return "decide", _decided(at, call, rules, scene)
    if "ledger" in call.looks and call.looks[-1] == "ledger" and (early := _early(at, call, rules)) is not None:
        return "decide early", early
    looked = call._replace(looks=(*call.looks, left[0]))
    match left[0]:
        case "ledger":
            return "read", looked._replace(ledger=world.ledger, valid=True)
        case "members":
            places = tuple((str(n + 1), vm.place) for n, vm in enumerate(world.vms) if vm.place in ("in", "deleting"))
            return "list", looked._replace(ids=places)
        case _:
            stable = all(vm.place != "deleting" for vm in world.vms)
            stable &= sum(vm.place == "in" for vm in world.vms) == world.target
            return "size", looked._replace(size=Size(target=world.target, stable=stable))


def _early(at: int, call: Call, rules: Rules) -> Call | None:
    """What the ledger alone decides."""
    try:
        ledger = rules.read(call.ledger)
    except LedgerUnreadableError:
        if rules.heals:
            return None
        return call._replace(says="failed")
    if not call.asks:
        if not rules.fences and ledger == ledger.without(str(at + 1)):
            return call._replace(says="returned")
        return call._replace(write=ledger.without(str(at + 1)).text())
    if not rules.keeps:
        return None
    return None if decide.ask_ledger(str(at + 1), ledger) is None else call._replace(says="yes")


def _decided(at: int, call: Call, rules: Rules, scene: Scene) -> Call:
    """What all looks decide."""
    asker = str(at + 1)
    actions = {"in": "NONE", "deleting": "DELETING"}
    members = [Member(id=one, name=one, zone="z", action=actions[place]) for one, place in call.ids]
    try:
        ledger = rules.read(call.ledger)
    except LedgerUnreadableError:
        rebuilt = decide.suspect_all(members)
        return call._replace(write=(rebuilt if call.asks else rebuilt.without(asker)).text())
    assert call.size
    if at < scene.drained:
        answer = rules.ask_drained(asker, ledger, members, scene.wanted, now=WHEN)
    else:
        answer = rules.ask(asker, ledger, members, decide.surplus_of(call.size, scene.wanted, 0), now=WHEN)
    write = answer.ledger.text() if answer.ledger is not None else None
    says = "yes" if answer.permit else "no"
    return call._replace(write=write, says="" if write else says)


def _says(call: Call) -> str:
    """What is answered once a write is known to have taken."""
    if not call.asks:
        return "returned"
    try:
        decide.read_ledger(call.ledger)
    except LedgerUnreadableError:
        return "failed"
    assert call.write is not None
    before, after = decide.read_ledger(call.ledger), decide.read_ledger(call.write)
    return "yes" if after.permits.keys() - before.permits.keys() else "no"


def _write(world: World, call: Call, rules: Rules) -> tuple[World, bool]:
    """A write that takes where nobody wrote since the read; every other handler's read is then old."""
    if rules.conditional and not call.valid:
        return world, False
    vms = tuple(
        vm._replace(
            call=vm.call._replace(valid=False) if vm.call is not None else None,
            late=vm.late._replace(valid=False) if vm.late is not None else None,
        )
        for vm in world.vms
    )
    return world._replace(ledger=call.write, vms=vms), True


def _told(vm: Vm, call: Call) -> Vm:
    """What a VM makes of an answer."""
    knows = {"yes": "permitted", "no": "resting", "returned": "resting", "failed": "unsure"}[call.says]
    return vm._replace(knows=knows, call=None)


def _faults(world: World) -> Iterator[tuple[str, World]]:
    """Deaths and kills, of which there are only so many."""
    less = world._replace(faults=world.faults - 1)
    for at, vm in enumerate(world.vms):
        if vm.call is not None:
            yield f"fault: handler of {at} killed", _put(less, at, vm._replace(call=None))
            if vm.call.write is not None and vm.late is None:
                late = vm.call
                yield f"fault: write for {at} on its way", _put(less, at, vm._replace(call=None, late=late))
        # Somebody must be there to leave in its place, or P4 would ask for the impossible.
        if vm.place == "in" and any(other.place == "away" for other in world.vms):
            yield f"fault: {at} dies", _put(less, at, vm._replace(place="gone", call=None, knows="unsure"))
    if world.ledger is not None and world.ledger != GARBAGE:
        vms = tuple(vm._replace(call=vm.call._replace(valid=False)) if vm.call else vm for vm in world.vms)
        yield "fault: the ledger is garbled", less._replace(ledger=GARBAGE, vms=vms)


def _put(world: World, at: int, vm: Vm) -> World:
    return world._replace(vms=(*world.vms[:at], vm, *world.vms[at + 1 :]))


def _permits(world: World) -> set[str]:
    try:
        return set(decide.read_ledger(world.ledger).permits)
    except LedgerUnreadableError:
        return set()


def _violated(world: World, scene: Scene) -> Iterator[str]:
    permits = _permits(world)
    held = [vm for at, vm in enumerate(world.vms) if str(at + 1) in permits and vm.place == "in"]
    told = [vm for vm in world.vms if vm.knows == "permitted" and vm.place == "in"]
    if max(len(held), len(told)) > max(0, world.target - scene.wanted + scene.missing):
        yield "P1 more permits than surplus"
    if world.ledger == GARBAGE:
        return
    suspects = decide.read_ledger(world.ledger).suspects
    for at, vm in enumerate(world.vms):
        if vm.place != "in":
            continue
        here = str(at + 1)
        if vm.knows == "permitted" and here not in permits | suspects:
            yield "P2 a permit is forgotten"
        if vm.knows == "resting" and vm.call is None and here in permits:
            yield "P3 a VM at rest holds a permit"


def _trace(world: World, came_from: dict[World, tuple[World, str]]) -> list[str]:
    labels: list[str] = []
    while world in came_from:
        world, label = came_from[world]
        labels.append(label)
    return labels[::-1]


def _never_pruned(asker: str, ledger: Ledger, members: list[Member], surplus: int | Reason, **now: object) -> Answer:
    everybody = [*members, *(Member(id=one, name=one, zone="z", action="NONE") for one in ledger.permits)]
    return decide.ask(asker, ledger, everybody, surplus, **now)  # pyright: ignore[reportArgumentType]


def _blind_to_suspects(asker: str, ledger: Ledger, members: list[Member], surplus: int | Reason, **now: object):
    return decide.ask(asker, Ledger(permits=ledger.permits), members, surplus, **now)  # pyright: ignore[reportArgumentType]


def _one_too_many(asker: str, ledger: Ledger, members: list[Member], surplus: int | Reason, **now: object) -> Answer:
    more = surplus + 1 if isinstance(surplus, int) else surplus
    return decide.ask(asker, ledger, members, more, **now)  # pyright: ignore[reportArgumentType]


def _one_more_missing(asker: str, ledger: Ledger, members: list[Member], wanted: int, **now: object) -> Answer:
    return decide.ask_drained(asker, ledger, members, wanted - 1, **now)  # pyright: ignore[reportArgumentType]


def _drained_beside_others(asker: str, ledger: Ledger, members: list[Member], wanted: int, **now: object) -> Answer:
    """Those who are about to leave count as staying."""
    more = len(ledger.without(asker).permits)
    return decide.ask_drained(asker, ledger, members, wanted - more, **now)  # pyright: ignore[reportArgumentType]


def _none_may_be_missing(asker: str, ledger: Ledger, members: list[Member], wanted: int, **now: object) -> Answer:
    more = wanted + decide.missing_at_once(wanted)
    return decide.ask_drained(asker, ledger, members, more, **now)  # pyright: ignore[reportArgumentType]


def _garbage_is_nothing(stored: bytes | None) -> Ledger:
    try:
        return decide.read_ledger(stored)
    except LedgerUnreadableError:
        return Ledger()


CROWD: Final = Scene(vms=3, replacements=0, wanted=2, faults=0)
"""Three VMs and one surplus: everybody competes, and nothing breaks."""
PAIR: Final = Scene(vms=2, replacements=0, wanted=1, faults=1)
"""Two VMs and one surplus, and a fault."""
TWO: Final = Scene(vms=2, replacements=0, wanted=0, faults=1)
"""Two VMs, both surplus."""
REPLACED: Final = Scene(vms=2, replacements=1, wanted=1, faults=1)
"""Two VMs, one surplus, and a third that replaces one that died."""

DRAINED: Final = Scene(vms=2, replacements=2, wanted=2, faults=0, drained=2)
"""Two VMs that are wanted and drained, and two that take their places."""
MIXED: Final = Scene(vms=3, replacements=1, wanted=2, faults=0, drained=1)
"""A drained VM beside one that is surplus, and one that takes its place."""
DRAINED_BADLY: Final = Scene(vms=2, replacements=1, wanted=1, faults=1, drained=1)
"""The same, smaller, with a fault."""

SOUND: Final = {
    "drained": DRAINED,
    "one drained, one surplus": MIXED,
    "drained, with faults": DRAINED_BADLY,
    "three VMs": CROWD,
    "faults": PAIR,
    "two surplus": TWO,
    "a replacement": REPLACED,
}

BROKEN: Final = {
    "size read before members": (Rules(order=("ledger", "size", "members")), PAIR, "P1 more permits than surplus"),
    "ledger read after members": (Rules(order=("members", "ledger", "size")), REPLACED, "P1 more permits than surplus"),
    "written without condition": (Rules(conditional=False), PAIR, "P1 more permits than surplus"),
    "one more than surplus": (Rules(ask=_one_too_many), PAIR, "P1 more permits than surplus"),
    "garbage read as nothing": (Rules(read=_garbage_is_nothing), PAIR, "P1 more permits than surplus"),
    "suspects not counted": (Rules(ask=_blind_to_suspects), PAIR, "P1 more permits than surplus"),
    "permits outlive their VM": (Rules(ask=_never_pruned), TWO, "P4 stays too large for ever"),
    "one more may be missing": (Rules(ask_drained=_one_more_missing), DRAINED, "P1 more permits than surplus"),
    "who is to leave counts as staying": (
        Rules(ask_drained=_drained_beside_others),
        DRAINED,
        "P1 more permits than surplus",
    ),
    "a drain without condition": (Rules(conditional=False), DRAINED, "P1 more permits than surplus"),
    "none may be missing": (Rules(ask_drained=_none_may_be_missing), DRAINED, "P5 a drained VM stays for ever"),
    "garbage stays": (Rules(heals=False), PAIR, "P4 stays too large for ever"),
    "returning writes only what it must": (Rules(fences=False), PAIR, "P3 a VM at rest holds a permit"),
}
"""One guard out of production each, and a property that no longer holds."""


def main() -> None:
    """Print every variant's size and verdict; for a violation, its shortest trace."""
    found = {f"production, {name}": search(Rules(), scene) for name, scene in SOUND.items()}
    found |= {name: search(rules, scene) for name, (rules, scene, _) in BROKEN.items()}
    lines = [f"{'variant':38} {'states':>8} {'edges':>8}  verdict"]
    for name, verdict in found.items():
        lines.append(f"{name:38} {verdict.states:8} {verdict.edges:8}  {'; '.join(verdict.violations) or 'holds'}")
        lines += [f"    {violated}: {' | '.join(trace)}" for violated, trace in verdict.violations.items()]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

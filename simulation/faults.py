"""What goes wrong, when, and for how long: each fault is data and one coroutine, drawn from the seed.

Every fault leaves the fleet a chance, for GitHub gives a job up after three assignments of five minutes that no runner
took (assumptions). A pool advertises its whole maximum, so as many jobs may be assigned to it, and every one of them
needs a VM within a quarter of an hour. That is the platform's limit; the fleet cannot do better, and a job that is lost
in this way is a violation all the same. So what keeps VMs from being made lasts eight minutes at most, and such faults
strike one after the other, with time to recover between; of a pool's VMs no two in a row fail to boot, or lose their
host; a host fails only in a job, for one that fails before holds a place until its group's health check sees it, a
quarter of an hour and more after it was made; and GitHub's own timers stand still while GitHub is out.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from simulation.machine import Plan
from simulation.network import Break

if TYPE_CHECKING:
    from simulation.world import World

Strike = Callable[["World", random.Random], Coroutine[Any, Any, None]]

CHANCE_OF_EACH: Final = 0.2
CHANCE_OF_OUTAGE: Final = 0.04
"""Of each fault to strike at all, where a seed draws its own. An outage makes a run three times as long."""


RECOVERY_SECONDS: Final = 420.0
"""Until the next such fault may strike."""
GOOD_VMS: Final = 3
"""Of a pool, after one whose boot or host fails."""


class FaultError(Exception):
    """There is no such fault. The text says what there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One kind of trouble."""

    name: str
    what: str
    strike: Strike


FAULTS: Final[dict[str, Fault]] = {}
"""By name."""


def _fault(what: str) -> Callable[[Strike], Strike]:
    def named(strike: Strike) -> Strike:
        name = strike.__name__.strip("_").replace("_", "-")
        FAULTS[name] = Fault(name=name, what=what, strike=strike)
        return strike

    return named


def chosen(given: str, chance: random.Random) -> list[Fault]:
    """The faults of `none`, `all`, `some` (each by the seed's chance) or NAME,NAME… Raises FaultError."""
    match given:
        case "none":
            return []
        case "all":
            return list(FAULTS.values())
        case "some":
            rare = {"github-outage": CHANCE_OF_OUTAGE}
            return [fault for name, fault in FAULTS.items() if chance.random() < rare.get(name, CHANCE_OF_EACH)]
        case _:
            names = given.split(",")
            unknown = [name for name in names if name not in FAULTS]
            if unknown:
                raise FaultError(f"no fault is called {unknown[0]!r}; there are none, all, some, {', '.join(FAULTS)}")
            return [FAULTS[name] for name in names]


# GitHub


@_fault("a burst of 502 and 503 on every route, for up to a minute")
async def _github_errors(world: World, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 3)):
        await _sometime(world, chance)
        await _spoil(
            world, "github.", chance.uniform(10, 60), share=0.7, chance=chance, status=chance.choice([502, 503])
        )


@_fault("429 with Retry-After on the REST API, for up to a minute")
async def _github_rate_limit(world: World, chance: random.Random) -> None:
    await _sometime(world, chance)
    await _spoil(world, "github.", chance.uniform(20, 60), share=0.5, chance=chance, status=429, retry_after=30)


@_fault("answers of calls that change something get lost")
async def _github_lost_answers(world: World, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 4)):
        await _sometime(world, chance)
        for route in world.routes("github."):
            if any(word in route for word in ("jit", "session", "create", "acknowledge", "remove", "register")):
                world.door.faults.script(route, "reset", after=True)
                world.truth.faults["github-lost-answers"] += 1


@_fault("no request of anybody succeeds for an hour")
async def _github_outage(world: World, chance: random.Random) -> None:
    await _sometime(world, chance)
    world.github.outage = chance.choice(["status", "reset"])
    world.struck("github-outage")
    await asyncio.sleep(3600)
    world.github.outage = ""
    world.pulse.beat()


@_fault("messages come twice, late and in another order; a sequence begins anew; one does not parse")
async def _messages(world: World, chance: random.Random) -> None:
    world.github.scale_set_options.duplicate_share = 0.2
    for _ in range(chance.randint(2, 6)):
        await _sometime(world, chance, share=0.4)
        name = world.some_scale_set(chance)
        if name is None:
            continue
        world.struck("messages")
        match chance.choice(["swap", "delay", "restart", "poison"]):
            case "swap":
                world.github.swap_next_messages(name)
            case "delay":
                world.github.delay_messages(name, chance.uniform(5, 60))
            case "restart":
                world.github.restart_sequence(name)
            case _:
                world.github.post_message(name, {"messageId": 7, "messageType": "Odd", "body": "{not JSON"})
        world.pulse.beat()


@_fault("tokens end long before they say: of the App, of the service, of the queue")
async def _token_expiry(world: World, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 3)):
        await _sometime(world, chance)
        world.struck("token-expiry")
        world.github.app.revoke()
        world.github.expire_admin_tokens()
        world.github.expire_queue_tokens()
        world.pulse.beat()


@_fault("GitHub forgets a session")
async def _session_evicted(world: World, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 3)):
        await _sometime(world, chance)
        if (name := world.some_scale_set(chance)) is not None:
            world.struck("session-evicted")
            world.github.evict_session(name)
            world.pulse.beat()


@_fault("somebody deletes a scale set")
async def _scale_set_deleted(world: World, chance: random.Random) -> None:
    await _sometime(world, chance)
    if (name := world.some_scale_set(chance)) is not None:
        world.struck("scale-set-deleted")
        world.github.delete_scale_set(name)
        world.pulse.beat()


@_fault("JobCompleted comes while the job runs, or never")
async def _completions(world: World, chance: random.Random) -> None:
    for _ in range(chance.randint(2, 5)):
        await _sometime(world, chance)
        running = sorted(job.id for job in world.github.jobs.values() if job.state == "running")
        if running:
            world.struck("completions")
            world.github.premature_completion(chance.choice(running))
            world.pulse.beat()
    if (name := world.some_scale_set(chance)) is not None:
        world.github.mute_completions(name)


@_fault("the flag `busy` follows the truth a whole minute late")
async def _stale_busy(world: World, chance: random.Random) -> None:  # noqa: ARG001 - every fault is told both
    world.struck("stale-busy")
    world.github.busy_lag_seconds = 60


# Google Cloud


@_fault("a burst of 503 from Compute Engine; resizes whose answer is lost, or that are taken and fail")
async def _compute_errors(world: World, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 3)):
        await _sometime(world, chance)
        world.door.faults.script("compute.resize", status=500, after=True)
        world.google.fail_operation("compute.resize", code="ZONE_RESOURCE_POOL_EXHAUSTED")
        await _spoil(world, "compute.", chance.uniform(5, 40), share=0.5, chance=chance, status=503)


@_fault("a burst of 503 from Cloud Storage; writes whose answer is lost")
async def _storage_errors(world: World, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 3)):
        await _sometime(world, chance)
        for _ in range(3):
            world.door.faults.script("storage.insert", "reset", after=True)
        await _spoil(world, "storage.", chance.uniform(5, 40), share=0.5, chance=chance, status=503)


@_fault("a zone has no capacity, for up to eight minutes")
async def _stock_out_zone(world: World, chance: random.Random) -> None:
    await _sometime(world, chance, share=0.5)
    async with _scarcity(world):
        group = world.google.groups.get(world.some_group(chance).name)
        if group is not None:
            zone = chance.choice(sorted(group.zones))
            world.struck("stock-out-zone")
            group.stocked_out.add(zone)
            await asyncio.sleep(world.assumed.scarce_seconds.draw(chance))
            group.stocked_out.discard(zone)
            world.pulse.beat()


@_fault("a region has no capacity, for up to eight minutes")
async def _stock_out_region(world: World, chance: random.Random) -> None:
    await _sometime(world, chance, share=0.5)
    region = world.some_group(chance).region
    await _stock_out(world, chance, "stock-out-region", [g.name for g in world.fleet.groups if g.region == region])


@_fault("no zone has any capacity, for up to eight minutes")
async def _stock_out_all(world: World, chance: random.Random) -> None:
    await _sometime(world, chance, share=0.5)
    await _stock_out(world, chance, "stock-out-all", [group.name for group in world.fleet.groups])


@_fault("the quota of a region allows no more VMs than there are, for up to four minutes")
async def _quota(world: World, chance: random.Random) -> None:
    await _sometime(world, chance, share=0.5)
    async with _scarcity(world):
        group = world.google.groups.get(world.some_group(chance).name)
        if group is not None:
            world.struck("quota")
            group.quota = group.target_size
            # The listener remembers a refusal for about as long again before it asks once more.
            await asyncio.sleep(world.assumed.scarce_seconds.draw(chance) / 2)
            group.quota = None


@_fault("somebody deletes a group, with its VMs and their jobs; minutes later it is deployed again")
async def _group_deleted(world: World, chance: random.Random) -> None:
    await _sometime(world, chance)
    async with _scarcity(world):
        group = world.some_group(chance)
        if len(world.fleet.of(group.pool)) > 1 and group.name in world.google.groups:
            world.struck("group-deleted")
            world.google.remove_group(group.name)
            world.pulse.beat()
            await asyncio.sleep(world.assumed.scarce_seconds.draw(chance))
            world.deploy(group)


@_fault("VMs are preempted")
async def _preemption(world: World, chance: random.Random) -> None:
    def take(plan: Plan, _: str) -> None:
        if chance.random() < world.assumed.preempted_share:
            plan.preempted_after = chance.uniform(60, 600)

    world.plans.append(take)


@_fault("boots fail, at a step of their own")
async def _boot_failures(world: World, chance: random.Random) -> None:
    def fail(plan: Plan) -> None:
        world.truth.faults["boot-failures"] += 1
        plan.boot_fails = True

    world.plans.append(_now_and_then(world, chance, world.assumed.boot_failure_share, fail))


@_fault("hosts fail silently in the midst of a job: nothing on the VM runs any more, and nobody is told")
async def _host_error(world: World, chance: random.Random) -> None:
    def fail(plan: Plan) -> None:
        plan.dies_in_job = chance.random()

    world.plans.append(_now_and_then(world, chance, world.assumed.host_error_share, fail))


def _now_and_then(
    world: World, chance: random.Random, share: float, fail: Callable[[Plan], None]
) -> Callable[[Plan, str], None]:
    """What befalls a share of the VMs: no two of a pool in a row, and none while VMs are scarce."""
    good: Counter[str] = Counter()

    def spoil(plan: Plan, pool: str) -> None:
        good[pool] += 1
        if good[pool] > GOOD_VMS and not world.scarcity.locked() and chance.random() < share:
            good[pool] = 0
            fail(plan)

    return spoil


# Our own functions


@_fault("the leading listener is killed, with its requests on their way")
async def _listener_crash(world: World, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 3)):
        await _sometime(world, chance)
        if world.listeners.crash(chance):
            world.struck("listener-crash")


@_fault("the scheduler starts one listener more")
async def _two_listeners(world: World, chance: random.Random) -> None:
    await _sometime(world, chance)
    world.struck("two-listeners")
    world.listeners.start("extra")


@_fault("listeners cannot reach their bucket for up to five minutes")
async def _lease_store_down(world: World, chance: random.Random) -> None:
    await _sometime(world, chance)
    world.struck("lease-store-down")
    breaks = {Break(part, "/storage/") for part in world.listeners.parts}
    world.network.broken |= breaks
    await asyncio.sleep(chance.uniform(20, 300))
    world.network.broken -= breaks


@_fault("the wall clocks of listeners and reconciler are set wrong, by up to an hour either way, for ten minutes")
async def _clock_jump(world: World, chance: random.Random) -> None:
    await _sometime(world, chance)
    for part in [*world.listeners.parts, "reconciler"]:
        if chance.random() < 0.6:
            world.struck("clock-jump")
            world.clocks.ahead_seconds[part] = chance.uniform(-3600, 3600)
    await asyncio.sleep(600)
    world.clocks.ahead_seconds.clear()


@_fault("the broker has no process for up to eight minutes")
async def _broker_down(world: World, chance: random.Random) -> None:
    await _sometime(world, chance)
    async with _scarcity(world):
        await _down(world, chance, "broker")


@_fault("the deleter has no process for up to eight minutes")
async def _deleter_down(world: World, chance: random.Random) -> None:
    await _sometime(world, chance)
    await _down(world, chance, "deleter")


async def _down(world: World, chance: random.Random, name: str) -> None:
    world.struck(f"{name}-down")
    world.functions[name].down = True
    await asyncio.sleep(world.assumed.scarce_seconds.draw(chance))
    world.functions[name].down = False


@contextlib.asynccontextmanager
async def _scarcity(world: World) -> AsyncGenerator[None]:
    """While VMs cannot be had: one such fault after the other, and the fleet recovers between."""
    async with world.scarcity:
        yield
        await asyncio.sleep(RECOVERY_SECONDS)


async def _sometime(world: World, chance: random.Random, *, share: float = 1.0) -> None:
    """Wait for a moment within the time in which jobs come."""
    await asyncio.sleep(chance.uniform(0, world.span_seconds * share))


async def _spoil(
    world: World,
    prefix: str,
    seconds: float,
    *,
    share: float,
    chance: random.Random,
    status: int,
    retry_after: int | None = None,
) -> None:
    """Let some requests of every such route fail from now on, until the time is over."""
    routes = [route for route in world.routes(prefix) if chance.random() < share]
    for route in routes:
        times = chance.randint(1, 4)
        world.door.faults.script(route, status=status, times=times, retry_after=retry_after)
    world.truth.faults[f"{prefix}errors"] += len(routes)
    await asyncio.sleep(seconds)
    for route in routes:
        world.door.faults.clear(route)


async def _stock_out(world: World, chance: random.Random, name: str, groups: Sequence[str]) -> None:
    async with _scarcity(world):
        world.struck(name)
        struck = [group for group in (world.google.groups.get(each) for each in groups) if group is not None]
        for group in struck:
            group.stocked_out |= set(group.zones)
        await asyncio.sleep(world.assumed.scarce_seconds.draw(chance))
        for group in struck:
            group.stocked_out.clear()
        world.pulse.beat()

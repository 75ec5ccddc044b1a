"""Looking at a whole stack over loopback: what is seen, and that what fails is unknown and never empty."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from demo.rollout_fleet import EmulatedFleet
from emulators.site import Site
from fleet.settings import Settings
from rollout.cloud.github import GitHub
from rollout.cloud.google import Google
from rollout.view.fleet_view import view
from rollout.view.gather import gather, opened
from rollout.view.seen import Known, Unknown
from rollout.view.snapshot import Snapshot
from rollout.view.standing import Deployed
from rollout.view.vm_state import VmState
from rollout.view.words import pool_word, reconciled
from tests.rollout.view.seen_fleet import CANARY, STABLE, settings_with

CPU = "presubmit-cpu"


@pytest.fixture(scope="module")
def settings() -> Settings:
    return settings_with()


@pytest.fixture
def fleet(settings: Settings) -> Iterator[EmulatedFleet]:
    with Site(organization=settings.github.organization, project=settings.google.project) as site:
        yield EmulatedFleet(site, settings)


async def _no_sleep(_: float) -> None:
    """Retries come at once."""


def look(fleet: EmulatedFleet, **options: Any) -> Snapshot:
    environ = fleet.site.operator_environment()

    async def course() -> Snapshot:
        async with AsyncExitStack() as stack:
            google = await opened(stack, Google(fleet.settings.google.project, environ=environ, sleep=_no_sleep))
            github = await opened(stack, GitHub(fleet.settings.github.organization, environ=environ, sleep=_no_sleep))
            return await gather(fleet.settings, google, github, **options)

    return asyncio.run(course())


def test_a_deployed_stack_is_seen_whole_and_agrees_with_its_configuration(fleet: EmulatedFleet):
    fleet.vm(CPU, "us-west1", version=STABLE)
    fleet.vm("postsubmit-a100", "us-central1", version=CANARY, runner="idle")
    seen = look(fleet)
    judged = view(fleet.settings, seen)
    assert seen.unknown() == {}
    assert judged.disagreements == ()
    assert {group.deployed for pool in judged.pools for group in pool.groups} == {Deployed.YES}


@pytest.mark.parametrize(
    ("runner", "age_seconds", "expected"),
    [
        ("busy", 1800, VmState.BUSY),
        ("idle", 1800, VmState.IDLE),
        ("offline", 1800, VmState.OFFLINE),
        ("", 60, VmState.STARTING),
        ("", 1800, VmState.UNREGISTERED),
    ],
)
def test_a_vms_state_comes_from_google_and_github(
    fleet: EmulatedFleet, runner: str, age_seconds: float, expected: VmState
):
    fleet.vm(CPU, "us-west1", version=CANARY, runner=runner, age_seconds=age_seconds)
    pool = next(pool for pool in view(fleet.settings, look(fleet)).pools if pool.key == CPU)
    west = next(group for group in pool.groups if group.region == "us-west1")
    assert west.vms == {CANARY: {expected: 1}}


def test_more_vms_and_runners_than_a_page_holds_are_all_seen(fleet: EmulatedFleet):
    for _ in range(120):
        fleet.vm(CPU, "us-west1", version=STABLE)
    pool = next(pool for pool in view(fleet.settings, look(fleet)).pools if pool.key == CPU)
    assert sum(group.count(VmState.BUSY) for group in pool.groups) == 120


def test_only_vms_without_a_runner_and_the_canarys_are_looked_up_one_by_one(fleet: EmulatedFleet):
    for _ in range(5):
        fleet.vm(CPU, "us-west1", version=STABLE)
    fleet.vm(CPU, "us-west1", version=CANARY)
    fleet.vm(CPU, "us-west1", version=STABLE, runner="")
    look(fleet)
    assert len(fleet.site.asked("compute.instance")) == 2


def test_groups_of_another_stack_are_no_strangers_and_those_of_no_stack_are(fleet: EmulatedFleet):
    fleet.site.google.add_group("gh-runner-testing-presubmit-cpu-us-west1-abcd", target_size=0)
    fleet.site.google.add_group("gh-runner-forgotten-us-west1-abcd", target_size=0)
    fleet.site.google.add_group("somebody-elses", target_size=0)
    assert look(fleet, other_prefixes=("gh-runner-testing",)).strangers == Known(("gh-runner-forgotten-us-west1-abcd",))


def test_a_group_that_is_not_there_is_known_not_to_be(fleet: EmulatedFleet):
    name = fleet.group(CPU, "us-west1").name
    fleet.site.google.remove_group(name)
    assert look(fleet).groups[name] == Known(None)


def test_a_template_of_somebody_elses_is_named(fleet: EmulatedFleet):
    group = fleet.group(CPU, "us-west1")
    fleet.site.google.set_versions(group, [("x", "by-hand", None)])
    seen = look(fleet).groups[group.name]
    assert isinstance(seen, Known)
    assert seen.value
    assert (seen.value.versions, seen.value.foreign_templates) == ({}, ("by-hand",))


# What fails is unknown: the weakness that deleted every VM of the original fleet.

SOURCES: dict[str, tuple[str, Callable[[Snapshot], object]]] = {
    "github.runners": ("runners", lambda seen: seen.runners),
    "github.runner_groups": ("runner groups", lambda seen: seen.runner_groups),
    "github.group_repositories": ("runner groups", lambda seen: seen.runner_groups),
    "compute.aggregated_groups": ("list of groups", lambda seen: seen.strangers),
    "compute.managed_instances": ("group", lambda seen: next(iter(seen.groups.values()))),
    "storage.list": ("listener's records", lambda seen: seen.words),
    "compute.instance": ("VM", lambda _: Unknown("")),
}


@pytest.mark.parametrize("route", SOURCES)
@pytest.mark.parametrize("fault", ["status", "garbage", "reset", "denied"])
def test_every_query_that_fails_is_unknown_with_a_reason_and_hides_nothing_else(
    fleet: EmulatedFleet, route: str, fault: str
):
    fleet.vm(CPU, "us-west1", version=STABLE)
    fleet.vm(CPU, "us-west1", version=STABLE, runner="")
    clear = look(fleet)
    how = {"status": {"status": 503}, "denied": {"status": 403}, "reset": {"kind": "reset"}}.get(
        fault, {"kind": "garbage", "status": 200}
    )
    fleet.site.faults.script(route, times=200, **how)
    seen = look(fleet)
    name, source = SOURCES[route]
    unknown = seen.unknown()
    assert any(each.startswith(name) for each in unknown)
    assert all(unknown.values())
    assert isinstance(source(seen), Unknown)
    assert "must-not-leak" not in " ".join(unknown.values())
    # Whatever else there is, is as it was.
    if not route.startswith("github.runner"):
        assert seen.runners == clear.runners
    if not route.startswith("storage"):
        assert isinstance(seen.words, Known)
    judged = view(fleet.settings, seen)
    vanished = {each.kind for each in judged.disagreements} - {
        each.kind for each in view(fleet.settings, clear).disagreements
    }
    assert vanished == set()


def test_a_single_record_that_cannot_be_read_makes_all_of_them_unknown(fleet: EmulatedFleet):
    fleet.site.google.put_object(fleet.listener, "pools/presubmit-gpu.json", b'{"pool": "presubmit-gpu"}')
    seen = look(fleet)
    assert isinstance(seen.words, Unknown)
    assert "cannot be read" in seen.words.why


def test_services_that_were_never_deployed_are_unknown_too(fleet: EmulatedFleet):
    for name in [key for key in fleet.site.google.objects if key[0] == fleet.reconciler]:
        del fleet.site.google.objects[name]
    assert look(fleet).reconciled == Known(None)


def test_without_anything_to_sign_in_with_all_is_unknown_and_says_what_to_run(
    fleet: EmulatedFleet, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", "/nonexistent")
    environ = fleet.site.operator_environment()
    del environ["GH_TOKEN"]

    async def course() -> Snapshot:
        async with AsyncExitStack() as stack:
            google = await opened(stack, Google("iree-oss", environ=environ))
            github = await opened(stack, GitHub("iree-org", environ=environ))
            return await gather(fleet.settings, google, github)

    seen = asyncio.run(course())
    assert isinstance(seen.runners, Unknown)
    assert seen.runners.error_class == "credentials"
    assert all(isinstance(look, Known) for look in seen.groups.values())


# Records of the services.

WORD = {
    "pool": CPU,
    "expires": "2026-11-28T12:00:00Z",
    "desired": 2,
    "assigned": 2,
    "running": 1,
    "waiting": 1,
    "reasons": ["no capacity in us-west1-a since 11:40"],
    "stockouts": [
        {"group": "g", "region": "us-west1", "zone": "us-west1-a", "since": "2026-11-28T11:40:00Z", "until": None}
    ],
}


def test_the_listeners_word_is_read_whole():
    word = pool_word(json.dumps(WORD).encode())
    assert not isinstance(word, Unknown)
    assert (word.waiting, word.reasons, word.stockouts[0].zone) == (1, tuple(WORD["reasons"]), "us-west1-a")


@pytest.mark.parametrize(
    "change",
    [
        {"pool": ""},
        {"expires": "soon"},
        {"expires": "2026-11-28T12:00:00"},
        {"waiting": -1},
        {"running": True},
        {"assigned": "2"},
        {"reasons": "none"},
        {"stockouts": [3]},
    ],
)
def test_a_word_that_is_not_what_the_listener_writes_is_unknown(change: dict):
    assert isinstance(pool_word(json.dumps({**WORD, **change}).encode()), Unknown)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_unknown(data: bytes):
    assert isinstance(pool_word(data), Unknown)
    assert isinstance(reconciled(data), Unknown)

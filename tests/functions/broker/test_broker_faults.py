"""Every fault at every call that the broker makes, and what becomes of the grant, the runner and the VM."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest
from broker.app import BUDGET_SECONDS

from tests.functions.broker.broker_audit import audit, runners_of
from tests.functions.broker.broker_service import PRESUBMIT, PRESUBMIT_JOBS, BrokerService, table

FOREVER = 1000


@dataclass(frozen=True, kw_only=True)
class Place:
    """One call that the broker makes: the scene that leads to it, its route, and which of its kind it is."""

    scene: str
    route: str
    number: int = 1
    cold: bool = False
    """Whether only a new process makes it."""
    changes: bool = False
    """Whether it changes anything, so that it matters whether it was executed."""
    group: str = PRESUBMIT
    """Of the VM that asks."""

    @property
    def creates(self) -> str:
        """The route that makes a runner of that group."""
        return SETS + "jit" if self.group == PRESUBMIT_JOBS else "github.jit"


SETS = "github.scale_sets."

PLACES = {
    "keys": Place(scene="fresh", route="certs.keys", cold=True),
    "own account": Place(scene="fresh", route="metadata.value", cold=True),
    "own token": Place(scene="fresh", route="metadata.token", cold=True),
    "instance": Place(scene="fresh", route="compute.instance"),
    "App key": Place(scene="fresh", route="secrets.access", cold=True),
    "installation token": Place(scene="fresh", route="github.access_token", cold=True, changes=True),
    "runner groups": Place(scene="fresh", route="github.runner_groups", cold=True),
    "claim": Place(scene="fresh", route="storage.insert", changes=True),
    "create": Place(scene="fresh", route="github.jit", changes=True),
    "record": Place(scene="fresh", route="storage.insert", number=2, changes=True),
    "look at the claim": Place(scene="claim in doubt", route="storage.get"),
    "find our own": Place(scene="answer lost", route="github.runners"),
    "remove our own": Place(scene="answer lost", route="github.remove_runner", changes=True),
    "create again": Place(scene="answer lost", route="github.jit", number=3, changes=True),
    "find another's": Place(scene="name of one that is gone", route="github.runners"),
    "prove another gone": Place(scene="name of one that is gone", route="compute.instance", number=2),
    "remove another's": Place(scene="name of one that is gone", route="github.remove_runner", changes=True),
    "create after another": Place(scene="name of one that is gone", route="github.jit", number=2, changes=True),
    "new token": Place(scene="token revoked", route="github.access_token", changes=True),
    "free": Place(scene="GitHub refuses", route="storage.delete", changes=True),
    "record a doubt": Place(scene="GitHub is down", route="storage.insert", number=2, changes=True),
}
IN_A_SET = {
    "installation token": Place(scene="fresh", route="github.access_token", cold=True, changes=True),
    "registration token": Place(scene="fresh", route=SETS + "registration_token", cold=True, changes=True),
    "registration": Place(scene="fresh", route=SETS + "register", cold=True, changes=True),
    "runner group": Place(scene="fresh", route=SETS + "runner_group", cold=True),
    "scale set": Place(scene="fresh", route=SETS + "find", cold=True),
    "claim": Place(scene="fresh", route="storage.insert", changes=True),
    "create": Place(scene="fresh", route=SETS + "jit", changes=True),
    "record": Place(scene="fresh", route="storage.insert", number=2, changes=True),
    "find our own": Place(scene="answer lost", route=SETS + "runners"),
    "remove our own": Place(scene="answer lost", route=SETS + "remove_runner", changes=True),
    "create again": Place(scene="answer lost", route=SETS + "jit", number=3, changes=True),
    "look for the group anew": Place(scene="scale set made anew", route=SETS + "runner_group"),
    "look for the set anew": Place(scene="scale set made anew", route=SETS + "find"),
    "create in the new set": Place(scene="scale set made anew", route=SETS + "jit", number=2, changes=True),
    "new token": Place(scene="token revoked", route=SETS + "register", changes=True),
    "free": Place(scene="GitHub refuses", route="storage.delete", changes=True),
    "record a doubt": Place(scene="GitHub is down", route="storage.insert", number=2, changes=True),
}
PLACES |= {f"{name}, in a scale set": replace(place, group=PRESUBMIT_JOBS) for name, place in IN_A_SET.items()}

BEFORE = [
    *({"status": status} for status in (302, 400, 401, 403, 404, 408, 409, 422, 429, 500, 502, 503, 504)),
    {"status": 429, "retry_after": 2},
    {"status": 403, "retry_after": 2},
    {"status": 503, "retry_after": 2},
    {"status": 429, "retry_after": 600},
    {"kind": "hang"},
    {"kind": "reset"},
    {"kind": "garbage", "status": 200},
    {"kind": "garbage", "status": 201},
]
AFTER = [
    *({"status": status, "after": True} for status in (500, 502, 503)),
    *({"kind": kind, "after": True} for kind in ("hang", "reset", "garbage")),
    {"kind": "garbage", "status": 201, "after": True},
]


def scene(service: BrokerService, place: Place):
    """A VM, and what leads to the call that will fail."""
    faults = service.site.faults
    vm = service.vm(place.group)
    match place.scene:
        case "claim in doubt":
            faults.script("storage.insert", "reset", after=True)
        case "answer lost":
            faults.script(place.creates, "reset", after=True)
        case "name of one that is gone":
            before = service.vm(zone="us-west1-b")
            labels = [f"zone={before.zone}", f"instance-id={before.id}"]
            service.site.google.delete_instance(before)
            service.site.github.add_runner(vm.name, labels=labels, group_id=service.site.github.groups["presubmit"].id)
        case "token revoked":
            faults.script(place.creates, status=401)
        case "GitHub refuses":
            faults.script(place.creates, status=422)
        case "GitHub is down":
            faults.script(place.creates, status=500, times=FOREVER)
        case "scale set made anew":
            row = table()["groups"][place.group]
            service.site.github.delete_scale_set(row["scale_set"])
            service.site.github.add_scale_set(row["scale_set"], group=row["runner_group"])
        case _:
            assert place.scene == "fresh"
    return vm


ROUTES = (
    ("certs", "GET", "", "certs.keys"),
    ("metadata", "GET", "/token", "metadata.token"),
    ("metadata", "GET", "", "metadata.value"),
    ("compute", "GET", "", "compute.instance"),
    ("secrets", "GET", "", "secrets.access"),
    ("storage", "POST", "", "storage.insert"),
    ("storage", "GET", "", "storage.get"),
    ("storage", "DELETE", "", "storage.delete"),
    ("github", "POST", "/registration-token", SETS + "registration_token"),
    ("github", "POST", "/runner-registration", SETS + "register"),
    ("actions", "POST", "/generatejitconfig", SETS + "jit"),
    ("actions", "GET", "/runnergroups/", SETS + "runner_group"),
    ("actions", "GET", "/runnerscalesets", SETS + "find"),
    ("actions", "GET", "/agents", SETS + "runners"),
    ("actions", "DELETE", "", SETS + "remove_runner"),
    ("github", "DELETE", "", "github.remove_runner"),
    ("github", "POST", "generate-jitconfig", "github.jit"),
    ("github", "POST", "", "github.access_token"),
    ("github", "GET", "runner-groups", "github.runner_groups"),
    ("github", "GET", "", "github.runners"),
)
"""Service, method and end of the path of a call, and the emulator's name for it; the first that fits."""


def route_of(service: str, method: str, url: str) -> str:
    """The emulator's name of a call."""
    path = url.partition("?")[0]
    return next(route for *call, end, route in ROUTES if call == [service, method] and path.endswith(end))


def at(service: BrokerService, place: Place, act: Callable[[], None]) -> list[bool]:
    """Do something just before the broker makes the call; the list says whether it came to that."""
    seen: Counter[str] = Counter()
    reached: list[bool] = []

    def before_call(*call: str) -> None:
        route = route_of(*call)
        seen[route] += 1
        if route == place.route and seen[route] == place.number:
            reached.append(True)
            act()

    service.session.before_call = before_call
    return reached


def cases(place: Place) -> Iterator[tuple[dict[str, Any], int]]:
    yield from product(BEFORE + (AFTER if place.changes else []), (1, FOREVER))


@pytest.mark.parametrize("name", PLACES)
def test_every_fault_leaves_a_configuration_or_a_free_grant_or_a_stated_refusal(service, name):
    place = PLACES[name]
    ends: Counter[str] = Counter()
    assert service.jit(service.vm(place.group)).status == 200
    for fault, times in cases(place):
        if place.cold:
            service.renew()
        service.lines.clear()
        vm = scene(service, place)
        service.session.patience_seconds = 0.15 if fault.get("kind") == "hang" else None
        given = dict(fault)
        script = lambda given=given, times=times: service.site.faults.script(  # noqa: E731
            place.route, given.get("kind", "status"), times=times, **{k: v for k, v in given.items() if k != "kind"}
        )
        reached = at(service, place, script)
        begun = service.site.clock.now()
        reply = service.jit(vm)
        took = service.site.clock.now() - begun
        service.site.faults.clear()
        assert reached, f"{name}: the scene does not lead there"
        assert took < BUDGET_SECONDS + 1, f"{name}, {fault}: {took} s"
        try:
            ends[audit(service, vm, reply)] += 1
        except AssertionError as error:
            raise AssertionError(f"{name}, {fault}, {times} times: {reply.status} {reply.error}: {error}") from error
        service.site.github.rate_limit.spent.clear()
    print(f"{name}: {sum(ends.values())} faults: {dict(ends)}")  # noqa: T201 - the figures of the claim
    assert (ends["free"] + ends["given"] == 0) == (place.scene == "GitHub is down")


def test_github_out_of_reach_frees_the_grant(service):
    vm = service.vm()
    create = PLACES["create"]

    def cut() -> None:
        service.session.close()  # else the request would leave on a connection that is open
        service.site.refuse("github")

    at(service, create, cut)
    reply = service.jit(vm)
    assert (reply.status, reply.error) == (503, "github_unavailable")
    assert service.grants == []
    service.site.accept("github")
    assert audit(service, vm, reply) == "free"


def test_google_out_of_reach_is_said(service):
    service.site.refuse("google")
    vm = service.vm()
    reply = service.jit(vm)
    assert (reply.status, reply.error) == (503, "keys_unavailable")
    service.site.accept("google")
    assert audit(service, vm, reply) == "free"


def test_a_name_of_a_living_vm_is_never_taken_over(service):
    other = service.vm(zone="us-west1-b")
    vm = service.vm(name=other.name, zone="us-west1-a")
    assert service.jit(other).status == 200
    reply = service.jit(vm)
    assert (reply.status, reply.error) == (409, "name_taken")
    assert [runner.removed for runner in runners_of(service, other)] == [False]
    assert service.grant(vm) is None


@pytest.mark.parametrize(
    "labels",
    [[], ["instance-id=77"], ["zone=us-west1-b"], ["instance-id=77", "instance-id=78", "zone=us-west1-b"],
     ["instance-id=77", "zone=../x"]],
)  # fmt: skip
def test_a_runner_that_does_not_say_for_whom_it_was_made_is_never_removed(service, labels):
    vm = service.vm()
    service.site.github.add_runner(vm.name, labels=labels)
    reply = service.jit(vm)
    assert (reply.status, reply.error) == (409, "name_taken")
    assert service.site.github.gone == []


def test_a_runner_with_a_job_is_never_removed_for_its_name(service):
    vm = service.vm()
    service.site.github.add_runner(vm.name, labels=["instance-id=77", "zone=us-west1-b"])
    service.site.github.start_job(vm.name)
    assert service.jit(vm).error == "name_taken"
    assert service.site.github.gone == []


def test_a_missing_runner_group_is_said_and_looked_up_anew(service):
    group = service.site.github.groups.pop("presubmit")
    vm = service.vm()
    reply = service.jit(vm)
    assert (reply.status, reply.error) == (502, "github_refused")
    service.site.github.groups["presubmit"] = group
    assert service.jit(vm).status == 200


def test_a_group_that_was_made_anew_is_found(service):
    assert service.jit(service.vm()).status == 200
    del service.site.github.groups["presubmit"]
    service.site.github.add_runner_group("presubmit")
    vm = service.vm()
    assert service.jit(vm).error == "github_refused"
    assert service.jit(vm).status == 200


def test_a_key_that_was_changed_is_read_again(service):
    from emulators.identity import signing_key

    assert service.jit(service.vm()).status == 200
    service.site.github.app.key = signing_key("another-app-key")
    service.site.github.app.revoke()
    service.site.google.put_secret("github-app-key", service.site.github.app_key_pem)
    assert service.jit(service.vm()).status == 200
    assert len(service.site.asked("secrets.access")) == 2


NO_KEY = b"-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"


@pytest.mark.parametrize("secret", [b"", b"no key", NO_KEY, b"\xff\xfe"])
def test_a_secret_that_is_no_key_is_said(service, secret):
    service.site.google.put_secret("github-app-key", secret)
    reply = service.jit(service.vm())
    assert (reply.status, reply.error) in {(502, "app_key_wrong"), (503, "google_unavailable")}
    assert service.grants == []


def test_an_installation_token_is_fetched_once_for_fifty_threads_and_again_before_its_end(service):
    vms = [service.vm() for _ in range(50)]
    with ThreadPoolExecutor(50) as pool:
        assert {reply.status for reply in pool.map(service.jit, vms)} == {200}
    assert len(service.site.asked("github.access_token")) == 1
    assert len(service.site.asked("secrets.access")) == 1
    assert len(service.site.asked("github.runner_groups")) <= 50
    service.site.clock.advance(3600 - 59)
    for vm in vms[:2]:
        service.deregister(vm)
    assert len(service.site.asked("github.access_token")) == 2


@pytest.mark.parametrize("status", [403, 429])
@pytest.mark.parametrize(
    "route",
    [
        "github.access_token",
        "github.runner_groups",
        "github.jit",
        *(SETS + name for name in ("registration_token", "register", "find", "jit")),
    ],
)
def test_what_github_asks_to_wait_is_waited(service, route, status):
    service.site.faults.script(route, status=status, retry_after=20)
    assert service.jit(service.vm(PRESUBMIT_JOBS if SETS in route else PRESUBMIT)).status == 200
    first, second = service.site.asked(route)
    assert second.at - first.at >= 20


def test_a_primary_limit_is_waited_for_until_its_reset(service):
    assert service.jit(service.vm()).status == 200
    reset = int(service.site.clock.now()) + 15
    service.site.github.rate_limit.exhaust(reset=reset)
    assert service.jit(service.vm()).status == 200
    assert service.site.asked("github.jit")[-1].at >= reset


@pytest.mark.parametrize(("group", "route"), [(PRESUBMIT, "github.jit"), (PRESUBMIT_JOBS, SETS + "jit")])
def test_a_wait_beyond_the_budget_is_passed_on_and_nobody_asks_github_meanwhile(service, group, route):
    vm, other = service.vm(group), service.vm(group)
    service.site.faults.script(route, status=429, retry_after=120)
    reply = service.jit(vm)
    assert (reply.status, reply.error) == (503, "github_limited")
    assert 100 <= int(reply.headers["retry-after"]) <= 120
    assert service.grants == []
    asked = len(service.site.asked(route))
    assert service.jit(other).error == "github_limited"
    assert len(service.site.asked(route)) == asked
    service.site.clock.advance(121)
    assert service.jit(vm).status == 200


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 403}, {"kind": "reset"}, {"kind": "garbage"}])
@pytest.mark.parametrize("route", ["storage.get", "github.remove_runner", "github.access_token", "compute.instance"])
def test_a_deregistration_that_fails_says_so_and_succeeds_later(service, route, fault):
    vm = service.vm()
    service.jit(vm)
    service.renew()
    service.site.faults.script(route, fault.get("kind", "status"), status=fault.get("status"), times=FOREVER)
    reply = service.deregister(vm)
    assert reply.status in {502, 503}
    assert "retry-after" in reply.headers
    service.site.faults.clear()
    assert service.deregister(vm).status == 200
    assert runners_of(service, vm) == []


def test_a_runner_whose_id_was_never_written_down_is_found_by_name_and_instance(service):
    vm = service.vm()
    at(service, PLACES["record"], lambda: service.site.faults.script("storage.insert", status=403))
    assert service.jit(vm).status == 200
    assert "runner_id" not in service.grant(vm)
    assert service.lines[-1]["recorded"] is False
    assert service.deregister(vm).status == 200
    assert runners_of(service, vm) == []


def test_a_burst_of_180_vms_that_runs_into_githubs_secondary_limit_completes(tmp_path):
    """The clock stands still but for what is waited: all of the burst falls into one of GitHub's minutes."""
    with BrokerService(tmp_path, clock_scale=0) as service:
        vms = [service.vm() for _ in range(180)]
        waiting, rounds = vms, 0
        while waiting:
            rounds += 1
            with ThreadPoolExecutor(30) as pool:
                replies = list(pool.map(service.jit, waiting))
            waiting = [vm for vm, reply in zip(waiting, replies, strict=True) if reply.status != 200]
            limited = [reply for reply in replies if reply.status != 200]
            assert {reply.error for reply in limited} <= {"github_limited"}
            if limited:
                service.site.clock.advance(max(int(reply.headers["retry-after"]) for reply in limited))
        assert rounds >= 2, "the limit was never met"
        assert len(service.site.github.runners) == len(service.grants) == 180
        assert all(len(runners_of(service, vm)) == 1 for vm in vms)
        print(f"{rounds} rounds, {len(service.site.asked('github.jit'))} calls for 180 configurations")  # noqa: T201 - the figures of the claim

"""The stand-ins without sockets: the same routes, faults and records, and a caller who does the waiting."""

from __future__ import annotations

import json
import threading

import pytest

from emulators.agenda import Agenda
from emulators.clock import Clock
from emulators.door import NEVER, Door, DroppedError, Headers
from emulators.faults import LEAK_MARK, Faults
from emulators.github import GitHub
from emulators.google import Google
from emulators.route import Reply, Route, Table


class World:
    """Both clouds on a clock that stands still."""

    def __init__(self):
        self.clock = Clock(0, start=1_800_000_000)
        lock = threading.RLock()
        self.github = GitHub(clock=self.clock, lock=lock, seed=7, organization="iree-org", url="http://github.test")
        self.google = Google(clock=self.clock, lock=lock, seed=7, project="iree-oss")
        self.faults = Faults(seed=7, routes=lambda: [*self.github.table.names, *self.google.table.names])
        self.door = Door(self.clock, self.github, self.google, self.faults)
        self.fleet = self.github.add_scale_set("fleet-a")
        session = self.github.scale_sets.sessions.open(self.fleet, "somebody")
        assert session
        self.headers = {"authorization": f"Bearer {session.token}", "X-ScaleSetMaxCapacity": "10"}

    def poll(self, after=0):
        query = f"?lastMessageId={after}" if after else ""
        return self.door.visit("GET", f"http://github.test/scalesets/message{query}", self.headers)


def answered(visit):
    reply = visit.answer()
    assert reply
    return reply


@pytest.fixture
def world():
    return World()


def test_an_answer_comes_at_once_when_there_is_one(world):
    world.github.queue_job(["fleet-a"])
    reply = world.poll().answer()
    assert json.loads(reply.body)["messageId"] == 100000001


def test_who_waits_is_told_until_when_and_asks_again_after_a_change(world):
    visit = world.poll()
    assert visit.answer() is None
    assert visit.until == visit.notes["until"] == world.clock.now() + 50
    world.clock.advance(40)
    assert visit.answer() is None
    assert world.fleet.session.touched == world.clock.now()
    before = world.github.changed
    world.github.queue_job(["fleet-a"])
    assert world.github.changed > before
    assert visit.answer().status == 200


def test_who_waits_to_the_end_gets_nothing(world):
    visit = world.poll()
    assert visit.answer() is None
    world.clock.advance(visit.until - world.clock.now())
    assert visit.answer().status == 202


def test_what_is_kept_back_says_when_it_may_be_had(world):
    world.github.delay_messages("fleet-a", 20)
    world.github.scale_set_options.message_delay_seconds = 30
    world.github.queue_job(["fleet-a"])
    visit = world.poll()
    waits = []
    while (reply := visit.answer()) is None:
        waits.append(visit.until - world.clock.now())
        world.clock.advance(waits[-1])
    assert (waits, reply.status) == ([20, 10], 200)


def test_hosts_lead_to_their_cloud_and_queries_are_decoded(world):
    url = "https://compute.test/compute/v1/projects/iree-oss/regions/us-west1/instanceGroupManagers/g%2Dx/resize?size=2"
    token = world.google.tokens.of(world.google.function_account, world.clock.now()).token
    world.google.add_group("g-x", target_size=0)
    visit = world.door.visit("POST", url, {"Authorization": f"Bearer {token}"})
    assert json.loads(visit.answer().body)["operationType"].endswith("resize")
    assert world.google.groups["g-x"].target_size == 2
    for url in ("http://github.test", "http://github.test/nowhere"):
        assert json.loads(answered(world.door.visit("GET", url)).body)["message"] == "Not Found"
    for url in ("http://github.test:81/nowhere", "http://github/nowhere"):
        assert answered(world.door.visit("GET", url)).body == b"No GET /nowhere in this stand-in."


def test_requests_are_recorded_unless_nobody_wants_them(world):
    world.poll().answer()
    [request] = world.door.asked("github.scale_sets.poll")
    assert (request.status, request.executed, request.path) == (None, False, "/scalesets/message")
    silent = Door(world.clock, world.github, world.google, world.faults, record=False)
    assert answered(silent.visit("GET", "http://github.test/nowhere")).status == 404
    assert silent.requests == []


@pytest.mark.parametrize("after", [False, True])
def test_faults_strike_before_or_after(world, after):
    def ask():
        return world.door.visit("DELETE", "http://github.test/scalesets/message/100000001", world.headers)

    world.github.queue_job(["fleet-a"])
    world.poll().answer()
    route = "github.scale_sets.acknowledge"
    world.faults.script(route, "reset", after=after)
    with pytest.raises(DroppedError):
        ask().answer()
    assert ask().answer().status == (404 if after else 204)
    world.faults.script(route, "hang", after=after)
    hanging = ask()
    assert (hanging.answer(), hanging.until) == (None, NEVER)
    world.faults.script(route, "slow", seconds=8, after=after)
    slow = ask()
    assert (slow.answer(), slow.until) == (None, world.clock.now() + 8)
    assert slow.record.executed is after
    world.clock.advance(8)
    assert slow.answer().status == 404
    world.faults.script(route, "garbage", after=after)
    assert LEAK_MARK.encode() in ask().answer().body
    world.faults.script(route, "empty", after=after)
    assert ask().answer() == Reply(status=200)
    world.faults.script(route, status=418, after=after)
    assert ask().answer().status == 418


def test_an_outage_strikes_here_too(world):
    world.github.outage = "status"
    assert answered(world.poll()).status == 503
    world.github.outage = "reset"
    with pytest.raises(DroppedError):
        world.poll().answer()


def test_a_vm_s_metadata_server_is_known_by_its_port(world):
    vm = world.google.create_instance(world.google.add_group("g"))
    world.google.metadata.serve(4711, vm.service_account, vm)
    url = "http://metadata.test:4711/computeMetadata/v1/instance/name"
    assert world.door.visit("GET", url, {"metadata-flavor": "Google"}).answer().body.decode() == vm.name


def test_headers_are_found_in_any_capitals():
    headers = Headers({"X-One": "1"})
    assert (headers["x-one"], headers["X-ONE"], "x-One" in headers) == ("1", "1", True)
    assert (headers.get("X-one"), headers.get("two", "2"), 5 in headers) == ("1", "2", False)


# Routes


def found(table, method, path):
    result = table.find(method, path)
    assert result
    return result[0].name, result[1]


def named(name, method, path):
    return Route(name=name, method=method, path=path, handler=lambda _: None)


def test_of_the_routes_that_fit_the_first_wins_also_one_that_is_added_later():
    table = Table([named("a.fixed", "GET", "/x/one"), named("a.any", "GET", "/x/{name}")])
    assert [found(table, "GET", path)[0] for path in ("/x/one", "/x/two")] == ["a.fixed", "a.any"]
    table.add(named("a.later", "GET", "/y/{name}:{verb}"))
    table.add(named("a.never", "GET", "/x/{other}"))
    assert found(table, "GET", "/y/a%2Fb:go") == ("a.later", {"name": "a/b", "verb": "go"})
    assert found(table, "GET", "/x/two") == ("a.any", {"name": "two"})
    assert table.names == ["a.any", "a.fixed", "a.later", "a.never"]


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/x/one"), ("GET", "/x/one/two"), ("GET", "/x/"), ("GET", "/x/a:b")]
)
def test_what_fits_no_route_is_not_found(method, path):
    assert Table([named("a.any", "GET", "/x/{name}")]).find(method, path) is None
    assert Table().find(method, path) is None


def test_a_rest_of_a_path_may_hold_anything():
    table = Table([named("a.rest", "GET", "/x/{key...}"), named("a.dots", "GET", "/y/a.b")])
    assert found(table, "GET", "/x/one/two:3")[1] == {"key": "one/two:3"}
    assert table.find("GET", "/y/aXb") is None


# What happens by itself


def test_what_is_due_is_done_in_its_order_and_what_that_makes_due_too():
    agenda, done = Agenda(), []
    agenda.add(2, lambda: done.append("second"))
    agenda.add(1, lambda: (done.append("first"), agenda.add(1.5, lambda: done.append("between"))))
    agenda.add(2, lambda: done.append("third"))
    late = agenda.add(9, lambda: done.append("late"))
    cancelled = agenda.add(0, lambda: done.append("cancelled"))
    agenda.cancel(cancelled)
    assert agenda.next() == 1
    agenda.run(2)
    assert done == ["first", "between", "second", "third"]
    assert agenda.next() == 9
    agenda.cancel(late)
    agenda.cancel(0)
    assert agenda.next() is None

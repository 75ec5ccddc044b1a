"""What GitHub says: acted on, acknowledged after, kept where it cannot be read; and what it does besides."""

from __future__ import annotations

import pytest
from listener import jobs
from listener.jobs import Jobs, instance_id
from listener.records import Records
from scaleset import JobCompleted, JobStarted

from tests.functions.listener.listener_world import BUCKET, TWO_REGIONS, ListenerWorld, row

WEST, EAST = TWO_REGIONS


@pytest.fixture
def world():
    with ListenerWorld() as world:
        yield world


def led(world: ListenerWorld):
    listener = world.listen()
    world.until(lambda: world.stored(f"demand/{WEST}.json") is not None)
    return listener


def order(world: ListenerWorld, *routes: str) -> list[str]:
    return [request.route for request in world.door.requests if request.route in routes]


def test_a_message_is_acknowledged_after_the_wish_is_stored(world):
    led(world)
    before = len(world.door.requests)
    world.queue(2)
    world.until(lambda: world.door.asked("github.scale_sets.acknowledge"))
    since = world.door.requests[before:]
    stored = next(n for n, request in enumerate(since) if b'"desired":2' in request.body)
    acknowledged = next(n for n, request in enumerate(since) if request.route == "github.scale_sets.acknowledge")
    assert stored < acknowledged


def test_a_message_stays_while_the_wish_cannot_be_stored_and_growth_does_not_wait_for_it(world):
    listener = led(world)
    listener.line.refused = lambda _method, url: "pools%2F" in url
    world.queue(2)
    world.until(lambda: world.target(WEST) == 2)
    world.run(20)  # long enough for three tries, which a message that is itself at fault would have had
    assert not world.door.asked("github.scale_sets.acknowledge")
    listener.line.refused = lambda _method, _url: False
    world.until(lambda: world.door.asked("github.scale_sets.acknowledge"), most_seconds=60)
    assert world.pool()["desired"] == 2


def test_a_message_that_comes_again_changes_nothing(world):
    led(world)
    world.github.scale_set_options.duplicate_share = 1.0
    world.queue(2)
    world.run(120)
    assert world.target(WEST) == 2


def test_the_whole_maximum_is_advertised_at_every_poll(world):
    led(world)
    world.queue(3)
    world.run(120)
    polls = world.door.asked("github.scale_sets.poll")
    assert len(polls) > 3
    assert {request.headers["x-scalesetmaxcapacity"] for request in polls} == {"20"}


def test_a_body_that_cannot_be_read_is_kept_reported_once_and_dropped_after_three_deliveries(world):
    listener = led(world)
    number = world.github.post_message("gh-cpu", {"messageType": "RunnerScaleSetJobMessages", "body": "{not json"})
    world.until(lambda: world.door.asked("github.scale_sets.acknowledge"), most_seconds=60)
    (name,) = [name for _, name in world.google.objects if name.startswith("poisoned/cpu/")]
    assert name == f"poisoned/cpu/{number}.json"
    assert b"{not json" in world.google.objects[BUCKET, name].data
    (poisoned,) = listener.said("poisoned")
    assert (poisoned["pool"], poisoned["message_id"]) == ("cpu", number)
    assert len([entry for entry in listener.log if entry.get("event") == "message unreadable"]) == 3
    world.queue(1)
    world.until(lambda: world.target(WEST) == 1)
    assert len(world.door.asked("github.scale_sets.acknowledge")) <= 2


def test_a_scale_set_that_was_deleted_is_made_again_and_its_jobs_come_to_it(world):
    led(world)
    world.queue(2)
    world.until(lambda: world.target(WEST) == 2)
    world.github.delete_scale_set("gh-cpu")
    world.until(lambda: world.github.scale_sets.by_name("gh-cpu") is not None, most_seconds=120)
    world.queue(2)
    world.until(lambda: world.target(WEST) == 4, most_seconds=120)
    world.run(65)
    assert world.pool()["scale_set_id"] == world.github.scale_sets.by_name("gh-cpu").id


def test_a_session_that_was_lost_is_replaced_and_tokens_that_ended_are_renewed(world):
    led(world)
    world.github.evict_session("gh-cpu")
    world.queue(1)
    world.until(lambda: world.target(WEST) == 1, most_seconds=120)
    world.github.expire_admin_tokens()
    world.github.expire_queue_tokens()
    world.queue(1)
    world.until(lambda: world.target(WEST) == 2, most_seconds=120)


def test_a_new_scale_set_takes_no_updates_of_runners_and_has_the_pools_labels():
    groups = {WEST: row("cpu", "us-west1", labels=["gh-cpu", "linux-x64"])}
    with ListenerWorld(groups) as world:
        led(world)
        made = world.github.scale_sets.known("gh-cpu")
        assert made.document()["RunnerSetting"]["disableUpdate"] is True
        assert [label["name"] for label in made.document()["labels"]] == ["gh-cpu", "linux-x64"]


def test_a_runner_group_that_is_not_there_is_told_and_waited_for(world):
    group = world.github.groups.pop("presubmit")
    listener = world.listen()
    world.until(lambda: [entry for entry in listener.log if entry.get("event") == "failed"])
    world.github.groups["presubmit"] = group
    world.queue(1)
    world.until(lambda: world.target(WEST) == 1, most_seconds=600)


def test_a_pool_that_was_renamed_leaves_its_old_scale_set_alone_and_says_so(world):
    led(world).stop.set()
    world.run(5)
    world.queue(2)
    rows = {WEST: row("x64", "us-west1")}
    listener = world.listen(settings=world.settings_with(rows=rows))
    world.until(lambda: listener.said("scale set left over"), most_seconds=60)
    (left,) = listener.said("scale set left over")
    assert left["scale_set"] == "gh-cpu"
    world.run(60)
    assert world.github.scale_sets.by_name("gh-cpu") is not None
    assert world.github.scale_sets.by_name("gh-x64") is not None
    world.github.queue_job(["gh-x64"])
    world.until(lambda: world.target(WEST) == 1)


def test_an_outage_of_an_hour_is_waited_out_and_what_was_said_goes_stale_meanwhile(world):
    world.settings = world.settings_with(serve_seconds=9000)
    led(world)
    world.queue(1)
    world.until(lambda: world.target(WEST) == 1)
    world.github.outage = "status"
    world.run(3600)
    written = world.google.objects[BUCKET, f"demand/{WEST}.json"].updated
    assert world.clock.now() - written > 3000
    world.github.outage = ""
    jobs_after = world.queue(2)
    world.until(lambda: world.target(WEST) >= 2, most_seconds=400)
    assert jobs_after


def test_the_demand_is_recorded_on_change_and_each_minute(world):
    listener = led(world)
    world.run(190)
    times = [entry["at"] for entry in listener.said("demand")]
    assert 4 <= len(times) <= 6


def test_gauges_are_written_once_a_minute_and_their_failure_disturbs_nobody(world):
    listener = led(world)
    world.faults.script("monitoring.create_time_series", status=500)
    world.queue(2)
    world.run(200)
    assert listener.said("gauges not written")
    assert len(world.door.asked("monitoring.create_time_series")) == 3
    series = [one for one in world.google.time_series if one["metric"]["type"].endswith("/pool/assigned")]
    assert series[-1]["points"][0]["value"]["int64Value"] == "2"
    assert series[-1]["metric"]["labels"] == {"environment": "prod", "pool": "cpu"}
    names = {one["metric"]["type"].rpartition("/")[2] for one in world.google.time_series}
    assert names == {"assigned", "running", "idle", "desired", "existing", "waiting", "stocked_out_zones"}


def test_a_bug_in_one_pools_work_does_not_stop_the_others(monkeypatch):
    from listener.pool import Pool

    real = Pool.publish

    async def broken(self):
        if self.name == "cpu":
            raise KeyError("secret text")
        await real(self)

    monkeypatch.setattr(Pool, "publish", broken)
    groups = {WEST: row("cpu", "us-west1"), "gh-gpu-us-west1-0000": row("gpu", "us-west1")}
    with ListenerWorld(groups) as world:
        listener = world.listen()
        world.until(lambda: world.pool("gpu") and world.stored("demand/gh-gpu-us-west1-0000.json"))
        world.queue(1, "gpu")
        world.until(lambda: world.target("gh-gpu-us-west1-0000") == 1)
        assert "secret text" not in str(listener.log)
        assert listener.said("internal")[0]["cause"].startswith("KeyError at broken:")


# Jobs, by themselves.

STARTED = {"jobId": "j1", "runnerName": "gh-cpu-west-x1-zz", "queueTime": "2026-11-23T08:00:00Z",
           "scaleSetAssignTime": "2026-11-23T08:00:02Z", "runnerAssignTime": "2026-11-23T08:01:30.5Z"}  # fmt: skip
COMPLETED = {**STARTED, "result": "succeeded", "finishTime": "2026-11-23T08:11:30.5Z"}


@pytest.fixture
def log():
    return []


@pytest.fixture
def taken(log):
    return Jobs("cpu", Records(log.append, 3))


@pytest.mark.parametrize(
    ("name", "found"), [("gh-cpu-x1-zz", "1295"), ("gh-cpu", "16482"), ("x", ""), ("a-B", ""), ("a-00000000000000", "")]
)
def test_a_runners_name_ends_in_the_id_of_its_vm(name, found):
    assert instance_id(name) == found


def test_a_job_is_recorded_once_with_how_long_everything_took(taken, log):
    for _ in range(2):
        taken.note(JobStarted.model_validate(STARTED))
        taken.note(JobCompleted.model_validate(COMPLETED))
    started, completed = log
    assert started == {
        "severity": "INFO", "message": "job started", "pool": "cpu", "job_id": "j1", "runner": "gh-cpu-west-x1-zz",
        "queue_seconds": 90.5, "assign_seconds": 2.0, "start_seconds": 88.5, "fence": 3,
    }  # fmt: skip
    assert (completed["result"], completed["run_seconds"]) == ("succeeded", 600.0)


def test_a_time_that_is_not_known_is_no_duration(taken, log):
    taken.note(JobStarted.model_validate({**STARTED, "queueTime": "0001-01-01T00:00:00Z"}))
    assert "queue_seconds" not in log[0]
    assert log[0]["start_seconds"] == 88.5


def test_a_vm_is_busy_from_its_jobs_start_to_its_end_in_whatever_order_they_are_told(taken):
    taken.note(JobStarted.model_validate(STARTED))
    assert taken.busy({"1295", "7"}) == 1
    taken.note(JobCompleted.model_validate(COMPLETED))
    assert taken.busy({"1295"}) == 0
    taken.note(JobStarted.model_validate(STARTED))
    assert taken.busy({"1295"}) == 0


def test_a_vm_that_is_gone_is_not_busy(taken):
    taken.note(JobStarted.model_validate(STARTED))
    taken.forget_all_but({"7"})
    assert taken.busy({"1295"}) == 0


def test_what_is_remembered_of_jobs_is_bounded(taken, monkeypatch):
    monkeypatch.setattr(jobs, "REMEMBERED", 3)
    for number in range(10):
        taken.note(JobStarted.model_validate({**STARTED, "jobId": f"j{number}", "runnerName": ""}))
    assert len(taken._seen) == 3

"""What a VM is told of its pool's demand: what the listener wrote, whether it is stale, and nothing else."""

from __future__ import annotations

import datetime
import json

import pytest
from broker import demand
from hypothesis import given
from hypothesis import strategies as st

from tests.functions.broker.broker_service import (
    BUCKET,
    LISTENER_BUCKET,
    POSTSUBMIT_JOBS,
    PRESUBMIT,
    PRESUBMIT_JOBS,
    BrokerService,
    Reply,
)

POOL = "presubmit-jobs"
NOW = 1_795_600_000.0


def moment(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def document(now: float = NOW, **changes):
    """A pool's object as the listener writes it."""
    said = {
        "pool": POOL,
        "scale_set": "gh-runner-presubmit-jobs",
        "scale_set_id": 7,
        "desired": 5,
        "assigned": 4,
        "running": 1,
        "registered": 2,
        "idle": 1,
        "existing": 3,
        "max": 10,
        "waiting": 3,
        "reasons": ["no capacity in us-west1-a/b/c since 10:41"],
        "stockouts": [],
        "fence": 12,
        "written": moment(now - 20),
        "expires": moment(now + 160),
    }
    return {name: value for name, value in {**said, **changes}.items() if value is not ...}


def told(now: float = NOW, **changes):
    """What is made of such an object."""
    return demand.told(json.dumps(document(**changes)).encode(), POOL, now=now)


def write(service: BrokerService, pool: str = POOL, bucket: str = LISTENER_BUCKET, **changes) -> None:
    data = json.dumps(document(service.site.clock.now(), pool=pool, **changes)).encode()
    service.site.google.put_object(bucket, f"pools/{pool}.json", data)


def ask(service: BrokerService, group: str = PRESUBMIT_JOBS, **vm) -> Reply:
    return service.send("GET", "/demand", token=service.token(service.vm(group, **vm)))


def test_a_vm_learns_why_the_jobs_of_its_pool_wait(service):
    write(service)
    reply = ask(service)
    assert reply.status == 200, reply.raw
    written = reply.body.pop("written")
    assert abs(datetime.datetime.fromisoformat(written).timestamp() - service.site.clock.now() + 20) < 5
    assert {name: value for name, value in reply.body.items() if name != "written"} == {
        "pool": POOL,
        "assigned": 4,
        "running": 1,
        "desired": 5,
        "existing": 3,
        "waiting": 3,
        "reasons": ["no capacity in us-west1-a/b/c since 10:41"],
        "stale": False,
    }
    assert [line["pool"] for line in service.lines] == [POOL]


def test_what_a_silent_listener_said_last_is_marked(service):
    write(service)
    service.site.clock.advance(300)
    assert ask(service).body["stale"] is True


def test_an_old_vm_may_ask_too(service):
    write(service)
    assert ask(service, age_seconds=80_000).status == 200


def test_each_vm_is_told_of_its_own_pool_only(service):
    write(service)
    write(service, "postsubmit-jobs", waiting=77)
    assert ask(service).body["waiting"] == 3
    assert ask(service, POSTSUBMIT_JOBS).body["waiting"] == 77


def test_nothing_is_known_where_nobody_wrote_or_the_pool_follows_no_jobs(service):
    write(service, "presubmit-cpu")
    write(service, bucket=BUCKET)
    for group in (PRESUBMIT_JOBS, PRESUBMIT):
        reply = ask(service, group)
        assert (reply.status, reply.error) == (404, "no_demand")


@pytest.mark.parametrize("data", [b"", b"garbage", b"[]", b"null", b'{"pool": "postsubmit-jobs"}', b"[" * 5000])
def test_an_object_that_is_no_pools_is_passed_on_to_nobody(service, data):
    service.site.google.put_object(LISTENER_BUCKET, f"pools/{POOL}.json", data)
    assert ask(service).error == "no_demand"
    assert service.lines[-1]["cause"] == "the object is malformed"


@pytest.mark.parametrize(("status", "expected"), [(403, (502, "google_refused")), (503, (503, "google_unavailable"))])
def test_a_bucket_that_cannot_be_read_is_said(service, status, expected):
    write(service)
    service.site.faults.script("storage.get", status=status, times=1000)
    reply = ask(service)
    assert (reply.status, reply.error) == expected
    assert "retry-after" in reply.headers


def test_a_caller_that_proves_nothing_is_told_nothing(service):
    write(service)
    reply = service.send("GET", "/demand")
    assert (reply.status, reply.error) == (401, "token_missing")
    assert service.site.asked("storage.get") == []


@pytest.mark.parametrize("method", ["POST", "HEAD", "DELETE"])
def test_demand_is_only_read(service, method):
    reply = service.send(method, "/demand", token=service.token(service.vm(PRESUBMIT_JOBS)))
    assert (reply.status, reply.headers["allow"]) == (405, "GET")


@pytest.mark.parametrize(
    "change",
    [
        {"pool": "another"},
        {"assigned": -1},
        {"running": True},
        {"desired": 1.5},
        {"existing": "3"},
        {"waiting": ...},
        {"reasons": "no capacity"},
        {"reasons": [None]},
        {"reasons": ...},
        {"written": "10:41"},
        {"written": "2026-11-25T10:41:00"},
        {"written": 7},
        {"expires": ...},
    ],
)
def test_what_is_not_in_order_is_not_told(change):
    assert told() is not None
    assert told(**change) is None


def test_it_is_stale_from_the_moment_that_the_listener_set():
    answers = [told(NOW + 160 + late) for late in (0, 0.5)]
    assert [answer and answer["stale"] for answer in answers] == [False, True]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=9), values, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(document())), JSON)
def test_whatever_the_object_says_an_answer_has_all_its_parts_and_no_other(key, value):
    said = told(**{key: value})
    if said is not None:
        assert said.keys() == {*demand.NUMBERS, "pool", "reasons", "written", "stale"}
        assert all(isinstance(said[name], int) and said[name] >= 0 for name in demand.NUMBERS)

"""Objects and log entries, as the stand-ins show them."""

from __future__ import annotations

import time

import pytest

from rollout.cloud import logs
from rollout.cloud.errors import CloudError


def test_an_object_is_read_with_its_generation(site, google):
    generation = site.google.put_object("state", "pools/a b/ü.json", b'{"a": 1}')
    found = google(lambda google: google.storage.read("state", "pools/a b/ü.json"))
    assert (found.data, found.generation) == (b'{"a": 1}', generation)
    assert abs(found.updated - site.clock.now()) < 30


def test_no_object_is_none_and_one_that_may_not_be_read_is_an_error(site, google):
    assert google(lambda google: google.storage.read("state", "absent")) is None
    site.google.put_object("state", "there", b"")
    site.google.deny("storage.get", "operator@iree-oss.iam")
    with pytest.raises(CloudError) as caught:
        google(lambda google: google.storage.read("state", "there"))
    assert caught.value.error_class == "denied"


def test_an_object_without_a_generation_is_no_answer(site, google):
    site.google.put_object("state", "there", b"{}")
    site.faults.script("storage.get", "garbage", times=9)
    with pytest.raises(CloudError, match="not documented: X-Goog-Generation"):
        google(lambda google: google.storage.read("state", "there"))


def test_the_storages_own_clock_is_known_once_it_has_answered(google):
    async def use(google):
        before = google.storage.clock()
        await google.storage.read("state", "absent")
        return before, google.storage.clock()

    before, after = google(use)
    assert before is None
    assert abs(after - time.time()) < 60


def test_objects_are_listed_by_how_their_names_begin(site, google):
    for name in ("pools/a.json", "pools/b.json", "reports/latest.json"):
        site.google.put_object("state", name, b"12")
    found = google(lambda google: google.storage.list("state", "pools/"))
    assert [(each.name, each.size) for each in found] == [("pools/a.json", 2), ("pools/b.json", 2)]


def test_a_bucket_that_is_not_there_is_no_empty_bucket(site, google):
    site.google.add_bucket("another")
    with pytest.raises(CloudError) as caught:
        google(lambda google: google.storage.list("state", ""))
    assert caught.value.error_class == "not-found"


def test_entries_come_newest_first_with_what_they_say(site, google):
    site.google.log({"message": "runner end", "reason": "finished"}, at=100.0, resource={"instance_id": "1"})
    site.google.log({"message": "runner end", "reason": "idle"}, at=300.0, labels={"pool": "p"})
    site.google.log("a plain text", at=200.0, severity="WARNING")
    found = google(lambda google: google.logs.entries(""))
    assert [each.timestamp for each in found] == [300, 200, 100]
    assert [each.payload.get("reason", each.payload["message"]) for each in found] == [
        "idle",
        "a plain text",
        "finished",
    ]
    assert (found[0].labels, found[2].resource_labels["instance_id"]) == ({"pool": "p"}, "1")
    only = google(lambda google: google.logs.entries('jsonPayload.reason="idle" AND timestamp>"1970-01-01T00:02:00Z"'))
    assert [each.timestamp for each in only] == [300]


def test_all_pages_of_a_log_are_read_and_an_empty_one_is_not_the_end(site, google, monkeypatch):
    monkeypatch.setattr(logs, "PAGE_SIZE", 2)
    site.google.logging.empty_pages = 2
    for number in range(5):
        site.google.log({"n": number}, at=float(number))
    found = google(lambda google: google.logs.entries("", most=10))
    assert [each.payload["n"] for each in found] == [4, 3, 2, 1, 0]


def test_no_more_entries_are_read_than_are_wanted(site, google, monkeypatch):
    monkeypatch.setattr(logs, "PAGE_SIZE", 2)
    for number in range(9):
        site.google.log({"n": number}, at=float(number))
    found = google(lambda google: google.logs.entries("", most=3))
    assert [each.payload["n"] for each in found] == [8, 7, 6]
    assert len(site.asked("logging.list")) == 2


def test_a_log_that_never_comes_to_an_end_is_an_error(site, google, monkeypatch):
    monkeypatch.setattr(logs, "MOST_PAGES", 3)
    site.google.logging.empty_pages = 9
    with pytest.raises(CloudError, match="has not come to an end after 3 pages"):
        google(lambda google: google.logs.entries(""))


def test_a_filter_that_is_none_is_permanent(google):
    with pytest.raises(CloudError) as caught:
        google(lambda google: google.logs.entries("severity >"))
    assert (caught.value.status, caught.value.error_class) == (400, "permanent")

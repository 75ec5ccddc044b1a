"""The stand-in for Cloud Logging: its query language, its order, its pages and its delay."""

from __future__ import annotations

import pytest

from emulators.google.log_filter import FilterError, parse

ENTRY = {
    "severity": "WARNING",
    "timestamp": "2026-11-25T12:00:00.000Z",
    "jsonPayload": {
        "message": "runner end",
        "reason": "boot-failed:install",
        "uptime_seconds": 90,
        "ok": True,
        "q": 'a"b',
    },
    "labels": {"pool": "presubmit-cpu"},
}


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("", True),
        ('jsonPayload.message="runner end"', True),
        ("jsonPayload.message=runner", False),
        ('jsonPayload.message:"RUNNER"', True),
        ("jsonPayload.reason=~^boot-failed", True),
        ('jsonPayload.reason!~"^boot"', False),
        ("jsonPayload.absent:*", False),
        ("jsonPayload.ok:*", True),
        ("jsonPayload.ok=true", True),
        ('jsonPayload.absent!="x"', False),
        ('labels.pool!="x"', True),
        ("jsonPayload.uptime_seconds>=90", True),
        ("jsonPayload.uptime_seconds>100", False),
        ('timestamp>="2026-11-25T12:00:00Z" timestamp<"2026-11-25T13:00:00+00:00"', True),
        ("severity>=WARNING", True),
        ("severity>WARNING", False),
        ('labels.pool=("a" OR "presubmit-cpu")', True),
        ("NOT labels.pool=a", True),
        ("-labels.pool=a", True),
        ("labels.pool=a OR severity=WARNING", True),
        ("labels.pool=a OR severity=WARNING AND jsonPayload.ok=false", False),  # OR binds closer than AND
        ("(labels.pool=a AND severity=WARNING) OR jsonPayload.ok=true", True),
        ("-- a comment\nseverity=WARNING", True),
        (r'jsonPayload.q="a\"b"', True),
    ],
)
def test_a_filter_finds_what_the_query_language_says(text, fits):
    assert parse(text)(ENTRY) is fits


@pytest.mark.parametrize(
    "text", ["severity", "severity >", "(severity=INFO", "severity=INFO)", '"text"', "= x", '"open']
)
def test_what_is_no_filter_is_refused(text):
    with pytest.raises(FilterError):
        parse(text)


def ask(google, **changes):
    body = {"resourceNames": ["projects/iree-oss"], "orderBy": "timestamp desc", **changes}
    return google.ask("POST", "/v2/entries:list", json=body)


def test_entries_are_listed_in_the_order_asked_for_by_pages(site, google):
    for number in (2, 3, 1):
        site.google.log({"n": number}, at=float(number), severity="ERROR", resource={"instance_id": "7"})
    first = ask(google, pageSize=2).json()
    rest = ask(google, pageSize=2, pageToken=first["nextPageToken"]).json()
    assert [each["jsonPayload"]["n"] for each in [*first["entries"], *rest["entries"]]] == [3, 2, 1]
    assert "nextPageToken" not in rest
    rising = ask(google, orderBy="").json()["entries"]
    assert [each["jsonPayload"]["n"] for each in rising] == [1, 2, 3]
    assert rising[0]["resource"]["labels"] == {"project_id": "iree-oss", "instance_id": "7"}


def test_nothing_found_has_no_field_of_entries(google):
    assert ask(google).json() == {}


def test_an_entry_is_found_some_time_after_it_was_written(site, google):
    site.google.logging.lag_seconds = 30
    site.google.log({"message": "late"})
    assert ask(google).json() == {}
    site.clock.advance(31)
    assert len(ask(google).json()["entries"]) == 1


def test_a_page_may_be_empty_though_more_follow(site, google):
    site.google.logging.empty_pages = 1
    site.google.log("text")
    first = ask(google).json()
    assert list(first) == ["nextPageToken"]
    assert ask(google, pageToken=first["nextPageToken"]).json()["entries"][0]["textPayload"] == "text"


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"filter": "severity >"}, 400), ({"orderBy": "severity"}, 400), ({"resourceNames": ["projects/other"]}, 403)],
)
def test_what_cannot_be_listed_is_refused(google, changes, status):
    assert ask(google, **changes).status_code == status


def test_nobody_without_a_token_reads_logs(anybody):
    assert ask(anybody).status_code == 401

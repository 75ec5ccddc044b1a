"""GitHub's messages, typed: tolerant where GitHub's own client is, and nothing escapes that cannot be parsed."""

from __future__ import annotations

import datetime
import json

import pytest
import scaleset
from hypothesis import example, given
from hypothesis import strategies as st
from scaleset.messages import ScaleSet, decode_list
from scaleset_service import job, message, scale_set

BOM = b"\xef\xbb\xbf"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ("messageId", "messageType", "body", "statistics", "jobId", "runnerRequestId", "queueTime", "requestLabels")


def parsed(value) -> scaleset.Message:
    found = scaleset.parse_message(json.dumps(value).encode())
    assert found is not None
    return found


def parsed_job(**changes) -> scaleset.JobMessage:
    return parsed(message(1, job("JobStarted", **changes))).jobs[0]


def test_each_kind_of_job_has_its_fields():
    jobs = parsed(
        message(
            1,
            job("JobAvailable", runnerRequestId=5005, acquireJobUrl="https://x/"),
            job("JobAssigned", requestLabels=["fleet-a", "linux"], workflowRunId=9001),
            job("JobStarted", runnerId=42, runnerName="fleet-a-x1"),
            job("JobCompleted", result="succeeded"),
        )
    ).jobs
    available, assigned, started, completed = jobs
    assert isinstance(available, scaleset.JobAvailable)
    assert (available.runner_request_id, available.acquire_job_url) == (5005, "https://x/")
    assert isinstance(assigned, scaleset.JobAssigned)
    assert (assigned.request_labels, assigned.workflow_run_id) == (("fleet-a", "linux"), 9001)
    assert isinstance(started, scaleset.JobStarted)
    assert (started.runner_id, started.runner_name) == (42, "fleet-a-x1")
    assert isinstance(completed, scaleset.JobCompleted)
    assert (completed.result, completed.runner_name) == ("succeeded", "")


def test_a_job_of_an_unknown_type_is_left_out_and_the_others_stay():
    found = parsed(message(1, job("JobTeleported"), job("JobAssigned", 2), {"jobId": 7}))
    assert [each.job_id[-1] for each in found.jobs] == ["2"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-22T01:44:52Z", 1795311892.0),
        ("2026-11-22T01:44:52.1234567Z", 1795311892.123456),
        ("2026-11-21T17:44:52-08:00", 1795311892.0),
    ],
)
def test_a_time_may_have_any_zone_and_any_fraction(text, seconds):
    time = parsed_job(queueTime=text).queue_time
    assert time is not None
    assert time.timestamp() == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", None, "", "2026-11-22T01:44:52", "soon", 7, ["x"]])
def test_a_time_that_was_not_reached_or_cannot_be_read_is_none(text):
    assert parsed_job(queueTime=text).queue_time is None


def test_null_is_as_if_it_were_not_there():
    found = parsed_job(requestLabels=None, runnerName=None, ownerName=None)
    assert isinstance(found, scaleset.JobStarted)
    assert (found.request_labels, found.runner_name, found.owner_name) == ((), "", "")


def test_the_case_of_a_key_does_not_matter():
    value = {"MESSAGEID": 7, "messagetype": "RunnerScaleSetJobMessages", "Statistics": {"TotalAssignedJobs": 3}}
    found = parsed(value)
    assert found.message_id == 7
    assert found.statistics == scaleset.Statistics(total_assigned_jobs=3)


def test_a_byte_order_mark_before_the_message_and_before_its_body_is_removed():
    value = message(1, job("JobAssigned"))
    value["body"] = "\ufeff" + value["body"]
    found = scaleset.parse_message(BOM + json.dumps(value).encode())
    assert found is not None
    assert len(found.jobs) == 1


def test_a_message_without_statistics_says_so():
    assert parsed(message(1, statistics=None)).statistics is None


@pytest.mark.parametrize("raw", [b"", b"  \r\n", BOM, BOM + b"\n"])
def test_an_empty_body_is_no_message(raw):
    assert scaleset.parse_message(raw) is None


@pytest.mark.parametrize(
    "value",
    [
        message(1, body="{not json"),
        message(1, body="{}"),
        message(1, body="[7]"),
        message(1, body='[{"messageType": "JobAssigned", "jobId": 7}]'),
        message(1, body='[{"messageType": 7}]'),
        message(1, body="[" * 100_000),
        message(1, body="\ud800"),
        message(1, body=["x"]),
        message(1, messageType="SomethingElse"),
        message(1, statistics={"totalAssignedJobs": "3"}),
        message(1, statistics={"totalAssignedJobs": True}),
        message(1, statistics={"totalAssignedJobs": 2**63}),
        message(1, statistics=[]),
    ],
)
def test_what_cannot_be_parsed_names_its_message_and_keeps_all_that_came(value):
    raw = json.dumps(value)
    with pytest.raises(scaleset.UnreadableMessageError) as caught:
        scaleset.parse_message(raw.encode())
    assert (caught.value.message_id, caught.value.body) == (100000001, raw)
    assert "Something" not in str(caught.value)


@pytest.mark.parametrize(
    "raw", [b"<html>", b"\xff\xfe", b"[]", b"7", b'{"messageId": "x"}', b'{"messageId": 0}', b"NaN"]
)
def test_what_has_no_id_says_so(raw):
    with pytest.raises(scaleset.UnreadableMessageError) as caught:
        scaleset.parse_message(raw)
    assert caught.value.message_id == 0


def outcome(raw: bytes) -> scaleset.Message | scaleset.UnreadableMessageError | None:
    try:
        return scaleset.parse_message(raw)
    except scaleset.UnreadableMessageError as error:
        return error


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_a_message_or_none_or_unreadable(raw):
    found = outcome(raw)
    if isinstance(found, scaleset.UnreadableMessageError):
        assert found.body == raw.decode(errors="backslashreplace")


@given(
    st.dictionaries(st.sampled_from(FIELDS), JSON),
    st.lists(st.dictionaries(st.sampled_from(FIELDS) | st.text(), JSON) | JSON, max_size=3) | JSON,
    st.sampled_from(["JobAvailable", "JobAssigned", "JobStarted", "JobCompleted"]),
)
@example({"messageId": 2**63}, [], "JobStarted")
@example({"messageId": 1.0}, [], "JobStarted")
def test_any_json_is_a_message_or_unreadable(fields, elements, kind):
    """Almost a message, so that the parser gets far: whatever happens, only its own error leaves it."""
    if isinstance(elements, list):
        elements = [{"messageType": kind, **each} if isinstance(each, dict) else each for each in elements]
    value = {**message(1), "body": json.dumps(elements), **fields}
    found = outcome(json.dumps(value).encode())
    if isinstance(found, scaleset.Message):
        assert all(each.queue_time is None or each.queue_time.tzinfo is not None for each in found.jobs)
    else:
        assert found is not None
        assert found.message_id == 0 or found.message_id == value["messageId"]


@pytest.mark.parametrize("key", ["RunnerSetting", "runnerSetting"])
def test_a_scale_sets_setting_is_found_in_both_spellings(key):
    value = {"id": 8, key: {"disableUpdate": True}, "labels": [{"type": "System", "name": "a"}, {"name": "b"}]}
    found = ScaleSet.model_validate(value)
    assert (found.disable_update, found.labels) == (True, ("a", "b"))


def test_a_scale_set_may_leave_out_all_but_its_id():
    found = ScaleSet.model_validate({"id": 8, "RunnerSetting": {}, "labels": None})
    assert (found.disable_update, found.labels) == (False, ())


def test_a_list_is_what_it_holds_whatever_it_says_to_count():
    assert [each.id for each in decode_list(ScaleSet, {"count": 0, "value": [scale_set()]}, "")] == [8]
    assert decode_list(ScaleSet, {"count": 1, "value": []}, "") == []
    with pytest.raises(scaleset.UnreadableAnswerError):
        decode_list(ScaleSet, {"count": 1, "value": {}}, "")


def test_a_configuration_is_not_in_its_own_text():
    value = {"runner": {"id": 42, "name": "x", "runnerScaleSetId": 8}, "encodedJITConfig": "c2VjcmV0"}
    config = scaleset.JitConfig.model_validate(value)
    assert config.encoded == "c2VjcmV0"
    assert "c2VjcmV0" not in f"{config!r} {config}"


def test_a_spec_always_has_its_name_for_a_label_and_none_twice():
    spec = scaleset.ScaleSetSpec(name="fleet-a", labels=("linux", "fleet-a", "linux"))
    assert spec.labels == ("fleet-a", "linux")


@pytest.mark.parametrize("changes", [{"name": ""}, {"labels": ("a", "")}])
def test_a_spec_with_an_empty_name_is_refused(changes):
    with pytest.raises(ValueError, match="empty"):
        scaleset.ScaleSetSpec(**{"name": "fleet-a", **changes})


def test_times_are_plain_datetimes_for_whoever_makes_a_message():
    at = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)
    assert scaleset.JobStarted(job_id="x", queue_time=at).queue_time == at

"""The metrics' table: every field it takes from a log line is one that somebody logs, and every filter says whose."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest
from fleet_configuration import settings_of, valid

from fleet import metrics, services
from fleet.metrics import GAUGES, LOG_METRICS, LogMetric, extractor, log_filter
from fleet.settings import Settings

ROOT = Path(__file__).parents[2]
FOLDERS = {service.role: ROOT / "functions" / service.folder for service in services.SERVICES}
BY_NAME = {metric.name: metric for metric in LOG_METRICS}


@functools.cache
def texts(folder: Path) -> set[str]:
    """Every text that a function's source has, docstrings left out, and every name of a field or an argument."""
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        found |= {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
        }
        found |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg}
        found |= {
            node.target.id
            for node in ast.walk(tree)
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        }
    return found


@pytest.mark.parametrize("metric", LOG_METRICS, ids=lambda metric: metric.name)
def test_whoever_is_to_log_a_metrics_message_and_fields_has_them_in_its_source(metric: LogMetric):
    # A request's line is called by its method and path, which a function's source has apart.
    fields = {*metric.labels.values(), *([metric.value] if metric.value else [])}
    words = {
        word for message in metric.messages for word in ([message], message.split(" "))[message.startswith("POST ")]
    }
    if not metric.functions:
        source = (ROOT / "startup/lib/end_record.py").read_text(encoding="utf-8")
        assert all(f'"{word}"' in source for word in {*fields, *words})
    for role in metric.functions:
        missing = {*fields, *words} - texts(FOLDERS[role])
        assert not missing, f"the {role} logs no {missing}"


@pytest.mark.parametrize("gauge", GAUGES, ids=lambda gauge: gauge.name)
def test_whoever_is_to_write_a_gauge_has_its_name_in_its_source(gauge: metrics.Gauge):
    assert gauge.name in texts(FOLDERS[gauge.written_by])


@pytest.mark.parametrize("role", sorted({gauge.written_by for gauge in GAUGES}))
def test_a_function_that_writes_gauges_writes_them_where_they_are_declared(role: str):
    assert any(text.startswith(metrics.GAUGE_PREFIX.rstrip("/")) for text in texts(FOLDERS[role]))
    service = next(service for service in services.SERVICES if service.role == role)
    assert "monitoring.timeSeries.create" in service.permissions


def test_no_two_metrics_share_a_name():
    for table in (LOG_METRICS, GAUGES):
        assert len({metric.name for metric in table}) == len(table)


def test_every_label_says_what_it_means_and_every_meaning_is_used():
    used = {label for metric in LOG_METRICS for label in metric.labels}
    assert used == metrics.LABEL_MEANINGS.keys()


def test_a_filter_names_the_function_and_what_it_says(settings: Settings):
    assert log_filter(BY_NAME["jobs"], settings) == (
        'resource.type="cloud_run_revision" AND resource.labels.service_name="gh-runner-listener"'
        ' AND jsonPayload.message="job completed"'
    )
    assert log_filter(BY_NAME["denials"], settings) == (
        'resource.type="cloud_run_revision"'
        ' AND resource.labels.service_name=("gh-runner-broker" OR "gh-runner-deleter") AND jsonPayload.status>=400'
        " AND jsonPayload.status!=425"
    )


def test_a_vms_record_is_found_in_the_text_that_the_journal_has_of_it(settings: Settings):
    """The filter's and the extractor's texts, as Cloud Logging would look for them in a record that a VM wrote."""
    record = (
        '{"message": "runner end", "reason": "boot-failed:install", "detail": "", "pool": "presubmit-cpu",'
        ' "environment": "prod", "job_started": {"reason": "none of ours"}}'
    )
    wanted = re.findall(r'MESSAGE:"((?:[^"\\]|\\.)*)"', log_filter(BY_NAME["ends"], settings))
    assert len(wanted) == 2
    assert all(text.replace('\\"', '"') in record for text in wanted)
    for label, value in (("pool", "presubmit-cpu"), ("reason", "boot-failed:install")):
        given = extractor(BY_NAME["ends"], label)
        pattern = re.fullmatch(r'REGEXP_EXTRACT\(jsonPayload\.MESSAGE, "(.*)"\)', given)
        assert pattern
        found = re.search(pattern[1].replace('\\"', '"'), record)
        assert found
        assert found[1] == value


def test_another_environments_records_are_not_counted(settings: Settings):
    raw = valid()
    raw["google"]["name_prefix"] = "gh-runner-testing"
    other = settings_of(raw)
    assert log_filter(BY_NAME["jobs"], settings) != log_filter(BY_NAME["jobs"], other)
    assert 'environment\\": \\"prod\\"' in log_filter(BY_NAME["ends"], settings)


def test_the_buckets_of_a_distribution_reach_beyond_a_day():
    assert metrics.GROWTH_FACTOR**metrics.FINITE_BUCKETS > services.DAY_SECONDS

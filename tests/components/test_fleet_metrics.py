"""Every metric of the table is declared, in the words that Cloud Logging and Cloud Monitoring take."""

from __future__ import annotations

import re

from fleet import metrics

LOG_METRIC = "gcp:logging/metric:Metric"
DESCRIPTOR = "gcp:monitoring/metricDescriptor:MetricDescriptor"


def test_every_metric_of_the_table_is_declared_and_no_other(prod):
    names = {resource.inputs["name"] for resource in prod.of_type(LOG_METRIC)}
    assert names == {f"gh-runner/{metric.name}" for metric in metrics.LOG_METRICS}
    types = {resource.inputs["type"] for resource in prod.of_type(DESCRIPTOR)}
    assert types == {f"custom.googleapis.com/runner_fleet/pool/{gauge.name}" for gauge in metrics.GAUGES}


def test_a_count_is_whole_and_a_duration_is_a_distribution_of_seconds(prod):
    jobs = prod.named("metrics-log-jobs").inputs
    assert jobs["metricDescriptor"]["valueType"] == "INT64"
    assert {"valueExtractor", "bucketOptions"}.isdisjoint(jobs)
    queue = prod.named("metrics-log-queue-seconds").inputs
    assert (queue["metricDescriptor"]["valueType"], queue["metricDescriptor"]["unit"]) == ("DISTRIBUTION", "s")
    assert queue["valueExtractor"] == "EXTRACT(jsonPayload.queue_seconds)"
    assert queue["bucketOptions"] == {"exponentialBuckets": {"scale": 1, "growthFactor": 1.5, "numFiniteBuckets": 29}}


def test_every_label_has_an_extractor_and_every_extractor_a_label(prod):
    for resource in prod.of_type(LOG_METRIC):
        labels = {label["key"] for label in resource.inputs["metricDescriptor"].get("labels", [])}
        assert labels == resource.inputs.get("labelExtractors", {}).keys()


def test_two_environments_count_their_own_lines(prod, testing):
    for one, other in zip(prod.of_type(LOG_METRIC), testing.of_type(LOG_METRIC), strict=True):
        assert one.inputs["name"] != other.inputs["name"]
        assert one.inputs["filter"] != other.inputs["filter"]


def test_what_functions_measured_outlives_the_stack_since_another_may_measure_it_too(prod, testing):
    for one, other in zip(prod.of_type(DESCRIPTOR), testing.of_type(DESCRIPTOR), strict=True):
        assert one.options == {"retain_on_delete": True}
        assert one.inputs == other.inputs, "both environments of one project declare it"


def test_a_name_is_one_that_the_service_takes(prod):
    for resource in prod.of_type(LOG_METRIC):
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,99}", resource.inputs["name"])
    for resource in prod.of_type(DESCRIPTOR):
        assert re.fullmatch(r"custom\.googleapis\.com(/[a-z0-9_]+)+", resource.inputs["type"])

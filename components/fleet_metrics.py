"""The fleet's metrics: those that Cloud Logging makes of log lines, and descriptors of those that functions write."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_gcp import logging, monitoring

from fleet import metrics
from fleet.metrics import Gauge, LogMetric
from fleet.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetMetricsArgs:
    """Which metrics there are follows from `fleet.metrics`; the settings say whose log lines they are made of."""

    settings: Settings


class FleetMetrics(pulumi.ComponentResource):
    """Declares no dashboard and no alert. Functions could write gauges without it, but none would say what it means."""

    log_metrics: list[pulumi.Output[str]]

    def __init__(self, name: str, args: FleetMetricsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("runner-fleet:index:FleetMetrics", name, None, opts)
        self.log_metrics = [self._log_metric(name, metric, args.settings).name for metric in metrics.LOG_METRICS]
        for gauge in metrics.GAUGES:
            self._descriptor(name, gauge, args.settings)
        self.register_outputs({"log_metrics": self.log_metrics})

    def _log_metric(self, name: str, metric: LogMetric, settings: Settings) -> logging.Metric:
        return logging.Metric(
            f"{name}-log-{metric.name.replace('_', '-')}",
            name=settings.names.metric(metric.name),
            project=settings.names.project,
            description=metric.meaning,
            filter=metrics.log_filter(metric, settings),
            metric_descriptor=logging.MetricMetricDescriptorArgs(
                metric_kind="DELTA",
                value_type="DISTRIBUTION" if metric.value else "INT64",
                unit="s" if metric.value else "1",
                labels=[
                    logging.MetricMetricDescriptorLabelArgs(
                        key=label, value_type="STRING", description=metrics.LABEL_MEANINGS[label]
                    )
                    for label in sorted(metric.labels)
                ],
            ),
            label_extractors={
                label: metrics.extractor(metric, taken) for label, taken in sorted(metric.labels.items())
            },
            value_extractor=metrics.extractor(metric, metric.value) if metric.value else None,
            bucket_options=logging.MetricBucketOptionsArgs(
                exponential_buckets=logging.MetricBucketOptionsExponentialBucketsArgs(
                    scale=1, growth_factor=metrics.GROWTH_FACTOR, num_finite_buckets=metrics.FINITE_BUCKETS
                )
            )
            if metric.value
            else None,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _descriptor(self, name: str, gauge: Gauge, settings: Settings) -> None:
        monitoring.MetricDescriptor(
            f"{name}-gauge-{gauge.name.replace('_', '-')}",
            project=settings.names.project,
            type=metrics.GAUGE_PREFIX + gauge.name,
            metric_kind="GAUGE",
            value_type="INT64",
            unit=gauge.unit,
            display_name=gauge.name.replace("_", " "),
            description=gauge.meaning,
            labels=[
                monitoring.MetricDescriptorLabelArgs(key=label, value_type="STRING", description=meaning)
                for label, meaning in metrics.GAUGE_LABELS.items()
            ],
            # Both environments of a project declare it, and making it twice is fine; deleting it would take what the
            # other one has measured (Cloud Monitoring's metricDescriptors.create, read 2026-11-25).
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=True),
        )

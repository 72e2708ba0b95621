"""Metrics of one model, in a registry of their own."""

from __future__ import annotations

from pararnn_server.metrics.metrics import Metrics, ServerMetrics
from prometheus_client.parser import text_string_to_metric_families


def new_metrics(model: str = "tiny") -> Metrics:
    return ServerMetrics().of_model(model)


def values(metrics: ServerMetrics) -> dict[str, float]:
    """Samples as `name` or `name{label=value}`, without the prefix and the label of the model `tiny`."""
    found = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            labels = ",".join(
                f"{key}={value}"
                for key, value in sorted(sample.labels.items())
                if (key, value) != ("model", "tiny")
            )
            name = sample.name.removeprefix("pararnn_")
            found[f"{name}{{{labels}}}" if labels else name] = sample.value
    return found

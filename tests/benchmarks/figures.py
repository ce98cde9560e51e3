"""Metrics, measured figures and the table that shows them. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import asdict, frozen


@frozen(kw_only=True)
class Metric:
    """A metric and its target: one row of the table.

    Args:
        name: The measured quantity.
        unit: ms, s, MB, /s, lines, packages.
        target: The value that we want to reach.
        field: The figures of other systems, as published or as measured on a similar machine.
        more_is_better: True for rates.
    """

    name: str
    unit: str
    target: float
    field: str
    more_is_better: bool = False


@frozen(kw_only=True)
class Figure:
    """A metric and its measured value, a median unless the metric's name says otherwise."""

    metric: Metric
    value: float

    @property
    def is_reached(self) -> bool:
        if self.metric.more_is_better:
            return self.value >= self.metric.target
        return self.value <= self.metric.target


def quantile(values: Sequence[float], share: float) -> float:
    """Return the measured value that is nearest to a quantile; `share` is from 0 to 1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def table(figures: Sequence[Figure]) -> str:
    """Return the table for people."""
    rows = [("what", "here", "target", "field", "")]
    for figure in figures:
        metric = figure.metric
        sign = "≥" if metric.more_is_better else "≤"
        rows.append(
            (
                metric.name,
                _number(figure.value, metric.unit),
                f"{sign} {_number(metric.target, metric.unit)}",
                metric.field,
                "" if figure.is_reached else "missed",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "─" * max(map(len, lines)))
    return "\n".join(lines)


def as_json(figures: Sequence[Figure]) -> list[dict[str, object]]:
    """Return the figures as JSON values."""
    return [{**asdict(figure.metric), "value": figure.value, "is_reached": figure.is_reached} for figure in figures]


def _number(value: float, unit: str) -> str:
    digits = 0 if abs(value) >= 100 or float(value).is_integer() else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}".replace(",", " ")

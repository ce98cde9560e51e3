"""What is measured, what is aimed at, and how it is printed. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import asdict, frozen


@frozen(kw_only=True)
class Goal:
    """One row of the table.

    Args:
        name: What is measured.
        unit: ms, s, MB, /s, lines, packages.
        target: What we want to reach.
        field: What others reach, as they publish it or as it was measured on the same kind of machine.
        more_is_better: True for rates.
    """

    name: str
    unit: str
    target: float
    field: str
    more_is_better: bool = False


@frozen(kw_only=True)
class Figure:
    """A goal and what was measured; `value` is a median unless the name says otherwise."""

    goal: Goal
    value: float

    @property
    def is_reached(self) -> bool:
        if self.goal.more_is_better:
            return self.value >= self.goal.target
        return self.value <= self.goal.target


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which so large a share of the values lies; the nearest one that was measured."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def table(figures: Sequence[Figure]) -> str:
    """Return the table as people read it."""
    rows = [("what", "here", "target", "field", "")]
    for figure in figures:
        goal = figure.goal
        sign = "≥" if goal.more_is_better else "≤"
        rows.append(
            (
                goal.name,
                _number(figure.value, goal.unit),
                f"{sign} {_number(goal.target, goal.unit)}",
                goal.field,
                "" if figure.is_reached else "missed",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "─" * max(map(len, lines)))
    return "\n".join(lines)


def as_json(figures: Sequence[Figure]) -> list[dict[str, object]]:
    """Return the figures as JSON values."""
    return [{**asdict(one.goal), "value": one.value, "is_reached": one.is_reached} for one in figures]


def _number(value: float, unit: str) -> str:
    digits = 0 if abs(value) >= 100 or float(value).is_integer() else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}".replace(",", " ")

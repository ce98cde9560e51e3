"""The results of the checks of `ncl doctor`."""

from __future__ import annotations

from enum import Enum

from attrs import frozen


class Health(Enum):
    """The result of a check."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@frozen(kw_only=True)
class Finding:
    """One checked item and its state. `remedy` is empty if no action is needed."""

    area: str
    name: str
    state: Health
    detail: str
    remedy: str = ""


def ok(area: str, name: str, detail: str) -> Finding:
    """Return the finding of a passed check."""
    return Finding(area=area, name=name, state=Health.OK, detail=detail)


def warn(area: str, name: str, detail: str, remedy: str = "") -> Finding:
    """Return the finding of a missing or degraded item that need not be fixed."""
    return Finding(area=area, name=name, state=Health.WARNING, detail=detail, remedy=remedy)


def problem(area: str, name: str, detail: str, remedy: str) -> Finding:
    """Return the finding of an item that does not work."""
    return Finding(area=area, name=name, state=Health.PROBLEM, detail=detail, remedy=remedy)

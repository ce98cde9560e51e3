"""What the runner says of itself in `runner_state`, so that the host can tell a long tool from a stuck runner."""

from __future__ import annotations

from attrs import evolve, frozen
from nanoclaw_wire.outbound import Activity, RunnerState


@frozen(kw_only=True)
class RunningTool:
    """A tool at work."""

    name: str
    timeout_s: float | None
    started_at: str


class ActivityTracker:
    """Gathers what is going on, and gives it out only when it differs from what was written last."""

    def __init__(self) -> None:
        self._tools: list[RunningTool] = []
        self._activity = Activity.IDLE
        self._written: RunnerState | None = None

    def set_busy(self, busy: bool) -> None:
        """Note whether somebody waits for an answer. With nobody waiting no tool runs."""
        self._activity = Activity.BUSY if busy else Activity.IDLE
        if not busy:
            self._tools.clear()

    def tool_started(self, name: str, timeout_s: float | None, now: str) -> None:
        """Note a tool; several may run at once."""
        self._tools.append(RunningTool(name=name, timeout_s=timeout_s, started_at=now))

    def tool_ended(self, name: str) -> None:
        """Note the end of the tool of that name that started first."""
        ended = next((tool for tool in self._tools if tool.name == name), None)
        if ended is not None:
            self._tools.remove(ended)

    def turn_ended(self) -> None:
        """Forget tools whose end nobody told."""
        self._tools.clear()

    @property
    def tool_timeout_s(self) -> float:
        """The longest time that a running tool asked for, in seconds; 0.0 if none runs or asked."""
        return max((tool.timeout_s or 0.0 for tool in self._tools), default=0.0)

    def change(self, now: str) -> RunnerState | None:
        """Return what is to be written; None where it was written already."""
        tool = max(self._tools, key=lambda running: running.timeout_s or 0.0, default=None)
        state = RunnerState(
            activity=self._activity,
            tool=tool.name if tool else None,
            tool_timeout_s=tool.timeout_s if tool else None,
            tool_started_at=tool.started_at if tool else None,
            updated_at=now,
        )
        if self._written is not None and evolve(state, updated_at=self._written.updated_at) == self._written:
            return None
        self._written = state
        return state

"""A series of kills with real bubblewrap: of hosts, runners and the processes around a sandbox."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import define
from harness import HostHandle, Room
from kill_series import KillSeries, OutagePlan
from process_tree import Process, kill, processes_below

LONGEST_LIFE_S = 1.2  # a sandbox with a runner that is ready takes half a second
RUNNER_DEPTH = 3  # below bubblewrap (1) and the first process of its namespace (2)
TARGETS = ("host", "host", "host", "runner", "bubblewrap", "runners", "platform")


@define(kw_only=True)
class BubblewrapSeries(KillSeries):
    """A kill series. Its target `bubblewrap` is any process of a sandbox outside the runner."""

    longest_life_s: float = LONGEST_LIFE_S

    async def _kill_in_sandboxes(self, target: str, host: HostHandle) -> None:
        is_inside = target != "bubblewrap"
        processes = [
            process for process in self._sandbox_processes(host) if (process.depth >= RUNNER_DEPTH) is is_inside
        ]
        if kill(processes if target == "runners" else self.dice.sample(processes, min(1, len(processes)))):
            self._count_kill(target)

    def _sandbox_processes(self, host: HostHandle) -> Iterator[Process]:
        """Yield the processes of the sessions' sandboxes.

        The runtime records these, but not its isolation check.
        """
        recorded = {int(path.stem) for path in self.harness.instance.paths.home.glob("data/process/running/*.json")}
        is_sandbox = False
        for process in processes_below(host.pid):
            if process.depth == 1:
                is_sandbox = process.pid in recorded
            if is_sandbox:
                yield process


def make_bubblewrap_series(
    directory: Path, seed: int, rooms: Sequence[Room], outage_plan: OutagePlan | None = None
) -> BubblewrapSeries:
    """Make a series with hosts that start their sandboxes in bubblewrap."""
    return BubblewrapSeries(
        directory=directory,
        seed=seed,
        targets=TARGETS,
        core={"runtime": "process"},
        rooms=rooms,
        outage_plan=outage_plan,
    )

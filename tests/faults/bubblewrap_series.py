"""The series of kills with real bubblewrap: hosts, runners and the processes around a sandbox die."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import define
from harness import HostHandle, Room
from kill_series import KillSeries, Weather
from process_tree import Process, kill, processes_below

LONGEST_LIFE_S = 1.2  # a sandbox with a runner that is ready takes half a second
DEPTH_OF_RUNNERS = 3  # below bubblewrap (1) and the first process of its namespace (2)
VICTIMS = ("host", "host", "host", "runner", "bubblewrap", "runners", "platform")


@define(kw_only=True)
class BubblewrapSeries(KillSeries):
    """`bubblewrap` among the victims is any process of a sandbox that is outside of the runner."""

    longest_life_s: float = LONGEST_LIFE_S

    async def _kill_in_sandboxes(self, victim: str, host: HostHandle) -> None:
        is_inside = victim != "bubblewrap"
        found = [one for one in self._of_sandboxes(host) if (one.depth >= DEPTH_OF_RUNNERS) is is_inside]
        if kill(found if victim == "runners" else self.dice.sample(found, min(1, len(found)))):
            self._count_kill(victim)

    def _of_sandboxes(self, host: HostHandle) -> Iterator[Process]:
        """Yield the processes of sessions' sandboxes. The runtime records those, and not one that tries the walls."""
        recorded = {int(path.stem) for path in self.harness.instance.places.home.glob("data/process/running/*.json")}
        is_sandbox = False
        for process in processes_below(host.pid):
            if process.depth == 1:
                is_sandbox = process.pid in recorded
            if is_sandbox:
                yield process


def make_bubblewrap_series(
    directory: Path, seed: int, rooms: Sequence[Room], weather: Weather | None = None
) -> BubblewrapSeries:
    """Make a series whose hosts start sandboxes in bubblewrap."""
    return BubblewrapSeries(
        directory=directory, seed=seed, victims=VICTIMS, core={"runtime": "process"}, rooms=rooms, weather=weather
    )

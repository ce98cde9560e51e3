"""What only containers have: images that are missing or stale, names that are taken, events that get lost."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import docker
import pytest
from attrs import evolve
from click.testing import CliRunner
from nanoclaw_runtime_docker.command import image
from road import Road

from nanoclaw_core import DirectoryIdentity, Mount, Network, SandboxFailed, SandboxRefused
from nanoclaw_core.testing.hosting import until
from nanoclaw_core.testing.runtime_place import Place, new_place
from nanoclaw_core.testing.runtime_programs import CONNECT, WAIT_FOR_SIGTERM
from nanoclaw_core.testing.runtime_scenario import PATIENCE_S, connected, killed_host, patiently, run, started

if TYPE_CHECKING:
    from docker import APIClient

PLUGIN = "nanoclaw_runtime_docker.host"
pytestmark = pytest.mark.docker


@pytest.fixture
def road(docker_address: str) -> Iterator[Road]:
    with Road(docker_address) as road:
        yield road


def by(road: Road, place: Place) -> Place:
    """Return the place with the engine at the end of a road."""
    return evolve(place, settings={**place.settings, "docker_host": road.address})


def containers(client: APIClient, place: Place) -> list[str]:
    """Return the names of all containers of a place's instance."""
    found = client.containers(all=True, filters={"label": f"nanoclaw.instance={place.instance_id}"})
    return sorted(name for one in found for name in one["Names"])


def created(client: APIClient, image: str, name: str, instance_id: str) -> str:
    """Make a container that is never started, as a host that died at the wrong moment leaves it."""
    return str(
        client.create_container(image, ["-c", "pass"], name=name, labels={"nanoclaw.instance": instance_id})["Id"]
    )


def test_a_missing_image_is_refused_with_the_command_that_builds_it(docker_address: str, tmp_path: Path) -> None:
    place = new_place(tmp_path, PLUGIN, {"docker_host": docker_address})

    async def scenario() -> None:
        async with connected(place) as runtime:
            with pytest.raises(SandboxRefused, match=r"nanoclaw-agent:[0-9a-f]{12} is missing.* ncl image build"):
                await runtime.start(place.spec("pass"))

    patiently(scenario())


def test_a_stale_image_is_noticed_and_named(
    client: APIClient, python_image: str, tmp_path: Path, docker_address: str
) -> None:
    place = new_place(tmp_path, PLUGIN, {"docker_host": docker_address})
    client.tag(python_image, "nanoclaw-agent", "000000000000")

    async def scenario() -> None:
        async with connected(place) as runtime:
            readiness = await runtime.check()
            assert not readiness.ready
            assert "nanoclaw-agent:000000000000 is stale" in readiness.detail
            assert readiness.remedy == "Build it: ncl image build"

    try:
        patiently(scenario())
    finally:
        client.remove_image("nanoclaw-agent:000000000000")


def test_a_leftover_that_never_started_gives_its_name_back(client: APIClient, place: Place, python_image: str) -> None:
    leftover = created(client, python_image, place.name, place.instance_id)
    assert run(place, "raise SystemExit(6)").code == 6
    with pytest.raises(docker.errors.NotFound):
        client.inspect_container(leftover)


def test_a_container_of_another_instance_keeps_its_name(client: APIClient, place: Place, python_image: str) -> None:
    theirs = created(client, python_image, place.name, "another")
    try:
        with pytest.raises(SandboxFailed, match="of another instance"):
            run(place, "pass")
        assert client.inspect_container(theirs)["State"]["Status"] == "created"
    finally:
        client.remove_container(theirs)


def test_reaping_removes_what_was_made_and_never_started(client: APIClient, place: Place, python_image: str) -> None:
    created(client, python_image, place.name, place.instance_id)

    async def scenario() -> list[int]:
        async with connected(place) as runtime:
            return [await runtime.reap(), await runtime.reap()]

    assert patiently(scenario()) == [1, 0]


def test_nothing_is_left_of_a_sandbox_that_ended(client: APIClient, place: Place) -> None:
    run(place, "pass")
    assert containers(client, place) == []


def test_a_start_that_is_called_off_leaves_nothing_behind(client: APIClient, place: Place, road: Road) -> None:
    async def scenario() -> None:
        async with connected(by(road, place)) as runtime:
            starting = asyncio.create_task(runtime.start(place.spec(WAIT_FOR_SIGTERM)))
            await road.has_passed(b"/containers/create")
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting
            await road.has_passed(b"DELETE ")
            await until(lambda: not containers(client, place))

    patiently(scenario())


@pytest.mark.invariant(number=6)
def test_mount_that_the_engine_exchanges_is_refused(client: APIClient, place: Place, road: Road) -> None:
    """The engine opens mounts by name, and may open another directory than the approved one (audit C3)."""
    for name in ("approved", "swappedd"):
        (place.home / name).mkdir()
    found = (place.home / "approved").stat()
    identity = DirectoryIdentity(device=found.st_dev, inode=found.st_ino)
    mount = Mount(source=place.home / "approved", target="/workspace/extra/x", identity=identity)
    spec = place.spec(WAIT_FOR_SIGTERM)
    spec = evolve(spec, mounts=(*spec.mounts, mount))

    async def scenario() -> None:
        async with connected(by(road, place)) as runtime:
            sandbox = await started(runtime, spec, place)
            await sandbox.stop(PATIENCE_S)
            await sandbox.wait()
            road.replace(b"/approved", b"/swappedd")
            with pytest.raises(SandboxRefused, match="another directory took its place"):
                await runtime.start(spec)

    patiently(scenario())
    assert containers(client, place) == []


def test_what_an_engine_made_while_its_answer_got_lost_does_not_work_beside_the_next(
    client: APIClient, place: Place, road: Road
) -> None:
    async def scenario() -> None:
        async with connected(by(road, place)) as runtime:
            road.lose_the_answer_to(b"/start ")
            with pytest.raises(SandboxFailed):
                await runtime.start(place.spec(WAIT_FOR_SIGTERM))
            road.open()
            second = await runtime.start(place.spec(WAIT_FOR_SIGTERM, name=f"{place.name}-2"))
            assert [f"/{place.name}-2"] == containers(client, place)
            await second.stop(PATIENCE_S)

    patiently(scenario())


def test_a_host_lets_go_of_an_engine_that_hangs_in_a_start(place: Place, road: Road) -> None:
    there = evolve(place, settings={**place.settings, "engine_timeout_s": 10 * PATIENCE_S})

    async def scenario() -> None:
        async with connected(by(road, there)) as runtime:
            road.lose_the_answer_to(b"/containers/create", hang_up=False)
            starting = asyncio.create_task(runtime.start(place.spec("pass")))
            await road.has_passed(b"/containers/create")
            starting.cancel()
            await asyncio.wait([starting])

    patiently(scenario())
    run(place, "pass")  # what was made has given its name back


def test_what_could_not_be_reaped_when_the_host_started_is_ended_before_its_first_sandbox(
    client: APIClient, place: Place, road: Road
) -> None:
    killed_host(place)

    async def scenario() -> None:
        road.close()
        async with connected(by(road, place)) as runtime:
            with pytest.raises(SandboxFailed):
                await runtime.reap()
            assert [f"/{place.name}"] == containers(client, place)
            road.open()
            ours = [place.spec(WAIT_FOR_SIGTERM, name=f"{place.name}-{number}") for number in range(4)]
            sandboxes = await asyncio.gather(*map(runtime.start, ours))
            assert sorted(f"/{spec.name}" for spec in ours) == containers(client, place)
            await asyncio.gather(*(sandbox.stop(PATIENCE_S) for sandbox in sandboxes))

    patiently(scenario())


def test_an_end_that_no_event_told_of_is_noticed(client: APIClient, place: Place, road: Road) -> None:
    async def scenario() -> None:
        async with connected(by(road, place)) as runtime:
            sandbox = await started(runtime, place.spec(WAIT_FOR_SIGTERM), place)
            waiting = asyncio.create_task(sandbox.wait())
            road.close()
            client.kill(place.name, signal="SIGTERM")
            client.wait(place.name)
            road.open()
            assert (await waiting).code == 3

    patiently(scenario())


def test_a_sandbox_that_somebody_removed_has_ended(client: APIClient, place: Place) -> None:
    async def scenario() -> str:
        async with connected(place) as runtime:
            sandbox = await started(runtime, place.spec(WAIT_FOR_SIGTERM), place)
            await asyncio.to_thread(client.remove_container, place.name, force=True)
            return (await sandbox.wait()).reason

    assert patiently(scenario()) in ("removed by somebody else", "killed")


def test_an_open_network_is_the_one_of_the_settings(place: Place) -> None:
    place = evolve(place, settings={**place.settings, "network": "host"})
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = ("127.0.0.1", server.getsockname()[1])
        run(place, spec=evolve(place.spec(CONNECT.format([address])), network=Network.OPEN))
    assert place.answer() == [list(address)]


def test_a_build_that_fails_says_at_which_step_and_exits_with_1(
    place: Place, docker_address: str, python_image: str
) -> None:
    place.home.joinpath("nanoclaw.toml").write_text(
        f'[plugins.docker]\ndocker_host = "{docker_address}"\nbuild_network = "none"\n'
    )
    invocation = SimpleNamespace(home=place.home, as_json=False, environment={})  # as `ncl` hands it to commands
    done = CliRunner().invoke(image, ["build", "--base-image", python_image], obj=invocation, standalone_mode=False)
    assert isinstance(done.exception, SandboxFailed)
    assert "failed (RUN" in str(done.exception)
    assert "FROM ${BASE_IMAGE}" in done.output


def test_the_command_line_shows_the_image_that_is_needed(place: Place, docker_address: str) -> None:
    place.home.joinpath("nanoclaw.toml").write_text(f'[plugins.docker]\ndocker_host = "{docker_address}"\n')
    invocation = SimpleNamespace(home=place.home, as_json=False, environment={})  # as `ncl` hands it to commands
    done = CliRunner().invoke(image, ["show"], obj=invocation, standalone_mode=False)
    assert done.exception is None
    assert "missing: ncl image build" in done.output
    assert "nanoclaw-runner" in done.output

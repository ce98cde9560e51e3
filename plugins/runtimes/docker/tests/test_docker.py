"""Cases that only containers have: missing or stale images, used names, lost events."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import docker
import pytest
from attrs import evolve
from click.testing import CliRunner
from engine_proxy import EngineProxy
from nanoclaw_runtime_docker.command import image

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
def engine_proxy(docker_address: str) -> Iterator[EngineProxy]:
    with EngineProxy(docker_address) as engine_proxy:
        yield engine_proxy


def through(engine_proxy: EngineProxy, place: Place) -> Place:
    """Return the place with the proxy as its engine."""
    return evolve(place, settings={**place.settings, "docker_host": engine_proxy.address})


def containers(client: APIClient, place: Place) -> list[str]:
    """Return the names of all containers of a place's instance."""
    listed = client.containers(all=True, filters={"label": f"nanoclaw.instance={place.instance_id}"})
    return sorted(name for container in listed for name in container["Names"])


def created(client: APIClient, image: str, name: str, instance_id: str) -> str:
    """Create a container without starting it, as a host leaves it that dies between both steps."""
    return str(
        client.create_container(image, ["-c", "pass"], name=name, labels={"nanoclaw.instance": instance_id})["Id"]
    )


def test_missing_image_is_refused_with_the_build_command(docker_address: str, tmp_path: Path) -> None:
    place = new_place(tmp_path, PLUGIN, {"docker_host": docker_address})

    async def scenario() -> None:
        async with connected(place) as runtime:
            with pytest.raises(SandboxRefused, match=r"nanoclaw-agent:[0-9a-f]{12} is missing.* ncl image build"):
                await runtime.start(place.spec("pass"))

    patiently(scenario())


def test_check_names_a_stale_image(client: APIClient, python_image: str, tmp_path: Path, docker_address: str) -> None:
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


def test_leftover_that_never_started_is_replaced(client: APIClient, place: Place, python_image: str) -> None:
    leftover = created(client, python_image, place.name, place.instance_id)
    assert run(place, "raise SystemExit(6)").code == 6
    with pytest.raises(docker.errors.NotFound):
        client.inspect_container(leftover)


def test_container_of_another_instance_is_left_alone(client: APIClient, place: Place, python_image: str) -> None:
    theirs = created(client, python_image, place.name, "another")
    try:
        with pytest.raises(SandboxFailed, match="another instance has a container"):
            run(place, "pass")
        assert client.inspect_container(theirs)["State"]["Status"] == "created"
    finally:
        client.remove_container(theirs)


def test_reap_removes_containers_that_never_started(client: APIClient, place: Place, python_image: str) -> None:
    created(client, python_image, place.name, place.instance_id)

    async def scenario() -> list[int]:
        async with connected(place) as runtime:
            return [await runtime.reap(), await runtime.reap()]

    assert patiently(scenario()) == [1, 0]


def test_ended_sandbox_leaves_no_container(client: APIClient, place: Place) -> None:
    run(place, "pass")
    assert containers(client, place) == []


def test_cancelled_start_leaves_no_container(client: APIClient, place: Place, engine_proxy: EngineProxy) -> None:
    async def scenario() -> None:
        async with connected(through(engine_proxy, place)) as runtime:
            starting = asyncio.create_task(runtime.start(place.spec(WAIT_FOR_SIGTERM)))
            await engine_proxy.wait_for_request(b"/containers/create")
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting
            await engine_proxy.wait_for_request(b"DELETE ")
            await until(lambda: not containers(client, place))

    patiently(scenario())


@pytest.mark.invariant(number=6)
def test_mount_that_the_engine_exchanges_is_refused(client: APIClient, place: Place, engine_proxy: EngineProxy) -> None:
    """The engine opens mounts by name, and may open another directory than the approved one (audit C3)."""
    for name in ("approved", "mistaken"):
        (place.home / name).mkdir()
    status = (place.home / "approved").stat()
    identity = DirectoryIdentity(device=status.st_dev, inode=status.st_ino)
    mount = Mount(source=place.home / "approved", target="/workspace/extra/x", identity=identity)
    spec = place.spec(WAIT_FOR_SIGTERM)
    spec = evolve(spec, mounts=(*spec.mounts, mount))

    async def scenario() -> None:
        async with connected(through(engine_proxy, place)) as runtime:
            sandbox = await started(runtime, spec, place)
            await sandbox.stop(PATIENCE_S)
            await sandbox.wait()
            engine_proxy.replace(b"/approved", b"/mistaken")
            with pytest.raises(SandboxRefused, match="another directory took its place"):
                await runtime.start(spec)

    patiently(scenario())
    assert containers(client, place) == []


def test_orphaned_container_is_removed_before_start(client: APIClient, place: Place, engine_proxy: EngineProxy) -> None:
    """The engine created the container, but its answer was lost."""

    async def scenario() -> None:
        async with connected(through(engine_proxy, place)) as runtime:
            engine_proxy.lose_answer_to(b"/start ")
            with pytest.raises(SandboxFailed):
                await runtime.start(place.spec(WAIT_FOR_SIGTERM))
            engine_proxy.open()
            second = await runtime.start(place.spec(WAIT_FOR_SIGTERM, name=f"{place.name}-2"))
            assert [f"/{place.name}-2"] == containers(client, place)
            await second.stop(PATIENCE_S)

    patiently(scenario())


def test_cancelled_start_on_a_hanging_engine_ends(place: Place, engine_proxy: EngineProxy) -> None:
    patient = evolve(place, settings={**place.settings, "engine_timeout_s": 10 * PATIENCE_S})

    async def scenario() -> None:
        async with connected(through(engine_proxy, patient)) as runtime:
            engine_proxy.lose_answer_to(b"/containers/create", hang_up=False)
            starting = asyncio.create_task(runtime.start(place.spec("pass")))
            await engine_proxy.wait_for_request(b"/containers/create")
            starting.cancel()
            await asyncio.wait([starting])

    patiently(scenario())
    run(place, "pass")  # the name is free again


def test_failed_reap_is_repeated_before_the_first_start(
    client: APIClient, place: Place, engine_proxy: EngineProxy
) -> None:
    """The engine was unreachable when the host started; a dead host's sandbox still ran in it."""
    killed_host(place)

    async def scenario() -> None:
        engine_proxy.close()
        async with connected(through(engine_proxy, place)) as runtime:
            with pytest.raises(SandboxFailed):
                await runtime.reap()
            assert [f"/{place.name}"] == containers(client, place)
            engine_proxy.open()
            ours = [place.spec(WAIT_FOR_SIGTERM, name=f"{place.name}-{number}") for number in range(4)]
            sandboxes = await asyncio.gather(*map(runtime.start, ours))
            assert sorted(f"/{spec.name}" for spec in ours) == containers(client, place)
            await asyncio.gather(*(sandbox.stop(PATIENCE_S) for sandbox in sandboxes))

    patiently(scenario())


def test_exit_is_noticed_if_its_event_is_lost(client: APIClient, place: Place, engine_proxy: EngineProxy) -> None:
    async def scenario() -> None:
        async with connected(through(engine_proxy, place)) as runtime:
            sandbox = await started(runtime, place.spec(WAIT_FOR_SIGTERM), place)
            waiting = asyncio.create_task(sandbox.wait())
            engine_proxy.close()
            client.kill(place.name, signal="SIGTERM")
            client.wait(place.name)
            engine_proxy.open()
            assert (await waiting).code == 3

    patiently(scenario())


def test_container_removed_from_outside_has_ended(client: APIClient, place: Place) -> None:
    async def scenario() -> str:
        async with connected(place) as runtime:
            sandbox = await started(runtime, place.spec(WAIT_FOR_SIGTERM), place)
            await asyncio.to_thread(client.remove_container, place.name, force=True)
            return (await sandbox.wait()).reason

    assert patiently(scenario()) in ("container removed from outside", "killed")


def test_open_network_is_the_network_of_the_settings(place: Place) -> None:
    place = evolve(place, settings={**place.settings, "network": "host"})
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = ("127.0.0.1", server.getsockname()[1])
        run(place, spec=evolve(place.spec(CONNECT.format([address])), network=Network.OPEN))
    assert place.answer() == [list(address)]


def test_proxies_of_the_docker_client_stay_outside(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy in ~/.docker/config.json may hold a password, and docker's client passes it to each new container."""
    proxies = {"default": {"httpProxy": "http://ada:secret@proxy.invalid:3128"}}
    (tmp_path / "config.json").write_text(json.dumps({"proxies": proxies}), encoding="utf-8")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert run(place, "answer(dict(os.environ))").code == 0
    assert not [value for value in place.answer().values() if "proxy.invalid" in value]


def test_image_build_failure_names_its_step(place: Place, docker_address: str, python_image: str) -> None:
    place.home.joinpath("nanoclaw.toml").write_text(
        f'[plugins.docker]\ndocker_host = "{docker_address}"\nbuild_network = "none"\n'
    )
    invocation = SimpleNamespace(home=place.home, as_json=False, environment={})  # as `ncl` hands it to commands
    done = CliRunner().invoke(image, ["build", "--base-image", python_image], obj=invocation, standalone_mode=False)
    assert isinstance(done.exception, SandboxFailed)
    assert "failed (RUN" in str(done.exception)
    assert "FROM ${BASE_IMAGE}" in done.output


def test_image_show_prints_the_needed_image(place: Place, docker_address: str) -> None:
    place.home.joinpath("nanoclaw.toml").write_text(f'[plugins.docker]\ndocker_host = "{docker_address}"\n')
    invocation = SimpleNamespace(home=place.home, as_json=False, environment={})  # as `ncl` hands it to commands
    done = CliRunner().invoke(image, ["show"], obj=invocation, standalone_mode=False)
    assert done.exception is None
    assert "missing: ncl image build" in done.output
    assert "nanoclaw-runner" in done.output

"""What only containers have: images that are missing or stale, names that are taken, events that get lost."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import docker
import pytest
from attrs import evolve
from click.testing import CliRunner
from nanoclaw_runtime_docker.command import image

from nanoclaw_core import Network, SandboxFailed, SandboxRefused
from nanoclaw_core.testing.runtime_place import Place, new_place
from nanoclaw_core.testing.runtime_programs import CONNECT, WAIT_FOR_SIGTERM
from nanoclaw_core.testing.runtime_scenario import connected, patiently, run, started

if TYPE_CHECKING:
    from docker import APIClient

PLUGIN = "nanoclaw_runtime_docker.host"
pytestmark = pytest.mark.docker


@pytest.fixture
def client(docker_address: str) -> Iterator[APIClient]:
    client = docker.APIClient(base_url=docker_address, version="auto")
    yield client
    client.close()


@pytest.fixture
def place(tmp_path: Path, docker_address: str, python_image: str) -> Place:
    return new_place(tmp_path, PLUGIN, {"docker_host": docker_address, "image": python_image})


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
    assert not client.containers(all=True, filters={"label": f"nanoclaw.instance={place.instance_id}"})


def test_a_start_that_is_called_off_leaves_nothing_behind(client: APIClient, place: Place) -> None:
    async def scenario() -> None:
        async with connected(place) as runtime:
            assert (await runtime.check()).ready
            starting = asyncio.create_task(runtime.start(place.spec("import time; time.sleep(600)")))
            await asyncio.sleep(0.02)
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting

    patiently(scenario())
    assert not client.containers(all=True, filters={"label": f"nanoclaw.instance={place.instance_id}"})


def test_an_end_that_no_event_told_of_is_noticed(place: Place, docker_address: str) -> None:
    async def scenario(road: Road) -> None:
        there = evolve(place, settings={**place.settings, "docker_host": road.address})
        async with connected(there) as runtime:
            sandbox = await started(runtime, place.spec(WAIT_FOR_SIGTERM), place)
            waiting = asyncio.create_task(sandbox.wait())
            road.close()
            ended = docker.APIClient(base_url=docker_address, version="auto")
            ended.kill(place.name, signal="SIGTERM")
            ended.wait(place.name)
            ended.close()
            road.open()
            assert (await waiting).code == 3

    with Road(docker_address) as road:
        patiently(scenario(road))


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


class Road:
    """A way to the engine that can be closed: every connection on it breaks, and new ones are hung up on."""

    def __init__(self, address: str) -> None:
        self._target = address.removeprefix("unix://")
        self._directory = tempfile.TemporaryDirectory()
        self._server = socket.socket(socket.AF_UNIX)
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._is_open = True
        self.address = f"unix://{self._directory.name}/road.sock"

    def __enter__(self) -> Road:
        self._server.bind(self.address.removeprefix("unix://"))
        self._server.listen(64)
        self._run(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.close()
        for thread in self._threads:
            thread.join(30)
        for connection in self._connections:
            connection.close()
        self._directory.cleanup()

    def close(self) -> None:
        self._is_open = False
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        self._is_open = True

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            if not self._is_open:
                near.close()
                continue
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._target)
            self._connections += [near, far]
            self._run(_copy, near, far)
            self._run(_copy, far, near)

    def _run(self, function, *arguments: socket.socket) -> None:  # type: ignore[no-untyped-def]  # any function
        thread = threading.Thread(target=function, args=arguments)
        self._threads.append(thread)
        thread.start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)

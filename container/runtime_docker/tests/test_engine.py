"""An engine that is not there, hangs, or says no; nothing of it reaches the event loop (⚠26)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from nanoclaw_runtime_docker.engine import EngineFailed, EngineRefused, address_of, explain

from nanoclaw_core import BuildsImages, GroupId, Packages, SandboxFailed, SandboxRefused
from nanoclaw_core.testing.hosting import until
from nanoclaw_core.testing.runtime_place import new_place
from nanoclaw_core.testing.runtime_scenario import connected, longest_pause, patiently

PLUGIN = "nanoclaw_runtime_docker.host"
GROUP = GroupId("ag-0123456789ab")


@pytest.fixture
def hanging_engine() -> Iterator[str]:
    """An address where connections are taken and never answered."""
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{directory}/docker.sock")
        server.listen(64)
        yield f"unix://{directory}/docker.sock"


def test_warning_26_a_hanging_engine_never_holds_up_the_event_loop(hanging_engine: str, tmp_path: Path) -> None:
    place = new_place(tmp_path, PLUGIN, {"docker_host": hanging_engine, "image": "any", "engine_timeout_s": 1.0})

    async def scenario() -> float:
        async with connected(place) as runtime:
            async with longest_pause() as pauses_s, asyncio.TaskGroup() as group:
                checking = group.create_task(runtime.check())
                for number in range(10):
                    group.create_task(_refused(runtime.start(place.spec("pass", name=f"one-{number}"))))
                group.create_task(_refused(runtime.reap()))
                assert isinstance(runtime, BuildsImages)
                group.create_task(_refused(runtime.build_for(GROUP, Packages(apt=["jq"]), print)))
            readiness = checking.result()
            assert not readiness.ready
            assert "does not answer" in readiness.detail
            return max(pauses_s)

    import docker  # noqa: F401  # a first import is not the engine's doing; it happens in a thread, but holds the lock

    assert patiently(scenario()) < 0.25


def test_a_check_of_a_hanging_engine_answers_within_ten_seconds(hanging_engine: str, tmp_path: Path) -> None:
    place = new_place(tmp_path, PLUGIN, {"docker_host": hanging_engine, "image": "any"})

    async def scenario() -> float:
        async with connected(place) as runtime:
            began = time.monotonic()
            assert not (await runtime.check()).ready
            return time.monotonic() - began

    assert patiently(scenario()) < 10


def test_a_look_at_an_engine_that_hangs_is_in_the_log(
    hanging_engine: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = new_place(tmp_path, PLUGIN, {"docker_host": hanging_engine, "image": "any"})

    async def scenario() -> None:
        async with connected(place) as runtime:
            checking = asyncio.create_task(runtime.check())
            await until(lambda: "waiting for the docker engine" in caplog.messages)
            assert not checking.done()
            checking.cancel()
            await asyncio.wait([checking])

    patiently(scenario())


def test_an_engine_that_is_not_there_is_refused_with_what_to_do(tmp_path: Path) -> None:
    place = new_place(tmp_path, PLUGIN, {"docker_host": f"unix://{tmp_path}/none.sock", "image": "any"})

    async def scenario() -> None:
        async with connected(place) as runtime:
            readiness = await runtime.check()
            assert (readiness.ready, readiness.isolates) == (False, True)
            assert "Install and start Docker" in readiness.remedy
            with pytest.raises(SandboxRefused, match="Install and start Docker"):
                await runtime.start(place.spec("pass"))

    patiently(scenario())


def test_an_engine_that_went_away_may_come_back(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"{directory}/docker.sock")
        place = new_place(tmp_path, PLUGIN, {"docker_host": f"unix://{directory}/docker.sock", "image": "any"})

        async def scenario() -> None:
            async with connected(place) as runtime:
                with pytest.raises(SandboxFailed, match="nothing answers"):
                    await runtime.start(place.spec("pass"))

        patiently(scenario())


def test_a_socket_that_we_may_not_use_names_the_group() -> None:
    wrapped = RuntimeError(
        "Error while fetching server API version", ("Connection aborted.", PermissionError(13, "no"))
    )
    told = explain(wrapped, "unix:///var/run/docker.sock")
    assert isinstance(told, EngineRefused)
    assert "docker group" in told.remedy


def test_what_an_engine_says_is_passed_on() -> None:
    told = explain(RuntimeError("no space left on device"), "unix:///var/run/docker.sock")
    assert isinstance(told, EngineFailed)
    assert "no space left on device" in str(told)


def test_the_address_is_that_of_the_environment() -> None:
    assert address_of({"DOCKER_HOST": "tcp://10.0.0.1:2375"}) == "tcp://10.0.0.1:2375"


def test_the_address_is_that_of_the_chosen_docker_context(tmp_path: Path) -> None:
    metadata = tmp_path / "contexts" / "meta" / hashlib.sha256(b"far").hexdigest() / "meta.json"
    metadata.parent.mkdir(parents=True)
    far = {"Name": "far", "Metadata": {}, "Endpoints": {"docker": {"Host": "tcp://10.0.0.1:2375"}}}
    metadata.write_text(json.dumps(far))
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": "far"}))
    assert _looked_up(DOCKER_CONFIG=str(tmp_path)) == "tcp://10.0.0.1:2375 with the SDK"


def test_without_a_chosen_context_the_sdk_is_not_loaded_to_look_for_the_address(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"auths": {}}')
    assert _looked_up(DOCKER_CONFIG=str(tmp_path)).endswith(".sock without it")


def test_a_rootless_engine_is_found_in_the_runtime_directory(tmp_path: Path) -> None:
    if os.path.exists("/var/run/docker.sock"):  # noqa: PTH110
        pytest.skip("this machine has an engine in the first usual place")
    (tmp_path / "podman").mkdir()
    (tmp_path / "podman" / "podman.sock").touch()
    assert address_of({"XDG_RUNTIME_DIR": str(tmp_path)}) == f"unix://{tmp_path}/podman/podman.sock"


def _looked_up(**environment: str) -> str:
    """Return the address that a fresh process finds, and whether it loaded the SDK for that."""
    program = (
        "import os, sys; from nanoclaw_runtime_docker.engine import address_of; "
        "print(address_of(os.environ), 'with the SDK' if 'docker' in sys.modules else 'without it')"
    )
    usual = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
    done = subprocess.run(
        [sys.executable, "-c", program], env=usual | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


async def _refused(call) -> None:  # type: ignore[no-untyped-def]  # any awaitable
    with contextlib.suppress(SandboxFailed):
        await call

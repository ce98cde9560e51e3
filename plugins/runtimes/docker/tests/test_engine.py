"""Missing, hanging and refusing engines; no call blocks the event loop (⚠26)."""

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
    """The address of a socket that accepts connections and never answers."""
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{directory}/docker.sock")
        server.listen(64)
        yield f"unix://{directory}/docker.sock"


@pytest.mark.defect(number=26)
def test_hanging_engine_never_blocks_the_event_loop(hanging_engine: str, tmp_path: Path) -> None:
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

    import docker  # noqa: F401  # now: the first import runs in a thread but holds the interpreter's lock

    assert patiently(scenario()) < 0.25


def test_check_of_a_hanging_engine_ends_within_ten_seconds(hanging_engine: str, tmp_path: Path) -> None:
    place = new_place(tmp_path, PLUGIN, {"docker_host": hanging_engine, "image": "any"})

    async def scenario() -> float:
        async with connected(place) as runtime:
            began = time.monotonic()
            assert not (await runtime.check()).ready
            return time.monotonic() - began

    assert patiently(scenario()) < 10


def test_slow_query_is_logged(hanging_engine: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = new_place(tmp_path, PLUGIN, {"docker_host": hanging_engine, "image": "any"})

    async def scenario() -> None:
        async with connected(place) as runtime:
            checking = asyncio.create_task(runtime.check())
            await until(lambda: "waiting for the docker engine" in caplog.messages)
            assert not checking.done()
            checking.cancel()
            await asyncio.wait([checking])

    patiently(scenario())


def test_missing_engine_is_refused_with_a_remedy(tmp_path: Path) -> None:
    place = new_place(tmp_path, PLUGIN, {"docker_host": f"unix://{tmp_path}/none.sock", "image": "any"})

    async def scenario() -> None:
        async with connected(place) as runtime:
            readiness = await runtime.check()
            assert (readiness.ready, readiness.isolates) == (False, True)
            assert "Install and start Docker" in readiness.remedy
            with pytest.raises(SandboxRefused, match="Install and start Docker"):
                await runtime.start(place.spec("pass"))

    patiently(scenario())


def test_stopped_engine_is_a_failure_and_no_refusal(tmp_path: Path) -> None:
    """The engine may come back, so the host retries."""
    with tempfile.TemporaryDirectory() as directory:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"{directory}/docker.sock")
        place = new_place(tmp_path, PLUGIN, {"docker_host": f"unix://{directory}/docker.sock", "image": "any"})

        async def scenario() -> None:
            async with connected(place) as runtime:
                with pytest.raises(SandboxFailed, match="nothing answers"):
                    await runtime.start(place.spec("pass"))

        patiently(scenario())


def test_forbidden_socket_is_explained_with_the_docker_group() -> None:
    wrapped = RuntimeError(
        "Error while fetching server API version", ("Connection aborted.", PermissionError(13, "no"))
    )
    explained = explain(wrapped, "unix:///var/run/docker.sock")
    assert isinstance(explained, EngineRefused)
    assert "docker group" in explained.remedy


def test_engine_message_is_part_of_the_error() -> None:
    explained = explain(RuntimeError("no space left on device"), "unix:///var/run/docker.sock")
    assert isinstance(explained, EngineFailed)
    assert "no space left on device" in str(explained)


def test_address_comes_from_docker_host() -> None:
    assert address_of({"DOCKER_HOST": "tcp://10.0.0.1:2375"}) == "tcp://10.0.0.1:2375"


def test_address_comes_from_the_current_docker_context(tmp_path: Path) -> None:
    metadata = tmp_path / "contexts" / "meta" / hashlib.sha256(b"far").hexdigest() / "meta.json"
    metadata.parent.mkdir(parents=True)
    far = {"Name": "far", "Metadata": {}, "Endpoints": {"docker": {"Host": "tcp://10.0.0.1:2375"}}}
    metadata.write_text(json.dumps(far))
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": "far"}))
    assert _address_in_a_process(DOCKER_CONFIG=str(tmp_path)) == "tcp://10.0.0.1:2375 with the SDK"


def test_address_without_a_context_loads_no_sdk(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"auths": {}}')
    assert _address_in_a_process(DOCKER_CONFIG=str(tmp_path)).endswith(".sock without it")


def test_address_of_a_rootless_engine_is_found(tmp_path: Path) -> None:
    if os.path.exists("/var/run/docker.sock"):  # noqa: PTH110
        pytest.skip("this machine has an engine in the first usual place")
    (tmp_path / "podman").mkdir()
    (tmp_path / "podman" / "podman.sock").touch()
    assert address_of({"XDG_RUNTIME_DIR": str(tmp_path)}) == f"unix://{tmp_path}/podman/podman.sock"


def _address_in_a_process(**environment: str) -> str:
    """Return the address that a new process finds, and whether that loaded the SDK."""
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

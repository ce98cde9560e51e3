"""The real Dockerfile, built on a Debian made here, and a sandbox in it."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import docker
import pytest
from debian_base import make_debian, trust
from nanoclaw_runtime_docker.adapter import DockerRuntime
from nanoclaw_runtime_docker.build import BuildStep
from nanoclaw_runtime_docker.recipe import recipe_of
from nanoclaw_runtime_docker.settings import Settings

from nanoclaw_core import SandboxFailed, SandboxPart
from nanoclaw_core.testing.runtime_place import new_place

PARTS = (SandboxPart(name="sample", apt=["jq"], pip=["iniconfig"], environment={"SAMPLE": "yes"}),)
SAY_WHAT_IS_THERE = (
    "import importlib.util, iniconfig, nanoclaw_runner, nanoclaw_wire, subprocess\n"
    "answer([os.getuid(), subprocess.run(['jq', '-n', '1+1'], capture_output=True, text=True).stdout.strip(),"
    " os.environ['SAMPLE'], importlib.util.find_spec('nanoclaw_core') is None])\n"
)

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.fixture(scope="module")
def base_image(docker_address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Debian with Python; made once, because it takes a minute."""
    if shutil.which("debootstrap") is None or os.geteuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("CI needs debootstrap, and root to run it")
        pytest.skip("needs debootstrap, and root to run it")
    work = tmp_path_factory.mktemp("debian")
    try:
        debian = make_debian(docker_address, "nanoclaw-test:debian", work)
        yield trust(docker_address, debian, "nanoclaw-test:debian-trusting", os.environ)
    finally:
        shutil.rmtree(work / "root", ignore_errors=True)  # files of another user: pytest's own clean-up gives up there


@pytest.fixture
def settings(docker_address: str, base_image: str) -> Settings:
    # The engine of the tests has no bridge; a build on an engine with one needs no such setting.
    return Settings(docker_host=docker_address, base_image=base_image, build_network="host")


def test_the_image_is_built_with_what_plugins_ask_for_and_a_sandbox_runs_in_it(
    settings: Settings, tmp_path: Path
) -> None:
    place = new_place(tmp_path, "nanoclaw_runtime_docker.host", attrs.asdict(settings))
    steps: list[BuildStep] = []

    async def scenario() -> None:
        runtime = DockerRuntime(settings, place.context(), PARTS)
        try:
            before = await runtime.check()
            assert (before.ready, before.remedy) == (False, "Build it: ncl image build")
            image = await runtime.build(steps.append)
            after = await runtime.check()
            assert after.ready, after
            assert image in after.detail
            sandbox = await runtime.start(place.spec(SAY_WHAT_IS_THERE))
            ended = await sandbox.wait()
            assert ended.code == 0, ended
        finally:
            await runtime.close()

    asyncio.run(scenario())
    assert place.answer() == [1000, "2", "yes", True]
    assert [step.number for step in steps if step.is_new] == list(range(1, steps[-1].count + 1))
    _remove(settings, PARTS)


def test_a_failing_build_says_which_step_failed_and_why(settings: Settings, tmp_path: Path) -> None:
    place = new_place(tmp_path, "nanoclaw_runtime_docker.host", {})
    parts = [SandboxPart(name="sample", apt=["no-such-package-anywhere"])]

    async def scenario() -> None:
        runtime = DockerRuntime(settings, place.context(), parts)
        try:
            with pytest.raises(SandboxFailed, match=r"(?s)step .* failed .*no-such-package-anywhere"):
                await runtime.build(lambda _step: None)
        finally:
            await runtime.close()

    asyncio.run(scenario())


def _remove(settings: Settings, parts: Sequence[SandboxPart]) -> None:
    """Take the image away again; an engine that was there before the tests is left as it was."""
    client = docker.APIClient(base_url=settings.docker_host, version="auto")
    client.remove_image(recipe_of(parts, settings.base_image).image, force=True)
    client.close()

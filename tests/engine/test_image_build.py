"""The real Dockerfile, built on a Debian made by mmdebstrap, and a sandbox in the image."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import docker
import nanoclaw_resource_configs.host as configs
import nanoclaw_runtime_docker.host as docker_runtime
import pytest
from attrs import frozen
from debian_base import make_debian, trust
from nanoclaw_runtime_docker.adapter import DockerRuntime
from nanoclaw_runtime_docker.build import BuildStep
from nanoclaw_runtime_docker.group_recipe import GROUP_REPOSITORY
from nanoclaw_runtime_docker.settings import Settings
from registry_host import client

from nanoclaw_core import Readiness, SandboxFailed, SandboxRequirements
from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.runtime_place import Place, new_place

PLUGIN = "nanoclaw_runtime_docker.host"
REQUIREMENTS = (SandboxRequirements(name="sample", apt=["jq"], pip=["iniconfig"], environment={"SAMPLE": "yes"}),)
REPORT_CONTENTS = (
    "import importlib.util, iniconfig, nanoclaw_runner, nanoclaw_wire, subprocess\n"
    "answer([os.getuid(), subprocess.run(['jq', '-n', '1+1'], capture_output=True, text=True).stdout.strip(),"
    " os.environ['SAMPLE'], importlib.util.find_spec('nanoclaw_core') is None])\n"
)

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.fixture(scope="module")
def base_image(docker_address: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Debian with Python, made once per module because it takes half a minute."""
    if shutil.which("mmdebstrap") is None or os.geteuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("CI needs mmdebstrap, and root to run it")
        pytest.skip("needs mmdebstrap, and root to run it")
    log = tmp_path_factory.mktemp("debian") / "mmdebstrap.log"
    debian = make_debian(docker_address, "nanoclaw-test:debian", log)
    return trust(docker_address, debian, "nanoclaw-test:debian-trusting", os.environ)


@pytest.fixture(scope="module")
def settings(docker_address: str, base_image: str) -> Settings:
    # The engine of the tests has no bridge, so a build uses the host's network.
    return Settings(docker_host=docker_address, base_image=base_image, build_network="host")


@frozen(kw_only=True)
class Built:
    """The agent image, the steps of its build, and the runtime's readiness before and after."""

    image: str
    before: Readiness
    steps: Sequence[BuildStep]
    after: Readiness


@pytest.fixture(scope="module")
def built(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    steps: list[BuildStep] = []

    async def scenario() -> Built:
        async with runtime_of(new_place(tmp_path_factory.mktemp("built"), PLUGIN, {}), settings) as runtime:
            before = await runtime.check()
            image = await runtime.build(steps.append)
            return Built(image=image, before=before, steps=steps, after=await runtime.check())

    built = asyncio.run(scenario())
    yield built
    _remove(settings, built.image)


@pytest.fixture
def with_image(settings: Settings, built: Built) -> Settings:
    return attrs.evolve(settings, image=built.image)


@contextlib.asynccontextmanager
async def runtime_of(
    place: Place, settings: Settings, requirements: Sequence[SandboxRequirements] = REQUIREMENTS
) -> AsyncIterator[DockerRuntime]:
    runtime = DockerRuntime(settings, place.context(), requirements)
    try:
        yield runtime
    finally:
        await runtime.close()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return new_place(tmp_path, PLUGIN, {})


def answer_in(place: Place, settings: Settings, code: str, image: str | None = None) -> Any:
    """Run a sandbox and return its answer."""

    async def scenario() -> None:
        async with runtime_of(place, settings) as runtime:
            sandbox = await runtime.start(attrs.evolve(place.spec(code), image=image))
            ended = await sandbox.wait()
            assert ended.code == 0, ended

    asyncio.run(scenario())
    return place.answer()


def test_built_image_has_the_packages_and_runs_a_sandbox(with_image: Settings, built: Built, place: Place) -> None:
    assert (built.before.ready, built.before.remedy) == (False, "Build it: ncl image build")
    assert built.after.ready, built.after
    assert built.image in built.after.detail
    assert [step.number for step in built.steps if step.is_new] == list(range(1, built.steps[-1].count + 1))
    assert answer_in(place, with_image, REPORT_CONTENTS) == [1000, "2", "yes", True]


def test_failed_build_names_its_step_and_reason(settings: Settings, place: Place) -> None:
    requirements = [SandboxRequirements(name="sample", apt=["no-such-package-anywhere"])]

    async def scenario() -> None:
        async with runtime_of(place, settings, requirements) as runtime:
            with pytest.raises(SandboxFailed, match=r"(?s)step .* failed .*no-such-package-anywhere"):
                await runtime.build(lambda _step: None)

    asyncio.run(scenario())


def test_group_image_adds_packages_and_survives_a_failed_build(
    with_image: Settings, place: Place, nanoclaw_instance: Instance
) -> None:
    """The group keeps the image of its last good build.

    People are answered during a build.
    """
    nanoclaw_instance.wire()
    nanoclaw_instance.configure(
        "docker",
        docker_host=with_image.docker_host,
        image=with_image.image,
        base_image=with_image.base_image,
        build_network="host",
    )
    group = nanoclaw_instance.group().id

    async def scenario() -> tuple[str, str, Asked]:
        async with (
            running_host(nanoclaw_instance, configs=configs, docker=docker_runtime) as running,
            client(nanoclaw_instance) as ncl,
        ):
            await running.channel.say("one")
            await running.channel.texts(1)
            await ncl.data("groups", "config", "add-package", group, pip="roman")
            rebuilding = asyncio.create_task(ask(nanoclaw_instance, "groups", "restart", group, rebuild=True))
            await running.channel.say("two")
            assert (await running.channel.texts(2))[1] == "echo: two"
            assert not rebuilding.done()  # people are answered during the build
            rebuilt = await rebuilding
            image = rebuilt.answer["data"]["rebuilt"]
            # apt alone would read the second name as a pattern that matches python3.
            await ncl.data("groups", "config", "add-package", group, apt=["no-such-package", "p.thon3"])
            failed = await ask(nanoclaw_instance, "groups", "restart", group, rebuild=True)
            assert (await ncl.data("groups", "config", "get", group))["image_tag"] == image
            return image, failed.answer["error"]["message"], rebuilt

    image, message, rebuilt = asyncio.run(scenario())
    try:
        assert _users(with_image, GROUP_REPOSITORY) == {image: "1000:1000"}
        assert rebuilt.answer["data"]["restarted"] == [nanoclaw_instance.sessions()[0].id]
        assert any("RUN set -eu; cd /tmp/nanoclaw; python -m pip" in line for line in rebuilt.progress)
        assert re.search(r"was not built: step \d+/\d+ failed \(RUN set -eu; apt-get update;", message)
        assert "    there is no Debian package named no-such-package\n" in message
        assert "    there is no Debian package named p.thon3\n" in message
        code = "import roman, nanoclaw_runner; answer(roman.toRoman(42))"
        assert answer_in(place, with_image, code, image) == "XLII"
    finally:
        _remove(with_image, image)


@frozen(kw_only=True)
class Asked:
    """The lines of progress and the answer that came over the control socket."""

    progress: Sequence[str]
    answer: dict[str, Any]


async def ask(instance: Instance, *words: str, **options: Any) -> Asked:
    """Run a verb over the control socket, without a time limit."""
    reader, writer = await asyncio.open_unix_connection(str(instance.paths.control_socket))
    with contextlib.closing(writer):
        writer.write(json.dumps({"id": "1", "words": words, "options": options}).encode() + b"\n")
        frames: list[dict[str, Any]] = []
        while not frames or "ok" not in frames[-1]:
            frames.append(json.loads(await reader.readline()))
    return Asked(progress=[frame["progress"] for frame in frames[:-1]], answer=frames[-1])


def _users(settings: Settings, repository: str) -> dict[str, str]:
    """Return the user of each image of a repository."""
    with contextlib.closing(docker.APIClient(base_url=settings.docker_host, version="auto")) as client:
        tags = [tag for image in client.images(repository) for tag in image["RepoTags"] or ()]
        return {tag: client.inspect_image(tag)["Config"]["User"] for tag in tags}


def _remove(settings: Settings, image: str) -> None:
    """Remove an image, so that the tests leave an existing engine unchanged."""
    with contextlib.closing(docker.APIClient(base_url=settings.docker_host, version="auto")) as client:
        client.remove_image(image, force=True)

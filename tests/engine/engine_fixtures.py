"""pytest fixtures of Docker engines and of bubblewrap."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import docker_engine
import pytest
from python_image import make_image
from restartable_engine import RestartableEngine, restartable_engine

IMAGE = "nanoclaw-test:python"
DISTRIBUTIONS = ("nanoclaw-wire", "nanoclaw-client", "nanoclaw-runner", "nanoclaw-provider-mock[runner]")


@pytest.fixture(scope="session")
def docker_address() -> Iterator[str]:
    """The address of a Docker engine.

    Without an engine, skip the test, or fail it in CI.
    """
    in_ci = os.environ.get("CI") == "true"
    try:
        if in_ci:
            docker_engine.install_missing()
        with docker_engine.engine(os.environ) as address:
            yield address
    except docker_engine.NoEngine as error:
        if in_ci:
            pytest.fail(f"CI needs a Docker engine: {error}")
        pytest.skip(f"needs Docker: {error}")


@pytest.fixture(scope="session")
def engine_to_kill() -> Iterator[RestartableEngine]:
    """An engine with `IMAGE` that tests may kill. Each test leaves it running."""
    in_ci = os.environ.get("CI") == "true"
    try:
        if in_ci:
            docker_engine.install_missing()
        with restartable_engine() as engine:
            make_image(engine.address, IMAGE, DISTRIBUTIONS)
            yield engine
    except docker_engine.NoEngine as error:
        if in_ci:
            pytest.fail(f"CI needs a Docker engine that can be killed: {error}")
        pytest.skip(f"needs Docker: {error}")


@pytest.fixture(scope="session")
def python_image(docker_address: str) -> str:
    """The name of an image with Python as its entry point, the wire, the runner and the mock provider."""
    return make_image(docker_address, IMAGE, DISTRIBUTIONS)


@pytest.fixture(scope="session")
def claude_image(docker_address: str) -> str:
    """The name of an image that also has the claude provider and its program."""
    return make_image(docker_address, "nanoclaw-test:claude", (*DISTRIBUTIONS, "nanoclaw-provider-claude[runner]"))


@pytest.fixture(autouse=True)
def _require_marked_programs(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("bubblewrap"):
        request.getfixturevalue("bubblewrap")


@pytest.fixture(scope="session")
def bubblewrap() -> None:
    """Require bubblewrap. Without it, skip the test, or fail it in CI."""
    probe = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"]
    try:
        done = subprocess.run(probe, capture_output=True, text=True, check=False)
        problem = "" if done.returncode == 0 else done.stderr
    except OSError as error:
        problem = str(error)
    if problem and os.environ.get("CI") == "true":
        pytest.fail(f"CI needs bubblewrap: {problem}")
    if problem:
        pytest.skip(f"needs bubblewrap: {problem}")

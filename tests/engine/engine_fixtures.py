"""pytest fixtures around the Docker engine for tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import docker_engine
import pytest
from mortal_engine import MortalEngine, mortal_engine
from python_image import make_image

IMAGE = "nanoclaw-test:python"
DISTRIBUTIONS = ("nanoclaw-wire", "nanoclaw-client", "nanoclaw-runner", "nanoclaw-provider-mock[runner]")


@pytest.fixture(scope="session")
def docker_address() -> Iterator[str]:
    """The address of a Docker engine; without one the test is skipped, and in CI it fails."""
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
def engine_to_kill() -> Iterator[MortalEngine]:
    """An engine that tests kill and leave running again, with `IMAGE` in it."""
    in_ci = os.environ.get("CI") == "true"
    try:
        if in_ci:
            docker_engine.install_missing()
        with mortal_engine() as engine:
            make_image(engine.address, IMAGE, DISTRIBUTIONS)
            yield engine
    except docker_engine.NoEngine as error:
        if in_ci:
            pytest.fail(f"CI needs a Docker engine that can be killed: {error}")
        pytest.skip(f"needs Docker: {error}")


@pytest.fixture(scope="session")
def python_image(docker_address: str) -> str:
    """The name of an image whose entry point is Python, with the wire, the runner and the mock provider."""
    return make_image(docker_address, IMAGE, DISTRIBUTIONS)


@pytest.fixture(scope="session")
def claude_image(docker_address: str) -> str:
    """The same with the claude provider and the program it brings."""
    return make_image(docker_address, "nanoclaw-test:claude", (*DISTRIBUTIONS, "nanoclaw-provider-claude[runner]"))


@pytest.fixture(autouse=True)
def _needs_what_its_marker_says(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("bubblewrap"):
        request.getfixturevalue("bubblewrap")


@pytest.fixture(scope="session")
def bubblewrap() -> None:
    """Insists on bubblewrap; without it the test is skipped, and in CI it fails."""
    probe = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"]
    try:
        found = subprocess.run(probe, capture_output=True, text=True, check=False)
        problem = "" if found.returncode == 0 else found.stderr
    except OSError as error:
        problem = str(error)
    if problem and os.environ.get("CI") == "true":
        pytest.fail(f"CI needs bubblewrap: {problem}")
    if problem:
        pytest.skip(f"needs bubblewrap: {problem}")

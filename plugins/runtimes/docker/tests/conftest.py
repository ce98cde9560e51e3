"""Fixtures of the container tests: a client of the engine, and a place to run sandboxes in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker import APIClient

from nanoclaw_core.testing.runtime_place import Place, new_place

PLUGIN = "nanoclaw_runtime_docker.host"


@pytest.fixture
def client(docker_address: str) -> Iterator[APIClient]:
    client = docker.APIClient(base_url=docker_address, version="auto")
    yield client
    client.close()


@pytest.fixture
def place(tmp_path: Path, docker_address: str, python_image: str) -> Place:
    return new_place(tmp_path, PLUGIN, {"docker_host": docker_address, "image": python_image})

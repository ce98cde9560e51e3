"""The runtime contract on containers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from nanoclaw_core.testing.runtime_contract import RuntimeContract


@pytest.mark.docker
class TestDocker(RuntimeContract):
    """The whole contract."""

    plugin = "nanoclaw_runtime_docker.host"

    @pytest.fixture
    def settings(self, docker_address: str, python_image: str) -> Mapping[str, Any]:
        return {"docker_host": docker_address, "image": python_image}

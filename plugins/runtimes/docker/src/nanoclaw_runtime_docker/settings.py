"""[plugins.docker] in nanoclaw.toml."""

from __future__ import annotations

from attrs import field, frozen

from nanoclaw_core import between

DEFAULT_BASE_IMAGE = "python:3.12-slim-bookworm"


@frozen(kw_only=True)
class Settings:
    """The operator's settings of the docker runtime.

    Args:
        docker_host: The engine's address. Empty: $DOCKER_HOST, the current docker context, or the usual socket.
        image: An image to use instead of the one that `ncl image build` builds. Its entry point must be Python, and it
            must have the runner.
        base_image: The image on which the agent image is built.
        memory_mb: The most memory that a sandbox gets, in units of 2^20 bytes, even if its group asks for more.
        cpus: The most processors that a sandbox gets, even if its group asks for more.
        pids: The most processes that a sandbox gets, even if its group asks for more.
        network: The engine's network for agents with an open network.
        temporary_mb: The size limit of the sandbox's /tmp and of its home, each. Both count as its memory.
        pip_index_url: The index for Python packages during a build. Empty: the base image's default.
        pip_extra_index_url: A second index for Python packages.
        pip_trusted_host: A host that pip trusts without checking its certificate.
        npm_registry: The registry for npm packages during a build. Empty: the base image's default.
        build_network: The engine's network during a build. Empty: the engine's default.
        build_timeout_s: Seconds without output after which a build has failed.
        engine_timeout_s: Seconds without an answer after which a request to the engine has failed.
    """

    docker_host: str = ""
    image: str = ""
    base_image: str = DEFAULT_BASE_IMAGE
    memory_mb: int | None = field(default=None, validator=between(64, 16_777_216))
    cpus: float | None = field(default=None, validator=between(0.01, 1_024))
    pids: int | None = field(default=None, validator=between(16, 4_194_304))
    network: str = "bridge"
    temporary_mb: int = field(default=1024, validator=between(16, 1_048_576))
    pip_index_url: str = ""
    pip_extra_index_url: str = ""
    pip_trusted_host: str = ""
    npm_registry: str = ""
    build_network: str = ""
    build_timeout_s: float = field(default=900.0, validator=between(1, 86_400))
    engine_timeout_s: float = field(default=60.0, validator=between(0.1, 3_600))

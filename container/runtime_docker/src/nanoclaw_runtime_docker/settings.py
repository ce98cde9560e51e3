"""[plugins.docker] in nanoclaw.toml."""

from __future__ import annotations

import attrs
from attrs import field, frozen

DEFAULT_BASE_IMAGE = "python:3.12-slim-bookworm"


@frozen(kw_only=True)
class Settings:
    """What an operator may choose.

    Args:
        docker_host: The engine's address; empty takes $DOCKER_HOST, the current docker context, or the usual socket.
        image: An image to use instead of the one that `ncl image build` makes; its entry point must be Python, with the
            runner installed.
        base_image: What the image is built on.
        memory_mb: No sandbox gets more, in units of 2^20 bytes, whatever its group says.
        cpus: No sandbox gets more processors' time, likewise.
        pids: No sandbox gets more processes, likewise.
        network: The engine's network for agents that are given an open one.
        temporary_mb: How large the sandbox's /tmp and home may grow, each; they live in its memory.
        pip_index_url: Where a build gets Python packages; empty leaves it to the base image.
        pip_extra_index_url: A second such place.
        pip_trusted_host: A host that pip takes packages from without checking its certificate.
        npm_registry: Where a build gets npm packages; empty leaves it to the base image.
        build_network: The engine's network during a build; empty leaves it to the engine.
        build_timeout_s: A build that says nothing for so many seconds has failed.
        engine_timeout_s: An engine that does not answer a request within so many seconds is taken for broken.
    """

    docker_host: str = ""
    image: str = ""
    base_image: str = DEFAULT_BASE_IMAGE
    memory_mb: int | None = field(default=None, validator=attrs.validators.optional(attrs.validators.ge(64)))
    cpus: float | None = field(default=None, validator=attrs.validators.optional(attrs.validators.gt(0)))
    pids: int | None = field(default=None, validator=attrs.validators.optional(attrs.validators.ge(16)))
    network: str = "bridge"
    temporary_mb: int = field(default=1024, validator=attrs.validators.ge(16))
    pip_index_url: str = ""
    pip_extra_index_url: str = ""
    pip_trusted_host: str = ""
    npm_registry: str = ""
    build_network: str = ""
    build_timeout_s: float = 900.0
    engine_timeout_s: float = field(default=60.0, validator=attrs.validators.gt(0))

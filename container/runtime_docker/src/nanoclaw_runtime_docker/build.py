"""Building the agent image: the context, the build, and its progress. Blocks; for threads and the command line."""

from __future__ import annotations

import io
import re
import tarfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from attrs import field, frozen
from nanoclaw_wire import PROTOCOL

from nanoclaw_core import SandboxFailed
from nanoclaw_runtime_docker.container import PROTOCOL_LABEL
from nanoclaw_runtime_docker.distributions import Ingredient, Kind, pack_wheel, source_files
from nanoclaw_runtime_docker.engine import Engine, explain
from nanoclaw_runtime_docker.recipe import Recipe
from nanoclaw_runtime_docker.settings import Settings

KEPT_LINES = 20
_STEP = re.compile(r"step (\d+)/(\d+) ?: (.*)", re.IGNORECASE)


@frozen(kw_only=True)
class BuildStep:
    """How far a build is.

    Args:
        number: Of the step under way, from 1; 0 before the first.
        line: What was said last; of a new step, its instruction.
        is_new: True where a step begins.
        elapsed_s: Since the build began, in seconds.
    """

    number: int
    count: int
    line: str
    is_new: bool
    elapsed_s: float


Progress = Callable[[BuildStep], Any]


@frozen
class _Log:
    """The build's words as they come."""

    progress: Progress
    began: float = field(factory=time.monotonic)
    kept: deque[str] = field(factory=lambda: deque(maxlen=KEPT_LINES))

    def follow(self, stream: Iterator[Mapping[str, Any]], image: str) -> None:
        number, count, instruction = 0, 0, ""
        for message in stream:
            if "error" in message:
                raise SandboxFailed(_failure(image, number, count, instruction, [*self.kept, str(message["error"])]))
            for line in str(message.get("stream") or message.get("status") or "").splitlines():
                found = _STEP.match(line)
                if found:
                    number, count, instruction = int(found[1]), int(found[2]), found[3]
                    self.kept.clear()
                elif line.strip():
                    self.kept.append(line.rstrip())
                if line.strip():
                    self._tell(number, count, instruction if found else line.strip(), is_new=bool(found))

    def _tell(self, number: int, count: int, line: str, *, is_new: bool) -> None:
        elapsed_s = time.monotonic() - self.began
        self.progress(BuildStep(number=number, count=count, line=line, is_new=is_new, elapsed_s=elapsed_s))


def build_image(engine: Engine, recipe: Recipe, settings: Settings, progress: Progress) -> None:
    """Build the recipe's image under its tag; `progress` is called in this thread.

    Raises:
        SandboxRefused: There is no engine.
        SandboxFailed: A step failed; the message has the step and the end of what it said.
    """
    try:
        client = engine.connect(settings.build_timeout_s)
    except Exception as error:  # the SDK lets errors of three libraries through; each is told in our words
        raise explain(error, engine.address) from error
    answers: list[Any] = []
    client.hooks["response"].append(lambda answer, **_options: answers.append(answer))
    try:
        stream = client.build(
            fileobj=io.BytesIO(context(recipe)),
            custom_context=True,
            tag=recipe.image,
            buildargs=build_arguments(recipe, settings),
            labels={"nanoclaw.parts": recipe.tag, PROTOCOL_LABEL: str(PROTOCOL)},
            network_mode=settings.build_network or None,
            rm=True,
            forcerm=True,
            decode=True,
        )
        _Log(progress).follow(stream, recipe.image)
    except SandboxFailed:
        raise
    except Exception as error:  # the SDK lets errors of three libraries through; each is told in our words
        raise explain(error, engine.address) from error
    finally:
        for answer in answers:
            answer.close()  # the SDK forgets the stream's connection, and closing the client does not reach it
        client.close()


def build_arguments(recipe: Recipe, settings: Settings) -> dict[str, str]:
    """Return the build arguments that somebody set."""
    arguments = {
        "BASE_IMAGE": recipe.base_image,
        "PIP_INDEX_URL": settings.pip_index_url,
        "PIP_EXTRA_INDEX_URL": settings.pip_extra_index_url,
        "PIP_TRUSTED_HOST": settings.pip_trusted_host,
        "NPM_CONFIG_REGISTRY": settings.npm_registry,
    }
    return {name: value for name, value in arguments.items() if value}


def context(recipe: Recipe) -> bytes:
    """Return the build context, a tar file."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        _add(tar, "Dockerfile", recipe.dockerfile.encode())
        _add(tar, "apt.txt", _lines(recipe.apt))
        _add(tar, "npm.txt", _lines(recipe.npm))
        _add(tar, "requirements.txt", _lines([*(one.requirement for one in recipe.ingredients), *recipe.pip]))
        for name in ("wheels", "sources"):  # COPY wants them to be there, also empty
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(directory)
        for one in recipe.ingredients:
            _add_ingredient(tar, one)
    return content.getvalue()


def _add_ingredient(tar: tarfile.TarFile, one: Ingredient) -> None:
    if one.kind is Kind.PURE:
        _add(tar, f"wheels/{one.wheel_name}", pack_wheel(one.name))
    elif one.source is not None:
        for name, path in source_files(one.source):
            _add(tar, f"sources/{one.name}/{name}", path.read_bytes())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)  # no times and no owners: the same content is the same layer
    entry.size, entry.mode = len(data), 0o644
    tar.addfile(entry, io.BytesIO(data))


def _lines(lines: Any) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _failure(image: str, number: int, count: int, instruction: str, said: list[str]) -> str:
    last = "\n".join(f"    {line}" for line in said if line)
    return f"{image} was not built: step {number}/{count} failed ({instruction})\n{last}"

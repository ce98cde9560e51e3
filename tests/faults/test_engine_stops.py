"""The engine is stopped and started again, with sandboxes in it and before there were any (I3, I4)."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import nanoclaw_provider_mock.host as mock
import nanoclaw_runtime_docker.host as docker
import pytest
from engine_fixtures import IMAGE
from restartable_engine import RestartableEngine

from nanoclaw_core.testing.hosting import Running, running_host, until
from nanoclaw_core.testing.instance import Instance, make_instance

pytestmark = pytest.mark.docker


@pytest.fixture
def engine(engine_to_kill: RestartableEngine) -> Iterator[RestartableEngine]:
    """An engine that a test may leave as it likes."""
    engine_to_kill.start()
    yield engine_to_kill
    engine_to_kill.keeps_containers = False
    engine_to_kill.start()


@pytest.fixture
def instance(short_directory: Path, engine: RestartableEngine) -> Iterator[Instance]:
    made = make_instance(short_directory / "home", provider="mock", runtime="docker", start_pauses_s=[0.2])
    made.configure("docker", docker_host=engine.address, image=IMAGE)
    made.configure("mock", echo=True)
    made.wire()
    yield made
    made.db.close()


@asynccontextmanager
async def a_host(instance: Instance) -> AsyncIterator[Running]:
    """Run a host whose sweep comes round all the time: nobody has to wait a minute for it."""
    async with running_host(instance, docker=docker, mock=mock) as running:

        async def sweep() -> None:
            while True:
                await running.host.components.sweeper.once()
                await asyncio.sleep(0.2)

        sweeping = asyncio.create_task(sweep())
        try:
            yield running
        finally:
            sweeping.cancel()


async def answer(running: Running, words: str) -> None:
    """Wait until somebody answered these words."""
    await until(lambda: times(running, words))


def times(running: Running, words: str) -> int:
    return sum(words in one.message.text for one in running.channel.delivered)


def test_invariant_04_what_came_while_there_was_no_engine_is_answered_when_there_is_one(
    instance: Instance, engine: RestartableEngine
) -> None:
    engine.stop()

    async def scenario() -> None:
        async with a_host(instance) as running:
            await running.channel.say("are you there")
            (told,) = await running.channel.texts(1)
            assert "cannot be started right now" in told  # the cause is for the log and the doctor
            await asyncio.to_thread(engine.start)
            await answer(running, "are you there")
            assert times(running, "are you there") == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("keeps_containers", [True, False], ids=["containers-go-on", "containers-end"])
def test_invariant_04_a_conversation_goes_on_after_the_engine_was_stopped_and_started(
    instance: Instance, engine: RestartableEngine, keeps_containers: bool
) -> None:
    engine.stop()
    engine.keeps_containers = keeps_containers
    engine.start()

    async def scenario() -> None:
        async with a_host(instance) as running:
            await running.channel.say("one")
            await answer(running, "one")
            await asyncio.to_thread(engine.stop)
            await running.channel.say("two")
            await asyncio.to_thread(engine.start)
            await answer(running, "two")
            await running.channel.say("three")
            await answer(running, "three")
            assert [times(running, words) for words in ("one", "two", "three")] == [1, 1, 1]

    asyncio.run(scenario())

"""The engine stops and starts again, before the first sandbox or during a conversation (I3, I4)."""

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
    """Yield a running engine, and start it again without containers after the test."""
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
async def sweeping_host(instance: Instance) -> AsyncIterator[Running]:
    """Run a host that sweeps every 0.2 s, so that a test does not wait a minute for the sweep."""
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


async def answered(running: Running, words: str) -> None:
    """Wait until an agent answers these words."""
    await until(lambda: times(running, words))


def times(running: Running, words: str) -> int:
    return sum(words in delivered.message.text for delivered in running.channel.delivered)


@pytest.mark.invariant(number=4)
def test_message_without_engine_is_answered_later(instance: Instance, engine: RestartableEngine) -> None:
    """People read that the agent cannot start.

    When the engine runs again, they get one answer.
    """
    engine.stop()

    async def scenario() -> None:
        async with sweeping_host(instance) as running:
            await running.channel.say("are you there")
            (told,) = await running.channel.texts(1)
            assert "cannot be started right now" in told  # only the log and the doctor name the cause
            await asyncio.to_thread(engine.start)
            await answered(running, "are you there")
            assert times(running, "are you there") == 1

    asyncio.run(scenario())


@pytest.mark.invariant(number=4)
@pytest.mark.parametrize("keeps_containers", [True, False], ids=["containers-go-on", "containers-end"])
def test_conversation_continues_after_engine_restart(
    instance: Instance, engine: RestartableEngine, keeps_containers: bool
) -> None:
    engine.stop()
    engine.keeps_containers = keeps_containers
    engine.start()

    async def scenario() -> None:
        async with sweeping_host(instance) as running:
            await running.channel.say("one")
            await answered(running, "one")
            await asyncio.to_thread(engine.stop)
            await running.channel.say("two")
            await asyncio.to_thread(engine.start)
            await answered(running, "two")
            await running.channel.say("three")
            await answered(running, "three")
            assert [times(running, words) for words in ("one", "two", "three")] == [1, 1, 1]

    asyncio.run(scenario())

"""The fixtures that pytest loads if this distribution is installed. Each imports its modules only when a test uses it.

`nanoclaw_instance`     an instance directory, with an open database
`nanoclaw_host`         runs a host on it, in a thread: `with nanoclaw_host(mine=my_plugin) as running: …`
`nanoclaw_clock`        a clock that the test moves
`nanoclaw_messages_api` a local fake of the Anthropic Messages API; needs the extra `testing`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from nanoclaw_core.testing.fake_clock import FakeClock
    from nanoclaw_core.testing.fake_messages_api import FakeMessagesApi
    from nanoclaw_core.testing.hosting import Running
    from nanoclaw_core.testing.instance import Instance

# Their asserts show the compared values. Names and not modules, so that nothing is imported here.
pytest.register_assert_rewrite(
    "nanoclaw_core.testing.channel_contract",
    "nanoclaw_core.testing.channel_stage",
    "nanoclaw_core.testing.runtime_contract",
    "nanoclaw_core.testing.runtime_scenario",
    "nanoclaw_runner.testing.provider_contract",
)


@pytest.fixture
def nanoclaw_instance(tmp_path: Path) -> Iterator[Instance]:
    """Create an instance directory without agents and rooms. Its `wire` creates both."""
    from nanoclaw_core.testing.instance import make_instance

    instance = make_instance(tmp_path / "home")
    yield instance
    instance.db.close()


@pytest.fixture
def nanoclaw_host(nanoclaw_instance: Instance) -> Callable[..., AbstractContextManager[Running]]:
    """Return a function that runs a host on the instance, in a thread. Its arguments are those of `running_host`."""
    from nanoclaw_core.testing.hosting import host_in_thread

    return partial(host_in_thread, nanoclaw_instance)


@pytest.fixture
def nanoclaw_clock() -> FakeClock:
    """Create a clock that stands still until the test moves it."""
    from nanoclaw_core.testing.fake_clock import FakeClock

    return FakeClock()


@pytest.fixture
def nanoclaw_messages_api() -> Iterator[FakeMessagesApi]:
    """Run a fake of the Anthropic Messages API that echoes prompts. `script.add` gives it other answers."""
    from nanoclaw_core.testing.fake_messages_api import serve_in_thread

    with serve_in_thread() as api:
        yield api

"""What pytest loads wherever this distribution is installed: fixtures, and nothing else of ours until one is used.

`nanoclaw_instance`     an instance directory, with its database open
`nanoclaw_host`         runs a host on it, in a thread: `with nanoclaw_host(mine=my_plugin) as running: …`
`nanoclaw_clock`        a clock that goes when the test says so
`nanoclaw_messages_api` a local stand-in for the Anthropic Messages API; needs the extra `testing`
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

# By name, so that nothing is imported: their asserts say what was compared.
pytest.register_assert_rewrite(
    "nanoclaw_core.testing.channel_contract",
    "nanoclaw_core.testing.channel_stage",
    "nanoclaw_core.testing.runtime_contract",
    "nanoclaw_core.testing.runtime_scenario",
    "nanoclaw_runner.testing.provider_contract",
)


@pytest.fixture
def nanoclaw_instance(tmp_path: Path) -> Iterator[Instance]:
    """An instance directory without agents and rooms; `wire` makes both."""
    from nanoclaw_core.testing.instance import make_instance

    made = make_instance(tmp_path / "home")
    yield made
    made.db.close()


@pytest.fixture
def nanoclaw_host(nanoclaw_instance: Instance) -> Callable[..., AbstractContextManager[Running]]:
    """Return what runs a host on the instance, in a thread; it takes what `running_host` takes."""
    from nanoclaw_core.testing.hosting import host_in_thread

    return partial(host_in_thread, nanoclaw_instance)


@pytest.fixture
def nanoclaw_clock() -> FakeClock:
    """A clock that stands still until the test moves it."""
    from nanoclaw_core.testing.fake_clock import FakeClock

    return FakeClock()


@pytest.fixture
def nanoclaw_messages_api() -> Iterator[FakeMessagesApi]:
    """A fake of the Anthropic Messages API that says back what it hears; `script.add` gives it other answers."""
    from nanoclaw_core.testing.fake_messages_api import serve_in_thread

    with serve_in_thread() as api:
        yield api

"""Property tests: no arguments break a host or a config."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import pytest
from agents_host import PLUGINS
from hypothesis import given, settings
from hypothesis import strategies as st
from nanoclaw_client.connection import Endpoint, ask
from nanoclaw_resource_configs import changes

from nanoclaw_core import ContainerConfig, GroupId, InvalidArguments
from nanoclaw_core.testing.hosting import host_in_thread
from nanoclaw_core.testing.instance import Instance

EMPTY = ContainerConfig(agent_group_id=GroupId("ag-1"))
TEXT = st.text(st.characters(), max_size=12) | st.sampled_from(["all", "null", '["a"]', '{"A": "b"}', "jq", "-x", "/"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
FLAGS = {
    "update": [*changes.SCALARS, *changes.LIMITS],
    "add-mcp-server": ["name", "command", "args", "env", "instructions"],
    "remove-mcp-server": ["name"],
    "add-package": ["apt", "npm", "pip"],
    "remove-package": ["apt", "npm", "pip"],
    "add-mount": ["path", "name", "writable"],
    "remove-mount": ["name"],
    "set-skills": ["skills"],
}
SAFE = re.compile(r"(@[a-z0-9][a-z0-9._-]*/)?[A-Za-z0-9][A-Za-z0-9._+-]*")


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    verb = draw(st.sampled_from(sorted(FLAGS)))
    flags = [flag.replace("_", "-") for flag in FLAGS[verb]]
    return verb, draw(st.dictionaries(st.sampled_from(flags), JSON, max_size=4))


def test_any_arguments_never_cause_a_handler_error(nanoclaw_instance: Instance) -> None:
    group = nanoclaw_instance.group()
    host = Endpoint(nanoclaw_instance.paths.control_socket, "the host", "Check its log")

    @settings(max_examples=200, deadline=None)
    @given(requests())
    def ask_anything(request: tuple[str, dict[str, Any]]) -> None:
        verb, options = request
        frame = ask(host, ["groups", "config", verb, group.id], options, on_progress=print)
        assert frame["ok"] or frame["error"]["code"] == "invalid-args", frame

    with host_in_thread(nanoclaw_instance, **PLUGINS):
        ask_anything()
        assert ask(host, ["groups", "config", "get", group.id], {}, on_progress=print)["ok"]


@pytest.mark.defect(number=50)
@given(st.dictionaries(st.sampled_from(changes.SOURCES), st.lists(JSON | TEXT, max_size=5)))
def test_any_package_request_stores_only_valid_names(requested: dict[str, list[Any]]) -> None:
    with contextlib.suppress(InvalidArguments):
        config = changes.add_packages(EMPTY, requested)
        stored = [*config.packages_apt, *config.packages_npm, *config.packages_pip]
        assert stored
        assert all(isinstance(name, str) and SAFE.fullmatch(name) for name in stored)
        assert all(set(names) <= set(stored) for names in requested.values())

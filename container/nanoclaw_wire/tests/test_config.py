"""The configuration of a runner, `in/config.json`."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_wire.config import McpServer, RunnerConfig, read_config, write_config

SMALLEST = {"session_id": "ses-1", "agent_group_id": "ag-1", "group_name": "Main", "provider": "mock"}
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def test_config_round_trip_keeps_all_fields() -> None:
    server = McpServer(command="server", args=["--stdio"], env={"A": "b"}, instructions="Ask it.")
    config = RunnerConfig(
        **SMALLEST, model="m", skills=["one"], mcp_servers={"files": server}, gateway_port=0, idle_stop_s=1.5
    )
    assert read_config(write_config(config)) == config


@given(TEXT, TEXT, st.dictionaries(TEXT, TEXT), st.none() | st.lists(TEXT))
def test_config_round_trip_keeps_any_text(
    name: str, instructions: str, options: dict[str, str], skills: list[str]
) -> None:
    values = SMALLEST | {"group_name": name, "provider_options": options, "skills": skills}
    config = RunnerConfig(instructions=instructions, **values)
    assert read_config(write_config(config).encode().decode()) == config


def test_read_config_names_missing_key() -> None:
    with pytest.raises(ValueError, match=r"config\.json.*provider"):
        read_config(json.dumps({key: value for key, value in SMALLEST.items() if key != "provider"}))


def test_read_config_names_unknown_key() -> None:
    with pytest.raises(ValueError, match="api_key"):
        read_config(json.dumps(SMALLEST | {"api_key": "k"}))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '"x"', "[" * 100_000])
def test_read_config_of_other_text_raises_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"config\.json"):
        read_config(text)

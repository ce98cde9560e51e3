"""in/config.json."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_wire.config import McpServer, RunnerConfig, read_config, write_config

SMALLEST = {"session_id": "ses-1", "agent_group_id": "ag-1", "group_name": "Main", "provider": "mock"}
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def test_what_is_written_is_read_back_whole() -> None:
    server = McpServer(command="server", args=["--stdio"], env={"A": "b"}, instructions="Ask it.")
    config = RunnerConfig(
        **SMALLEST, model="m", skills=["one"], mcp_servers={"files": server}, gateway_port=0, idle_stop_s=1.5
    )
    assert read_config(write_config(config)) == config


@given(TEXT, TEXT, st.dictionaries(TEXT, TEXT), st.none() | st.lists(TEXT))
def test_any_text_survives_the_file(name: str, instructions: str, options: dict[str, str], skills: list[str]) -> None:
    values = SMALLEST | {"group_name": name, "provider_options": options, "skills": skills}
    config = RunnerConfig(instructions=instructions, **values)
    assert read_config(write_config(config).encode().decode()) == config


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ValueError, match=r"config\.json.*provider"):
        read_config(json.dumps({key: value for key, value in SMALLEST.items() if key != "provider"}))


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(ValueError, match="api_key"):
        read_config(json.dumps(SMALLEST | {"api_key": "k"}))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '"x"', "[" * 100_000])
def test_what_is_no_config_is_refused_in_one_way(text: str) -> None:
    with pytest.raises(ValueError, match=r"config\.json"):
        read_config(text)

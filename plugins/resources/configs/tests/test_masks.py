"""The masks of the secrets of MCP servers."""

from __future__ import annotations

import pytest
from nanoclaw_resource_configs.masks import masked_server, masked_servers


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--api-key", "abc", "--verbose"], ["--api-key", "***", "--verbose"]),
        (["--token=abc", "-p", "8080"], ["--token=***", "-p", "8080"]),
        (["--header", "Authorization: Bearer abc"], ["--header", "Authorization: ***"]),
        (["-H", "X-Custom: abc"], ["-H", "X-Custom: ***"]),
        (["--header", "abc"], ["--header", "***"]),
        (["API_KEY=abc", "run"], ["API_KEY=***", "run"]),
        (
            ["https://ada:abc@example.com/x?page=1&access_token=abc#a"],
            ["https://***@example.com/x?page=1&access_token=***#a"],
        ),
        (["ghp_0123456789abcdef"], ["***"]),
        (["-y", "@scope/some-mcp-server", "/workspace/agent", "--keyboard"], None),
        ([], None),
    ],
)
def test_arguments_that_look_like_a_secret_are_masked(words, shown):
    assert masked_server({"command": "npx", "args": words, "env": {}})["args"] == (words if shown is None else shown)


def test_variables_keep_their_names_only():
    servers = {"a": {"command": "npx", "args": [], "env": {"KEY": "abc", "EMPTY": ""}, "instructions": "Use it."}}
    shown = {"command": "npx", "args": [], "env": {"KEY": "***", "EMPTY": "***"}, "instructions": "Use it."}
    assert masked_servers(servers) == {"a": shown}

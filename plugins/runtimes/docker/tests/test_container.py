"""The arguments that create a container."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve
from nanoclaw_runtime_docker.container import User, choose_user, creation_arguments, host_config_arguments
from nanoclaw_runtime_docker.sandbox import read_exit
from nanoclaw_runtime_docker.settings import Settings

from nanoclaw_core import Limits, Mount, Network, SandboxSpec
from nanoclaw_core.ids import SessionId

SPEC = SandboxSpec(
    session_id=SessionId("ses-0123456789ab"),
    name="nanoclaw-one",
    arguments=("-m", "nanoclaw_runner"),
    mounts=(Mount(source=Path("/in"), target="/workspace/in"),),
    environment={"A": "1"},
    runs_tools=True,
    limits=Limits(memory_bytes=2**30, cpus=1.5, pids=100),
)
AGENT = User(1000, 1000)


def test_container_is_hardened_by_default() -> None:
    config = host_config_arguments(SPEC, AGENT, Settings())
    assert config["cap_drop"] == ["ALL"]
    assert config["security_opt"] == ["no-new-privileges"]
    assert config["read_only"] is True
    assert config["init"] is True
    assert config["network_mode"] == "none"
    assert (config["mem_limit"], config["memswap_limit"]) == (2**30, 2**30)
    assert (config["nano_cpus"], config["pids_limit"]) == (1_500_000_000, 100)
    assert not {"ports", "port_bindings", "privileged", "publish_all_ports", "devices"} & set(config)


def test_container_network_exists_only_if_open() -> None:
    modes = {kind: host_config_arguments(evolve(SPEC, network=kind), AGENT, Settings()) for kind in Network}
    assert {kind: config["network_mode"] for kind, config in modes.items()} == {
        Network.GATEWAY: "none",
        Network.NONE: "none",
        Network.OPEN: "bridge",
    }


def test_operator_limits_cap_the_limits_of_a_group() -> None:
    config = host_config_arguments(SPEC, AGENT, Settings(memory_mb=256, cpus=0.5, pids=20))
    assert (config["mem_limit"], config["nano_cpus"], config["pids_limit"]) == (256 * 2**20, 500_000_000, 20)


def test_group_limits_below_the_operators_apply() -> None:
    config = host_config_arguments(SPEC, AGENT, Settings(memory_mb=4096, cpus=8, pids=4096))
    assert (config["mem_limit"], config["nano_cpus"], config["pids_limit"]) == (2**30, 1_500_000_000, 100)


def test_container_has_labels_of_instance_session_and_protocol() -> None:
    labels = creation_arguments(SPEC, "image", AGENT, "abcdef012345", {})["labels"]
    expected = {"nanoclaw.instance": "abcdef012345", "nanoclaw.session": "ses-0123456789ab", "nanoclaw.protocol": "1"}
    assert labels == expected


def test_spec_environment_overrides_that_of_plugins() -> None:
    variables = creation_arguments(SPEC, "image", AGENT, "abcdef012345", {"A": "0", "B": "2"})["environment"]
    assert variables == {"HOME": "/home/agent", "A": "1", "B": "2"}


def test_user_in_a_rootful_engine_is_never_root() -> None:
    assert choose_user(0, 0, is_rootless=False, is_podman=False) == User(1000, 1000)
    assert choose_user(1234, 100, is_rootless=False, is_podman=False) == User(1234, 100)


def test_user_in_a_rootless_engine_is_the_hosts() -> None:
    assert choose_user(1234, 100, is_rootless=True, is_podman=False) == User(0, 0)
    assert choose_user(1234, 100, is_rootless=True, is_podman=True) == User(1234, 100, "keep-id")


def test_container_state_is_read_as_exit_code_and_reason() -> None:
    exits = [
        read_exit({"ExitCode": 0}, b"", killed=False),
        read_exit({"ExitCode": 137, "OOMKilled": True}, b"", killed=False),
        read_exit({"ExitCode": 143}, b"", killed=False),
        read_exit({"ExitCode": 255}, b"x" * 9_000 + b"\xff", killed=False),
    ]
    assert [(ended.code, ended.reason) for ended in exits] == [
        (0, "exited"),
        (-9, "out of memory"),
        (-15, "killed"),
        (255, "exited"),
    ]
    assert len(exits[3].stderr_tail) == 4_000

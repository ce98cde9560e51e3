"""What a container is made of, read off the engine's words."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve
from nanoclaw_runtime_docker.container import User, choose_user, confinement, creation
from nanoclaw_runtime_docker.sandbox import how_it_ended
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


def test_every_wall_is_up_by_default() -> None:
    confined = confinement(SPEC, AGENT, Settings())
    assert confined["cap_drop"] == ["ALL"]
    assert confined["security_opt"] == ["no-new-privileges"]
    assert confined["read_only"] is True
    assert confined["init"] is True
    assert confined["network_mode"] == "none"
    assert (confined["mem_limit"], confined["memswap_limit"]) == (2**30, 2**30)
    assert (confined["nano_cpus"], confined["pids_limit"]) == (1_500_000_000, 100)
    assert not {"ports", "port_bindings", "privileged", "publish_all_ports", "devices"} & set(confined)


def test_only_an_open_network_is_a_network() -> None:
    networks = {one: confinement(evolve(SPEC, network=one), AGENT, Settings())["network_mode"] for one in Network}
    assert networks == {Network.GATEWAY: "none", Network.NONE: "none", Network.OPEN: "bridge"}


def test_an_operators_limits_hold_over_those_of_a_group() -> None:
    confined = confinement(SPEC, AGENT, Settings(memory_mb=256, cpus=0.5, pids=20))
    assert (confined["mem_limit"], confined["nano_cpus"], confined["pids_limit"]) == (256 * 2**20, 500_000_000, 20)


def test_a_group_may_ask_for_less_than_the_operators_limits() -> None:
    confined = confinement(SPEC, AGENT, Settings(memory_mb=4096, cpus=8, pids=4096))
    assert (confined["mem_limit"], confined["nano_cpus"], confined["pids_limit"]) == (2**30, 1_500_000_000, 100)


def test_a_container_carries_its_instance_its_session_and_its_protocol() -> None:
    labels = creation(SPEC, "image", AGENT, "abcdef012345", {})["labels"]
    expected = {"nanoclaw.instance": "abcdef012345", "nanoclaw.session": "ses-0123456789ab", "nanoclaw.protocol": "1"}
    assert labels == expected


def test_the_description_wins_over_what_plugins_want_in_the_environment() -> None:
    variables = creation(SPEC, "image", AGENT, "abcdef012345", {"A": "0", "B": "2"})["environment"]
    assert variables == {"HOME": "/home/agent", "A": "1", "B": "2"}


def test_root_is_never_the_user_inside_a_rootful_engine() -> None:
    assert choose_user(0, 0, is_rootless=False, is_podman=False) == User(1000, 1000)
    assert choose_user(1234, 100, is_rootless=False, is_podman=False) == User(1234, 100)


def test_in_a_rootless_engine_the_user_inside_is_the_hosts_user() -> None:
    assert choose_user(1234, 100, is_rootless=True, is_podman=False) == User(0, 0)
    assert choose_user(1234, 100, is_rootless=True, is_podman=True) == User(1234, 100, "keep-id")


def test_the_end_of_a_container_is_told_in_our_words() -> None:
    ends = [
        how_it_ended({"ExitCode": 0}, b"", killed=False),
        how_it_ended({"ExitCode": 137, "OOMKilled": True}, b"", killed=False),
        how_it_ended({"ExitCode": 143}, b"", killed=False),
        how_it_ended({"ExitCode": 255}, b"x" * 9_000 + b"\xff", killed=False),
    ]
    assert [(end.code, end.reason) for end in ends] == [
        (0, "exited"),
        (-9, "out of memory"),
        (-15, "killed"),
        (255, "exited"),
    ]
    assert len(ends[3].last_words) == 4_000

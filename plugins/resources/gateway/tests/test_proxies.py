"""The proxies of the host's environment, and those that the gateway cannot use."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from nanoclaw_cli.checks import run_checks
from nanoclaw_resource_gateway import host
from nanoclaw_resource_gateway.proxies import proxy_for, require_supported_proxies

from nanoclaw_core import SettingsError
from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import Instance, make_instance

SOCKS = {"ALL_PROXY": "socks5h://user:hidden@127.0.0.1:1080"}


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    made = make_instance(tmp_path / "home")
    yield made
    made.db.close()


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ({"https_proxy": "proxy:3128"}, "http://proxy:3128"),
        ({"HTTP_PROXY": "http://proxy:3128"}, None),
        ({"ALL_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "other, .example"}, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "xapi.example"}, "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "*"}, None),
    ],
)
def test_proxy_comes_from_the_environment_of_the_host(environment: dict[str, str], proxy: str | None) -> None:
    assert proxy_for("https://api.example/v1", environment) == proxy


@pytest.mark.parametrize(
    ("environment", "fault"),
    [
        (SOCKS, "ALL_PROXY: the scheme must be http or https, got socks5h"),
        ({"https_proxy": "socks4://proxy"}, "https_proxy: the scheme must be http or https, got socks4"),
        (SOCKS | {"HTTPS_PROXY": "http://proxy"}, "ALL_PROXY: the scheme must be http or https, got socks5h"),
        ({"HTTP_PROXY": "http://"}, "HTTP_PROXY: must be the address of a proxy, like http://proxy.example:3128"),
        ({"HTTP_PROXY": "p:x"}, "HTTP_PROXY: must be the address of a proxy, like http://proxy.example:3128"),
    ],
)
def test_proxy_of_another_kind_is_refused_by_name(environment: dict[str, str], fault: str) -> None:
    with pytest.raises(SettingsError) as caught:
        require_supported_proxies(environment)
    assert caught.value.fault == fault


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"HTTPS_PROXY": "https://user:password@proxy:3128", "http_proxy": "proxy:3128"},
        SOCKS | {"NO_PROXY": "*"},
        SOCKS | {"HTTP_PROXY": "proxy", "HTTPS_PROXY": "proxy"},
    ],
)
def test_proxy_that_is_supported_or_unused_is_accepted(environment: dict[str, str]) -> None:
    require_supported_proxies(environment)


def test_host_reports_an_unsupported_proxy_at_its_start(instance: Instance) -> None:
    async def scenario() -> tuple[str, bool]:
        async with running_host(instance, environment=SOCKS, gateway=host) as running:
            report = next(report for report in running.host.plugins.reports() if report.name == "gateway")
            return report.reason, running.host.status()["gateway"]

    reason, has_gateway = asyncio.run(scenario())
    assert not has_gateway
    assert "got socks5h" in reason
    assert "hidden" not in reason


def test_doctor_names_an_unsupported_proxy(tmp_path: Path) -> None:
    findings = asyncio.run(run_checks(tmp_path, SOCKS))
    found = next(finding for finding in findings if finding.name == "gateway" and finding.area == "services")
    assert found.detail == "ALL_PROXY: the scheme must be http or https, got socks5h"
    assert found.remedy.startswith("Set HTTP_PROXY and HTTPS_PROXY")

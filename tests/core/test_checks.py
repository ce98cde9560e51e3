"""The doctor reports each problem, also if several parts are broken."""

import asyncio
import os
from pathlib import Path

import pytest
from attrs import evolve
from installed import install
from nanoclaw_cli.checks import run_checks
from nanoclaw_cli.findings import Finding, Health
from nanoclaw_cli.init import create

from nanoclaw_core import Host
from nanoclaw_core.instance import InstancePaths, open_database
from nanoclaw_core.store import agents
from nanoclaw_core.testing.instance import Instance

RUNTIME = """
from nanoclaw_core import Readiness, Runtime, hookimpl

class Adapter:
    async def check(self):
        {check}
    async def shown_directories(self):
        return {shown}
    async def close(self):
        pass

@hookimpl
def nanoclaw_runtimes():
    yield Runtime(name="acme", connect=lambda settings, context, parts: Adapter())
"""
CHANNEL = """
from nanoclaw_core import Channel, hookimpl

@hookimpl
def nanoclaw_channels():
    yield Channel(name="acme", connect=lambda settings, context: None)
"""
PROVIDER = """
from nanoclaw_core import Provider, Upstream, hookimpl

def upstreams(settings, environment):
    {upstreams}

@hookimpl
def nanoclaw_providers():
    yield Provider(name="claude", runs_tools=True, upstreams=upstreams)
"""

MOVE = "Move the instance directory (--home)."

pytestmark = pytest.mark.usefixtures("site")


def doctor(home: Path) -> dict[tuple[str, str], Finding]:
    return {(finding.area, finding.name): finding for finding in asyncio.run(run_checks(home, {}))}


def test_doctor_missing_directory_is_reported_not_created(tmp_path: Path) -> None:
    findings = doctor(tmp_path / "home")
    assert findings["instance", "home"].remedy == f"Run `ncl --home {tmp_path / 'home'} init`."
    assert findings["instance", "database"].state is Health.WARNING
    assert not (tmp_path / "home").exists()


def test_doctor_without_plugins_explains_installation(tmp_path: Path) -> None:
    findings = doctor(tmp_path)
    assert "pip install" in findings["plugins", "all"].remedy
    assert findings["runtimes", "isolation"].state is Health.WARNING
    assert findings["providers", "claude"].state is Health.PROBLEM
    assert findings["services", "gateway"].state is Health.PROBLEM


def test_doctor_without_channel_explains_installation(tmp_path: Path, site: Path) -> None:
    warning = doctor(tmp_path)["channels", "all"]
    assert (warning.state, warning.detail) == (Health.WARNING, "no channel works: the agents get no messages")
    assert "pip install nanoclaw-channel-terminal" in warning.remedy
    install(site, "acme-channel", "acme", CHANNEL)
    assert ("channels", "all") not in doctor(tmp_path)


def test_doctor_healthy_instance_is_ok(tmp_path: Path) -> None:
    create(tmp_path, {})
    findings = doctor(tmp_path)
    for name in ("home", "settings", "database"):
        assert findings["instance", name].state is Health.OK
    assert findings["instance", "database"].detail == "1 agent group"


def test_doctor_finds_a_running_host(bare_instance: Instance) -> None:
    async def scenario() -> list[Finding]:
        async with Host(bare_instance.settings, environment={}, use_installed_plugins=False):
            return await run_checks(bare_instance.settings.home, {})

    host = next(finding for finding in asyncio.run(scenario()) if finding.name == "host")
    assert host.state is Health.OK
    assert host.detail.startswith("process ")


def test_doctor_broken_settings_do_not_stop_other_checks(tmp_path: Path) -> None:
    (tmp_path / "nanoclaw.toml").write_text("[core]\nprovidr = 'x'")
    findings = doctor(tmp_path)
    found = findings["instance", "settings"]
    assert found.detail == "core.providr: unknown key"
    assert found.remedy == f"Did you mean 'provider'? Fix it in {tmp_path}/nanoclaw.toml."
    assert ("services", "gateway") in findings


@pytest.mark.parametrize("content", [b"garbage" * 200, b"SQLite format 3\0" + b"\xff" * 5000, b""])
def test_doctor_reports_a_broken_database(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "nanoclaw.db").write_bytes(content)
    findings = doctor(tmp_path)
    assert findings["instance", "database"].state is Health.PROBLEM
    assert "backup" in findings["instance", "database"].remedy
    assert ("services", "gateway") in findings


def test_doctor_reports_a_damaged_database_page(tmp_path: Path) -> None:
    """The database opens and answers queries; only a page check finds the damage."""
    paths = InstancePaths(home=tmp_path)
    paths.make()
    db = open_database(paths)
    (page,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'dropped_messages'").fetchone()
    db.pragma("journal_mode", "delete")
    db.close()
    with paths.database.open("r+b") as file:
        file.seek((page - 1) * 4096 + 1)
        file.write(b"\xff" * 30)
    finding = doctor(tmp_path)["instance", "database"]
    assert finding.state is Health.PROBLEM
    assert "is damaged" in finding.detail
    assert "backup" in finding.remedy


def test_doctor_reports_a_file_instead_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    assert doctor(tmp_path / "home")["instance", "settings"].state is Health.PROBLEM


def test_doctor_remedy_omits_the_default_directory(tmp_path: Path) -> None:
    findings = asyncio.run(run_checks(tmp_path, {"NANOCLAW_HOME": str(tmp_path)}))
    assert next(finding for finding in findings if finding.name == "host").remedy == "Start one with `ncl serve`."


@pytest.mark.skipif(os.getuid() == 0, reason="root can read each directory")
def test_doctor_reports_an_unreadable_directory(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0)
    findings = doctor(tmp_path / "theirs" / "home")
    assert findings["instance", "home"].detail.endswith("Permission denied")
    assert ("services", "gateway") in findings


def test_doctor_plugin_with_wrong_setting_is_not_missing(tmp_path: Path, site: Path) -> None:
    settings = "from attrs import frozen\n@frozen\nclass Own:\n    key: str = ''\n"
    provider = PROVIDER.format(upstreams="return []").replace(
        "upstreams=upstreams", "upstreams=upstreams, settings=Own"
    )
    install(site, "acme-provider", "acme", settings + provider)
    (tmp_path / "nanoclaw.toml").write_text("[plugins.acme]\nkye = 'x'")
    findings = doctor(tmp_path)
    found = findings["plugins", "acme"]
    assert found.detail == "acme-provider 1.2: plugins.acme.kye: unknown key"
    disable = f"`ncl --home {tmp_path} plugins disable acme`"
    assert found.remedy == f"Did you mean 'key'? Fix it in {tmp_path}/nanoclaw.toml. Or disable it: {disable}."
    assert "its plugin acme does not work" in findings["providers", "claude"].detail
    assert "pip install" not in findings["providers", "claude"].remedy


def test_doctor_does_not_show_the_secret_of_a_setting(tmp_path: Path, site: Path) -> None:
    settings = (
        "from attrs import field, frozen\nfrom nanoclaw_core import Secret, matches\n"
        "@frozen\nclass Own:\n    key: Secret = field(validator=matches('sk-.*'))\n"
    )
    provider = PROVIDER.format(upstreams="return []").replace(
        "upstreams=upstreams", "upstreams=upstreams, settings=Own"
    )
    install(site, "acme-provider", "acme", settings + provider)
    (tmp_path / "nanoclaw.toml").write_text("[plugins.acme]\nkey = '7x-secret'")
    findings = doctor(tmp_path)
    detail = "acme-provider 1.2: plugins.acme.key: is invalid (BrokenRule), got Secret(…)"
    assert findings["plugins", "acme"].detail == detail
    assert "7x-secret" not in str(findings)


def test_doctor_broken_plugin_names_distribution_and_reason(tmp_path: Path, site: Path) -> None:
    install(site, "acme-bad", "acme_bad", "1 / 0", plugin="bad")
    finding = doctor(tmp_path)["plugins", "bad"]
    assert finding.state is Health.PROBLEM
    assert finding.detail == "acme-bad 1.2: ZeroDivisionError: division by zero"


def test_doctor_reports_two_plugins_of_one_name(tmp_path: Path, site: Path) -> None:
    install(site, "acme-one", "acme_one", "", plugin="chat")
    install(site, "acme-two", "acme_two", "", plugin="chat")
    assert "acme-one 1.2 and acme-two 1.2" in doctor(tmp_path)["plugins", "all"].detail


@pytest.mark.parametrize("disabled", ["", "disabled_plugins = ['acme']"])
def test_doctor_unavailable_required_plugin_is_a_problem(tmp_path: Path, site: Path, disabled: str) -> None:
    if disabled:
        install(site, "acme-chat", "acme", "")
    (tmp_path / "nanoclaw.toml").write_text(f"[core]\nrequired_plugins = ['acme']\n{disabled}")
    problems = [f for f in asyncio.run(run_checks(tmp_path, {})) if f.name == "acme" and f.state is Health.PROBLEM]
    assert [problem.detail.startswith("required and ") for problem in problems] == [True]


@pytest.mark.parametrize(("name", "remedy"), [("acmee", "Did you mean 'acme'?"), ("xyz", "Remove it from")])
def test_doctor_reports_an_unknown_disabled_plugin(tmp_path: Path, site: Path, name: str, remedy: str) -> None:
    install(site, "acme-chat", "acme", "")
    (tmp_path / "nanoclaw.toml").write_text(f"[core]\ndisabled_plugins = ['{name}']")
    finding = doctor(tmp_path)["plugins", name]
    assert finding.state is Health.WARNING
    assert finding.remedy.startswith(remedy)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("acmee", "Did you mean 'acme'?"), ("xyz", "Fix the spelling of 'xyz', or install its plugin.")],
)
def test_doctor_reports_a_runtime_that_is_not_installed(tmp_path: Path, site: Path, name: str, remedy: str) -> None:
    install(site, "acme-runtime", "acme", RUNTIME.format(check="return None", shown=[]))
    (tmp_path / "nanoclaw.toml").write_text(f"[core]\nruntime = '{name}'")
    finding = doctor(tmp_path)["runtimes", name]
    assert (finding.state, finding.remedy) == (Health.PROBLEM, remedy)


def test_doctor_runtime_of_disabled_plugin_has_a_remedy(tmp_path: Path, site: Path) -> None:
    install(site, "acme-runtime", "acme", RUNTIME.format(check="return None", shown=[]))
    (tmp_path / "nanoclaw.toml").write_text("[core]\nruntime = 'acme'\ndisabled_plugins = ['acme']")
    assert doctor(tmp_path)["runtimes", "acme"].remedy == "Remove it from core.disabled_plugins."


def test_doctor_mistyped_provider_suggests_the_nearest(tmp_path: Path, site: Path) -> None:
    install(site, "acme-provider", "acme", PROVIDER.format(upstreams="return []"))
    (tmp_path / "nanoclaw.toml").write_text("[core]\nprovider = 'claud'")
    assert doctor(tmp_path)["providers", "claud"].remedy == "Did you mean 'claude'?"


@pytest.mark.parametrize("check", ["1 / 0", "return None"])
def test_doctor_reports_a_runtime_whose_check_fails(tmp_path: Path, site: Path, check: str) -> None:
    install(site, "acme-runtime", "acme", RUNTIME.format(check=check, shown=[]))
    assert doctor(tmp_path)["runtimes", "acme"].state is Health.PROBLEM


def test_doctor_shows_detail_and_remedy_of_a_runtime(tmp_path: Path, site: Path) -> None:
    check = "return Readiness(ready=False, isolates=False, detail='no engine', remedy='Start it.')"
    install(site, "acme-runtime", "acme", RUNTIME.format(check=check, shown=[]))
    finding = doctor(tmp_path)["runtimes", "acme"]
    assert (finding.state, finding.detail, finding.remedy) == (Health.WARNING, "no engine", "Start it.")


def test_doctor_missing_protection_is_a_warning(tmp_path: Path, site: Path) -> None:
    """A missing protection is reported although the runtime isolates."""
    check = (
        "return Readiness(ready=True, isolates=True, detail='walls', missing_protections=['a wall is open; close it'])"
    )
    install(site, "acme-runtime", "acme", RUNTIME.format(check=check, shown=[]))
    findings = [
        finding
        for finding in asyncio.run(run_checks(tmp_path, {}))
        if (finding.area, finding.name) == ("runtimes", "acme")
    ]
    assert [(finding.state, finding.detail) for finding in findings] == [
        (Health.OK, "walls"),
        (Health.WARNING, "a wall is open; close it"),
    ]


@pytest.mark.invariant(number=6)
def test_doctor_runtime_showing_the_instance_is_a_problem(tmp_path: Path, site: Path) -> None:
    """Each sandbox could see and control an instance inside the virtual environment (audit C4)."""
    check = "return Readiness(ready=True, isolates=True, detail='walls')"
    shown = f"[__import__('pathlib').Path({str(tmp_path)!r})]"
    (tmp_path / "instance").mkdir()
    install(site, "acme-runtime", "acme", RUNTIME.format(check=check, shown=shown))
    findings = asyncio.run(run_checks(tmp_path / "instance", {}))
    readiness, exposure, isolation = [finding for finding in findings if finding.area == "runtimes"]
    assert (readiness.state, readiness.detail) == (Health.OK, "walls")
    assert exposure.state is Health.PROBLEM
    assert exposure.detail.endswith(f"holds the instance directory {tmp_path / 'instance'}. {MOVE}")
    assert isolation.detail == "no runtime isolates agents"


def test_doctor_reports_a_refused_mount(instance: Instance, tmp_path: Path) -> None:
    """Without the doctor, only the log reports that the agent lacks a directory."""
    (tmp_path / "shared").mkdir()
    mount = {"path": str(tmp_path / "shared"), "name": "shared", "writable": False}
    config = agents.config_of(instance.db, instance.group().id)
    agents.save_config(instance.db, evolve(config, additional_mounts=[mount]))
    finding = doctor(instance.paths.home)["mounts", instance.group().id]
    assert (finding.state, "is not below a directory of core.allowed_mounts" in finding.detail) == (
        Health.WARNING,
        True,
    )
    remove = f"ncl --home {instance.paths.home} groups config remove-mount {finding.name} --name shared"
    assert finding.remedy == f"Fix it, or run `{remove}`."


def test_doctor_unreadable_row_is_a_problem(instance: Instance) -> None:
    """SQLite finds no damage in such a file."""
    agents.save_config(instance.db, agents.config_of(instance.db, instance.group().id))
    instance.db.pragma("ignore_check_constraints", "on")
    instance.db.execute("UPDATE container_configs SET additional_mounts = '[{'")
    finding = doctor(instance.paths.home)["instance", "database"]
    assert finding.state is Health.PROBLEM
    assert "has an unreadable row: JSONDecodeError" in finding.detail


def test_doctor_judges_no_mount_by_broken_settings(instance: Instance, tmp_path: Path) -> None:
    """The defaults allow no mount, so the remedy would be to remove each of them."""
    (tmp_path / "shared").mkdir()
    mount = {"path": str(tmp_path / "shared"), "name": "shared", "writable": False}
    config = agents.config_of(instance.db, instance.group().id)
    agents.save_config(instance.db, evolve(config, additional_mounts=[mount]))
    (instance.paths.home / "nanoclaw.toml").write_text("[core")
    findings = doctor(instance.paths.home)
    assert findings["instance", "settings"].state is Health.PROBLEM
    assert [area for area, _ in findings if area == "mounts"] == []


@pytest.mark.parametrize(
    ("channel", "age", "remedy"),
    [
        ("gone", "2030-01-05T15:04:00.000Z", "Install, enable or fix the channel"),
        ("acme", "2020-01-05T15:04:00.000Z", "The platform does not accept them."),
        ("acme", "2030-01-05T15:04:00.000Z", None),
    ],
)
def test_doctor_counts_waiting_messages_by_channel(
    instance: Instance, site: Path, channel: str, age: str, remedy: str | None
) -> None:
    """A missing channel and a platform that does not answer are reported.

    A short wait is not.
    """
    install(site, "acme-chat", "acme", CHANNEL)
    query = "INSERT INTO deliveries (id, position, channel, room, kind, content, status, created_at, updated_at)"
    query = f"{query} VALUES ('d', 1, ?, 'r', 'chat', '{{}}', 'queued', ?, ?)"
    instance.db.execute(query, (channel, age, age))
    finding = doctor(instance.paths.home).get(("deliveries", channel))
    if remedy is None:
        assert finding is None
    else:
        assert finding is not None
        assert (finding.state, finding.detail) == (Health.WARNING, f"1 message to be sent, the oldest since {age}")
        assert finding.remedy.startswith(remedy)


def test_doctor_reports_a_provider_without_key(tmp_path: Path, site: Path) -> None:
    answer = "return [Upstream(name='a', base_url='https://model.test', missing='no model key: set KEY')]"
    install(site, "acme-provider", "acme", PROVIDER.format(upstreams=answer))
    finding = doctor(tmp_path)["providers", "claude"]
    assert (finding.state, finding.detail) == (Health.WARNING, "no model key: set KEY")


@pytest.mark.parametrize("answer", ["1 / 0", "return 7", "return [7]", "raise SystemExit('gone')"])
def test_doctor_reports_a_provider_whose_check_fails(tmp_path: Path, site: Path, answer: str) -> None:
    install(site, "acme-provider", "acme", PROVIDER.format(upstreams=answer))
    assert doctor(tmp_path)["providers", "claude"].state is Health.PROBLEM


def test_doctor_reports_all_problems_at_once(tmp_path: Path, site: Path) -> None:
    install(site, "acme-bad", "acme_bad", "1 / 0", plugin="bad")
    install(site, "acme-runtime", "acme_runtime", RUNTIME.format(check="1 / 0", shown=[]), plugin="runtime")
    install(site, "acme-provider", "acme_provider", PROVIDER.format(upstreams="1 / 0"), plugin="provider")
    (tmp_path / "nanoclaw.toml").write_bytes(b"\xff")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "nanoclaw.db").write_bytes(b"garbage" * 200)
    findings = doctor(tmp_path)
    broken = {key for key, finding in findings.items() if finding.state is Health.PROBLEM}
    assert {
        ("instance", "settings"),
        ("instance", "database"),
        ("plugins", "bad"),
        ("runtimes", "acme"),
        ("providers", "claude"),
        ("services", "gateway"),
    } <= broken
    assert all(finding.remedy for key, finding in findings.items() if key in broken)


def test_doctor_reports_quarantined_sessions(tmp_path: Path) -> None:
    create(tmp_path, {})
    assert ("instance", "sessions") not in doctor(tmp_path)
    (tmp_path / "sessions" / "ses-1.broken-20260105T120000Z").mkdir(parents=True)
    finding = doctor(tmp_path)["instance", "sessions"]
    assert finding.state is Health.WARNING
    assert "ses-1.broken-20260105T120000Z" in finding.detail

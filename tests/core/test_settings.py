"""nanoclaw.toml: valid settings are read.

Invalid ones are refused with their place and a remedy.
"""

from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_wire import clock

from nanoclaw_core import CoreSettings, Settings, SettingsError, load_settings
from nanoclaw_core.settings import AllowedMount


def load(home: Path, text: str | bytes, **environment: str) -> Settings:
    (home / "nanoclaw.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_settings(home, environment)


def refusal(home: Path, text: str | bytes, **environment: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(home, text, **environment)
    return str(caught.value)


def test_missing_settings_file_means_defaults(tmp_path: Path) -> None:
    assert load_settings(tmp_path, {}) == Settings(home=tmp_path)


def test_settings_are_read(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        """
        [core]
        owners = ["terminal:operator"]
        max_sandboxes = 3
        idle_stop_s = 60
        allowed_mounts = [{path = "~/notes", writable = true}]
        [plugins.ntfy]
        topic = "t"
        """,
    )
    assert settings.core.owners == ["terminal:operator"]
    assert (settings.core.max_sandboxes, settings.core.idle_stop_s) == (3, 60.0)
    assert settings.core.allowed_mounts == [AllowedMount(path="~/notes", writable=True)]
    assert settings.plugins == {"ntfy": {"topic": "t"}}


def test_unknown_key_suggests_the_nearest(tmp_path: Path) -> None:
    message = refusal(tmp_path, "[core]\ntime_zone = 'UTC'")
    assert message == f"core.time_zone: unknown key. Did you mean 'timezone'? Fix it in {tmp_path}/nanoclaw.toml."


def test_unknown_key_without_match_lists_all_keys(tmp_path: Path) -> None:
    assert refusal(tmp_path, "[xyz]\na = 1").startswith("xyz: unknown key. Known keys: core, plugins. Fix it in ")


@pytest.mark.parametrize(
    "line",
    [
        "max_sandboxes = 2.9",
        "max_sandboxes = true",
        "max_sandboxes = 'many'",
        "max_sandboxes = 0",
        "cpus = true",
        "cpus = nan",
        "idle_stop_s = inf",
        "idle_stop_s = -1",
        "provider = 7",
        "network = 'wifi'",
        "log_level = 'loud'",
        "owners = 'terminal:operator'",
        "owners = [7]",
        "allowed_mounts = ['/data']",
        "allowed_mounts = {path = '/data'}",
        "allowed_mounts = [{path = '/data', writeable = true}]",
        "allowed_mounts = [{writable = true}]",
        "allowed_mounts = [{path = '/data', writable = 'yes'}]",
        "timezone = 'PST'",
    ],
)
def test_value_of_wrong_kind_is_refused_with_its_key(tmp_path: Path, line: str) -> None:
    message = refusal(tmp_path, f"[core]\n{line}")
    assert message.startswith(f"core.{line.partition(' ')[0]}")
    assert message.endswith(f" Fix it in {tmp_path}/nanoclaw.toml.")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("provider = 7", "provider: must be a string, got 7"),
        ("cpus = 'x'", "cpus: must be a number, got 'x'"),
        ("max_sandboxes = 2.9", "max_sandboxes: must be an integer, got 2.9"),
        ("max_sandboxes = 0", "max_sandboxes: must be from 1 to 10000, got 0"),
        ("idle_stop_s = -1", "idle_stop_s: must be from 1 to 31536000, got -1"),
        ("owners = 'me'", "owners: must be a list, got 'me'"),
        ("owners = ['me', 7]", "owners[1]: must be a string, got 7"),
        ("owners = ['terminal']", "owners: each item must be like terminal:operator, got ['terminal']"),
        ("log_level = 'loud'", "log_level: must be one of debug, info, warning, error, got 'loud'"),
        ("log_level = 'env:LEVEL'", "log_level: must be one of debug, info, warning, error, got 'env:LEVEL'"),
        ("timezone = 'PST'", "timezone: must be an IANA name like Europe/Berlin, got 'PST'"),
        ("provider = 'env:NONE'", "provider: the environment variable NONE is not set"),
        ("turn_pauses_s = [2, -1.0]", "turn_pauses_s: each item must be from 0 to 3600, got [2, -1.0]"),
        ("attachment_bytes = -5", "attachment_bytes: must be from 0 to 1000000000, got -5"),
        ("allowed_mounts = [{path = 'a'}]", "allowed_mounts[0].path: must be an absolute path, or one with ~, got 'a'"),
        ("start_pauses_s = []", "start_pauses_s: must not be empty, got []"),
        ("allowed_mounts = {}", "allowed_mounts: must be a list, got {}"),
        ("allowed_mounts = ['/a']", "allowed_mounts[0]: must be a table with the keys path, writable, got '/a'"),
        ("allowed_mounts = [{path = '/a', writable = 1}]", "allowed_mounts[0].writable: must be true or false, got 1"),
        ("allowed_mounts = [{writable = true}]", "allowed_mounts[0].path: must be set"),
        ("owners = '" + "x" * 100 + "'", "owners: must be a list, got '" + "x" * 79),
    ],
)
def test_settings_error_has_key_rule_and_value(tmp_path: Path, line: str, fault: str) -> None:
    message = refusal(tmp_path, f"[core]\n{line}", LEVEL="loud")
    assert message == f"core.{fault}. Fix it in {tmp_path}/nanoclaw.toml."


@pytest.mark.parametrize(
    "text",
    [
        "[core",
        "core = 7",
        "[[core]]\nprovider = 'x'",
        "plugins = 7",
        "plugins.ntfy = 7",
        b"\xff\xfe",
        "[core]\nowners = " + "[" * 2000,
    ],
)
def test_invalid_settings_file_is_refused(tmp_path: Path, text: str | bytes) -> None:
    assert refusal(tmp_path, text)


@pytest.mark.parametrize(
    "line",
    [
        f"core.provider{'.a' * 2_000} = 1",
        f"core.owners{'.a' * 2_000} = 1",
        f"plugins.ntfy{'.a' * 2_000} = 1",
        f"plugins.ntfy.a = {'[' * 100}1{']' * 100}",
        f"{'a.' * 2_000}a = 1",
    ],
    ids=range(5),
)
def test_deeply_nested_settings_are_refused(tmp_path: Path, line: str) -> None:
    assert "Fix it in" in refusal(tmp_path, line)


def test_settings_nested_as_deeply_as_allowed_are_read(tmp_path: Path) -> None:
    value = load(tmp_path, f"plugins.ntfy.a = {'[' * 17}1{']' * 17}").plugins["ntfy"]["a"]
    assert str(value).count("[") == 17


def test_settings_error_for_a_long_key_is_short(tmp_path: Path) -> None:
    assert len(refusal(tmp_path, f"core.{'k' * 100_000} = 1")) < 3_000


NUMBERS = [name for name, kind in CoreSettings.__annotations__.items() if kind in ("int", "float", "list[float]")]


@pytest.mark.parametrize("value", [-1, 10**13])
@pytest.mark.parametrize("name", NUMBERS)
def test_number_outside_its_bounds_is_refused(tmp_path: Path, name: str, value: int) -> None:
    assert " must be from " in refusal(tmp_path, f"[core]\n{name} = {[value] if name.endswith('pauses_s') else value}")


@pytest.mark.parametrize("name", ["delivery_pauses_s", "start_pauses_s"])
def test_pause_that_makes_a_busy_loop_is_refused(tmp_path: Path, name: str) -> None:
    message = refusal(tmp_path, f"[core]\n{name} = [0.0]")
    assert message.startswith(f"core.{name}: each item must be from 0.01 to 86400, got [0.0]. Fix it in ")


def test_directory_instead_of_settings_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "nanoclaw.toml").mkdir()
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path, {})


def test_value_can_come_from_the_environment(tmp_path: Path) -> None:
    text = "[core]\nprovider = 'env:PROVIDER'\nmax_sandboxes = 'env:COUNT'"
    settings = load(tmp_path, text, PROVIDER="mock", COUNT="7")
    assert (settings.core.provider, settings.core.max_sandboxes) == ("mock", 7)


def test_unset_variable_is_named(tmp_path: Path) -> None:
    assert "the environment variable PROVIDER is not set" in refusal(tmp_path, "[core]\nprovider = 'env:PROVIDER'")


def test_value_can_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    settings = load(tmp_path, "[plugins.ntfy]\ntoken = 'file:token'")
    assert settings.for_plugin("ntfy", Ntfy, {}) == Ntfy(token="secret")


@pytest.mark.parametrize("name", ["nowhere", ".", "a\\u0000b", "x" * 300])
def test_unreadable_value_file_is_named(tmp_path: Path, name: str) -> None:
    assert "cannot be read" in refusal(tmp_path, f'[core]\nprovider = "file:{name}"')


@frozen(kw_only=True)
class Ntfy:
    """The settings of a plugin."""

    token: str
    retries: int = 3
    rooms: list[str] = []  # noqa: RUF008  # never changed


def for_ntfy(table: dict[str, Any] | None, **environment: str) -> Ntfy | None:
    settings = Settings(home=Path("/nowhere"), plugins={} if table is None else {"ntfy": table})
    return settings.for_plugin("ntfy", Ntfy, environment)


def test_plugin_table_becomes_its_settings_class() -> None:
    assert for_ntfy({"token": "t", "retries": 5}) == Ntfy(token="t", retries=5)
    assert for_ntfy({"token": "env:TOKEN"}, TOKEN="t") == Ntfy(token="t")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (None, "token"),
        ({}, "token"),
        ({"tokn": "t"}, "Did you mean 'token'"),
        ({"token": 7}, r"plugins\.ntfy\.token: must be a string, got 7\."),
        ({"token": "t", "rooms": "all"}, "rooms"),
        ({"token": "env:TOKEN"}, "TOKEN is not set"),
    ],
)
def test_invalid_plugin_table_is_refused(table: dict[str, Any] | None, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        for_ntfy(table)


def test_plugin_without_settings_class_gets_none() -> None:
    assert Settings(home=Path("/nowhere"), plugins={"ntfy": {"x": 1}}).for_plugin("ntfy", None, {}) is None


@pytest.mark.parametrize("key", ["max_sandboxes", "cpus", "owners", "network"])
def test_settings_error_does_not_show_a_secret(tmp_path: Path, key: str) -> None:
    message = refusal(tmp_path, f"[core]\n{key} = 'env:SECRET'", SECRET="7x-secret")
    assert key in message
    assert "7x-secret" not in message


def test_machine_zone_is_a_valid_zone() -> None:
    assert clock.machine_zone({"TZ": "Europe/Berlin"}) == "Europe/Berlin"
    assert clock.machine_zone({"TZ": ":Europe/Berlin"}) == "Europe/Berlin"
    assert clock.is_zone(clock.machine_zone({"TZ": "PST8PDT"}))
    assert clock.is_zone(clock.machine_zone({}))


NAMES = st.sampled_from([*CoreSettings.__annotations__, "unknown"])
VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["env:A", "file:a", "\0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(NAMES, VALUES, max_size=3))
def test_any_table_is_read_with_its_types_or_refused(table: dict[str, Any]) -> None:
    settings = Settings(home=Path("/nowhere"), plugins={"core": table})
    try:
        core = settings.for_plugin("core", CoreSettings, {})
    except SettingsError:
        return
    assert core is not None
    assert type(core.max_sandboxes) is int
    assert type(core.idle_stop_s) is float
    assert all(type(owner) is str for owner in core.owners)


@given(st.text(max_size=50))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    home = tmp_path_factory.getbasetemp() / "any"
    home.mkdir(exist_ok=True)
    try:
        load(home, text.encode("utf-8", "surrogatepass"))
    except SettingsError as error:
        assert "nanoclaw.toml" in str(error)  # noqa: PT017  # most texts are refused, some are read


def test_raw_table_of_a_plugin_is_hidden_by_repr() -> None:
    assert "secret" not in repr(Settings(home=Path("/nowhere"), plugins={"ntfy": {"token": "secret"}}))

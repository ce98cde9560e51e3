"""Settings classes of plugins: validators, `Secret`, and the errors of both."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import traceback
from pathlib import Path
from typing import Any, Literal

import attrs
import cattrs
import pytest
from attrs import Attribute, field, frozen, validators
from attrs.exceptions import NotAnAttrsClassError
from nanoclaw_settings.errors import InvalidSetting, SettingsError
from nanoclaw_settings.reader import Reader
from nanoclaw_settings.rules import Rule, Secret, above, at_least, between, each, matches, not_empty, one_of

TOKEN = "tk_7x!secret"


def read(shape: type, table: dict[str, Any], **environment: str) -> Any:
    return Reader(file=Path("/nowhere/nanoclaw.toml"), environment=environment).read(table, shape, "plugins.ntfy")


def refusal(shape: type, table: dict[str, Any], **environment: str) -> str:
    """Return the message of the error, without its table and its remedy."""
    with pytest.raises(SettingsError) as caught:
        read(shape, table, **environment)
    assert TOKEN not in "".join(traceback.format_exception(caught.value))
    assert caught.value.remedy == "Fix it in /nowhere/nanoclaw.toml."
    return caught.value.fault.removeprefix("plugins.ntfy")


def chatty(_settings: object, _attribute: object, value: object) -> None:
    raise ValueError(f"{value.reveal() if isinstance(value, Secret) else value!r} has a blank")


def as_number(secret: Any) -> Any:
    return secret and int(secret.reveal())


def quoting(_settings: object, attribute: Attribute[Any], value: Any) -> None:
    raise InvalidSetting(attribute.name, f"must not be {value.reveal() if isinstance(value, Secret) else value}", value)


def no_blanks(_settings: object, _attribute: object, value: str) -> None:
    if " " in value:
        raise ValueError(f"a topic has no blanks, {value!r} has")


@frozen(kw_only=True)
class Ruled:
    """The settings of a plugin with the validators of nanoclaw."""

    mode: str = field(default="poll", validator=one_of("poll", "push"))
    retries: int = field(default=1, validator=at_least(0))
    pause_s: float | None = field(default=None, validator=above(0.5))
    share: float = field(default=1.0, validator=between(0.5, 2))
    topic: str = field(default="a", validator=matches("[a-z]+"))
    server: str = field(default="https://ntfy.sh", validator=matches("https://.*", "must be an https address"))
    rooms: list[str] = field(factory=lambda: ["a"], validator=not_empty())
    pauses_s: list[float] = field(factory=list, validator=each(at_least(0)))
    keys: list[Secret] = field(factory=list, validator=each(matches("tk_[a-z]+")))
    even: int = field(default=2, validator=Rule("must be even", lambda number: number % 2 == 0))
    token: Secret | None = field(default=None, validator=matches("tk_[a-z]+"))


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ({"mode": "pull"}, ".mode: must be one of poll, push, got 'pull'"),
        ({"retries": -1}, ".retries: must be at least 0, got -1"),
        ({"pause_s": 0.5}, ".pause_s: must be greater than 0.5, got 0.5"),
        ({"share": 0.4}, ".share: must be from 0.5 to 2, got 0.4"),
        ({"share": 2.1}, ".share: must be from 0.5 to 2, got 2.1"),
        ({"topic": "a\n"}, r".topic: must match [a-z]+, got 'a\n'"),
        ({"topic": "\x1b[31m\u202e"}, r".topic: must match [a-z]+, got '\x1b[31m\u202e'"),
        ({"server": "ftp://x"}, ".server: must be an https address, got 'ftp://x'"),
        ({"rooms": []}, ".rooms: must not be empty, got []"),
        ({"pauses_s": [1, -0.5]}, ".pauses_s: each item must be at least 0, got [1, -0.5]"),
        ({"keys": [TOKEN]}, ".keys: is invalid (BrokenRule), got Secret(…)"),
        ({"even": 3}, ".even: must be even, got 3"),
        ({"even": "env:EVEN"}, ".even: must be even, got 'env:EVEN'"),
        ({"token": TOKEN}, ".token: is invalid (BrokenRule), got Secret(…)"),
        ({"token": "env:TOKEN"}, ".token: is invalid (BrokenRule), got Secret(…)"),
        ({"token": 7}, ".token: must be a string, got Secret(…)"),
        ({"token": [TOKEN]}, ".token: must be a string, got Secret(…)"),
    ],
)
def test_rule_error_has_key_rule_and_value(table: dict[str, Any], fault: str) -> None:
    assert refusal(Ruled, table, EVEN="3", TOKEN=TOKEN) == fault


def test_rules_accept_none_and_valid_values() -> None:
    table = {"mode": "push", "retries": 0, "pause_s": 1, "topic": "b", "token": "tk_a", "keys": ["tk_b"]}
    secrets = {"token": Secret("tk_a"), "keys": [Secret("tk_b")]}
    assert read(Ruled, table) == Ruled(mode="push", retries=0, pause_s=1.0, topic="b", **secrets)
    assert read(Ruled, {"pause_s": None}).pause_s is None
    assert [read(Ruled, {"share": bound}).share for bound in (0.5, 2)] == [0.5, 2.0]


def test_rule_applies_to_an_instance_made_in_python() -> None:
    with pytest.raises(InvalidSetting, match=r"^retries: must be at least 0, got -1$") as caught:
        Ruled(retries=-1)
    assert (caught.value.key, caught.value.rule) == ("retries", "must be at least 0")
    with pytest.raises(InvalidSetting, match=r"^token: must match .*, got Secret\(…\)$"):
        Ruled(token=Secret(TOKEN))


class Unprintable:
    """A value that no error can show."""

    def __repr__(self) -> str:
        raise ArithmeticError


def test_rule_error_shows_the_class_of_an_unprintable_value() -> None:
    assert str(InvalidSetting("key", "must be even", Unprintable())) == "key: must be even, got a Unprintable"


@frozen(kw_only=True)
class Account:
    """A table with a secret."""

    password: Secret
    name: str = field(default="", validator=no_blanks)


@frozen(kw_only=True)
class WithSecrets:
    """The settings of a plugin whose own checks repeat the values."""

    token: Secret = Secret()
    chatty: Secret | None = field(default=None, validator=validators.optional(chatty))
    converted: Secret | None = field(default=None, converter=as_number)
    quoted: Secret | None = field(default=None, validator=validators.optional(quoting))
    tokens: list[Secret] = field(factory=list)
    by_room: dict[str, Secret] = field(factory=dict)
    accounts: list[Account] = field(factory=list)
    name: str = ""

    def __attrs_post_init__(self) -> None:
        if self.name == "raise" and self.token:
            raise ValueError(f"{self.token.reveal()} is invalid")
        if self.name == "refuse":
            raise InvalidSetting("token", "must be set with this name", self.token)


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ({"chatty": TOKEN}, ".chatty: is invalid (ValueError), got Secret(…)"),
        ({"converted": TOKEN}, ".converted: is invalid (ValueError), got Secret(…)"),
        ({"quoted": TOKEN}, ".quoted: is invalid (InvalidSetting), got Secret(…)"),
        ({"tokens": TOKEN}, ".tokens: must be a list, got Secret(…)"),
        ({"tokens": ["a", {"b": TOKEN}]}, ".tokens[1]: must be a string, got Secret(…)"),
        ({"by_room": {"a": [TOKEN]}}, ".by_room.a: must be a string, got Secret(…)"),
        ({"by_room": TOKEN}, ".by_room: must be a table, got Secret(…)"),
        ({"accounts": [TOKEN]}, ".accounts[0]: must be a table with the keys password, name, got Secret(…)"),
        ({"accounts": [{"password": {"x": TOKEN}}]}, ".accounts[0].password: must be a string, got Secret(…)"),
        (
            {"accounts": [{"password": TOKEN, "name": "a b"}]},
            ".accounts[0].name: a topic has no blanks, 'a b' has, got 'a b'",
        ),
        ({"token": TOKEN, "name": "raise"}, ": is invalid (ValueError)"),
        ({"name": "refuse"}, ".token: is invalid (InvalidSetting), got Secret(…)"),
        ({"token": TOKEN, "name": "refuse"}, ".token: is invalid (InvalidSetting), got Secret(…)"),
    ],
)
def test_secret_is_in_no_settings_error(table: dict[str, Any], fault: str) -> None:
    assert refusal(WithSecrets, table) == fault


def test_secret_under_an_unknown_key_is_not_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        read(WithSecrets, {"tokne": TOKEN})
    assert str(caught.value).startswith("plugins.ntfy.tokne: unknown key. Did you mean 'token'? Fix it in ")


def test_secret_is_read_from_text_variable_and_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    for value in (TOKEN, "env:TOKEN", "file:token"):
        reader = Reader(file=tmp_path / "nanoclaw.toml", environment={"TOKEN": TOKEN})
        assert reader.read({"token": value}, WithSecrets, "plugins.ntfy").token.reveal() == TOKEN


def test_secret_is_hidden_in_each_text_form(caplog: pytest.LogCaptureFixture) -> None:
    settings = WithSecrets(token=Secret(TOKEN), tokens=[Secret(TOKEN)])
    logging.getLogger("x").warning("%s %r", settings, settings.token, extra={"token": settings.token})
    shown = [
        f"{settings} {settings.token} {settings.token!r} %s" % settings.token,
        str(attrs.asdict(settings)),
        json.dumps(attrs.asdict(settings), default=str),
        str(vars(caplog.records[0])),
        str([settings.token, {"a": settings.token}]),
    ]
    assert [text for text in shown if TOKEN in text] == []
    assert str(settings.token) == "Secret(…)"


def test_secret_is_in_no_unstructured_settings() -> None:
    @dataclasses.dataclass
    class Data:
        token: Secret

    settings = WithSecrets(
        token=Secret(TOKEN), by_room={"a": Secret(TOKEN)}, accounts=[Account(password=Secret(TOKEN))]
    )
    shown = [
        cattrs.unstructure(settings),
        cattrs.unstructure(Secret(TOKEN)),
        cattrs.Converter(unstruct_strat=cattrs.UnstructureStrategy.AS_TUPLE).unstructure(settings),
        dataclasses.asdict(Data(token=Secret(TOKEN))),
        attrs.astuple(settings),
    ]
    assert [text for text in map(repr, shown) if TOKEN in text] == []


def test_secret_alone_is_no_table() -> None:
    for convert, error in ((attrs.asdict, NotAnAttrsClassError), (dataclasses.asdict, TypeError), (vars, TypeError)):
        with pytest.raises(error):
            convert(Secret(TOKEN))


def test_secret_is_a_frozen_value() -> None:
    secret = Secret(TOKEN)
    assert (secret, hash(secret)) == (Secret(TOKEN), hash(Secret(TOKEN)))
    assert copy.deepcopy(secret).reveal() == TOKEN
    assert secret != Secret("other")
    assert (bool(secret), bool(Secret())) == (True, False)
    with pytest.raises(AttributeError):
        secret._text = "other"  # type: ignore[misc]  # the test of this error


class Even:
    """A validator that uses the other fields."""

    def __call__(self, settings: Any, attribute: Attribute[int], value: int) -> None:
        if value % settings.size:
            raise ValueError(f"{attribute.name} must be a multiple of size")


@frozen(kw_only=True)
class Foreign:
    """The settings of a plugin with the validators of attrs and its own."""

    size: int = field(default=1, validator=validators.ge(1))
    _total: int = field(default=2, validator=Even())
    topic: str = field(default="", validator=validators.matches_re(r"[a-z]*"))
    own: str = field(default="", validator=no_blanks)
    quoted: str | None = field(default=None, validator=validators.optional(quoting))
    both: str = field(default="", validator=validators.and_(validators.max_len(20), no_blanks))
    colour: Any = field(default="red", converter=["red", "green"].index)
    level: Literal["low", "high"] = "low"
    pair: tuple[int, int] | None = None
    either: int | str | None = None

    def __attrs_post_init__(self) -> None:
        if self.own and self.topic:
            raise ValueError("own and topic exclude each other")


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ({"size": 0}, ".size: 'size' must be >= 1: 0, got 0"),
        ({"size": 3}, ": _total must be a multiple of size"),
        ({"topic": "A"}, ".topic: 'topic' must match regex '[a-z]*' ('A' doesn't), got 'A'"),
        ({"own": "a b"}, ".own: a topic has no blanks, 'a b' has, got 'a b'"),
        ({"both": "a b"}, ".both: a topic has no blanks, 'a b' has, got 'a b'"),
        ({"both": "x" * 21}, f".both: Length of 'both' must be <= 20: 21, got '{'x' * 21}'"),
        ({"colour": "blue"}, ".colour: 'blue' is not in list, got 'blue'"),
        ({"colour": "env:WORD"}, ".colour: is invalid (ValueError), got 'env:WORD'"),
        ({"own": "a b", "topic": "a"}, ".own: a topic has no blanks, 'a b' has, got 'a b'"),
        ({"own": "a", "topic": "b"}, ": own and topic exclude each other"),
        ({"topic": "env:TOKEN"}, ".topic: is invalid (ValueError), got 'env:TOKEN'"),
        ({"own": "env:TOKEN"}, ".own: is invalid (ValueError), got 'env:TOKEN'"),
        ({"quoted": "a"}, ".quoted: must not be a, got 'a'"),
        ({"quoted": "env:TOKEN"}, ".quoted: is invalid (InvalidSetting), got 'env:TOKEN'"),
        ({"own": "a", "topic": "env:WORD"}, ": is invalid (ValueError)"),
        ({"size": 0, "topic": "env:WORD"}, ".size: 'size' must be >= 1: 0, got 0"),
    ],
)
def test_error_of_foreign_validator_names_the_key(table: dict[str, Any], fault: str) -> None:
    assert refusal(Foreign, table, TOKEN=f"{TOKEN} x", WORD="word") == fault


@pytest.mark.parametrize(
    ("table", "key"), [({"level": "mid"}, "level"), ({"pair": [1, 2, 3]}, "pair"), ({"either": []}, "either")]
)
def test_value_of_another_kind_is_refused_with_its_key(table: dict[str, Any], key: str) -> None:
    assert refusal(Foreign, table).startswith(f".{key}: ")


@frozen
class Broken:
    """A settings class whose types cannot be resolved."""

    token: Missing = 1  # type: ignore[name-defined]  # noqa: F821  # the fault


def test_settings_class_with_an_unknown_type_is_refused() -> None:
    assert refusal(Broken, {"token": TOKEN}) == ": is invalid (NameError)"


@frozen
class Room:
    """A settings class that contains itself."""

    rooms: list[Room] = field(factory=list)
    topic: str = field(default="", validator=no_blanks)


def test_settings_class_that_contains_itself_is_read() -> None:
    assert refusal(Room, {"rooms": [{"rooms": [{"topic": "a b"}]}]}).startswith(".rooms[0].rooms[0].topic: ")
    assert refusal(Room, {"rooms": "a"}) == ".rooms: must be a list, got 'a'"

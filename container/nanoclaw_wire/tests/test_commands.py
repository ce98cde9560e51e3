import pytest
from nanoclaw_wire.commands import command_of


@pytest.mark.parametrize("text", ["/clear", " /ClEar it", "\n/CLEAR\tplease"])
def test_a_command_is_the_first_word_whatever_follows_it(text: str) -> None:
    assert command_of(text) == "/clear"


def test_warning_46_a_longer_word_is_another_command() -> None:
    assert command_of("/clearance sale") == "/clearance"


@pytest.mark.parametrize("text", ["", "  ", "clear", "what is /clear?", "a/b"])
def test_what_does_not_begin_with_a_slash_is_no_command(text: str) -> None:
    assert command_of(text) is None

import pytest
from nanoclaw_wire.commands import command_of


@pytest.mark.parametrize("text", ["/clear", " /ClEar it", "\n/CLEAR\tplease"])
def test_command_of_reads_only_the_first_word(text: str) -> None:
    assert command_of(text) == "/clear"


@pytest.mark.defect(number=46)
def test_command_of_longer_word_is_another_command() -> None:
    assert command_of("/clearance sale") == "/clearance"


@pytest.mark.parametrize("text", ["", "  ", "clear", "please /clear", "a/b"])
def test_command_of_text_without_slash_is_none(text: str) -> None:
    assert command_of(text) is None

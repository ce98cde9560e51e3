"""The sentence that suggests a known word for an unknown one."""

from __future__ import annotations

import pytest
from nanoclaw_wire.suggestions import did_you_mean


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("statsu", "Did you mean 'status'?"),
        ("strat", "Did you mean 'start'?"),
        ("xyz", "None is similar."),
        ("tap", "None is similar."),
        ("", ""),
    ],
)
def test_did_you_mean_names_the_nearest_word(word: str, sentence: str) -> None:
    assert did_you_mean(word, iter(("start", "status")), sentence and "None is similar.") == sentence


def test_did_you_mean_shows_the_word_in_another_form() -> None:
    assert did_you_mean("statsu", ["status"], show="`ncl {}`".format) == "Did you mean `ncl status`?"

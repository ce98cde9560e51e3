"""Tests of finding the code in a Markdown text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_runner.code_spans import CodeSpans


def code(text, start=0, **given):
    spans = CodeSpans(text).within(start, **given)
    return [text[span.start : span.end] for span in spans if span.end > span.start]


CASES = {
    "one backtick": ("a `b` c", ["`b`"]),
    "run of the same length closes": ("`` a ` b `` c", ["`` a ` b ``"]),
    "run of another length": ("`` a ` b", []),
    "two spans": ("`a` `b`", ["`a`", "`b`"]),
    "line end": ("`a\nb`", []),
    "escaped": (r"\`a` b", []),
    "escaped first of two": (r"\``a` b", ["`a`"]),
    "escaped backslash": (r"\\`a` b", ["`a`"]),
    "backslash in code": (r"`a\` b`", [r"`a\`"]),
    "fence": ("x\n```py\na\n```\ny", ["```py\na\n```"]),
    "empty fence": ("```\n```", ["```\n```"]),
    "longer closing fence": ("```\na\n`````\n", ["```\na\n`````"]),
    "closing fence with words": ("```\na\n``` x\n```", ["```\na\n``` x\n```"]),
    "blanks behind closing fence": ("~~~\na\n~~~ \t\r\n", ["~~~\na\n~~~"]),
    "fence with backtick in its words": ("``` `\na\n```", []),
    "code of three backticks in a line": ("``` a ``` b", ["``` a ```"]),
    "tildes in words": ("a ~~~ b ~~~ c", []),
    "unclosed fence": ("```\n`a`", ["`a`"]),
    "very long fence": ("`" * 30 + "\na\n" + "`" * 30, ["`" * 30 + "\na\n" + "`" * 30]),
    "tag ends no document": ("```\n```</message>\n```", ["```\n```</message>\n```"]),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_within_whole_text_yields_its_code(text, expected):
    """Each text has exactly this code."""
    assert expected == code(text)


def test_within_document_in_a_line_begins_a_line():
    """A body begins behind its tag, so a fence there opens code."""
    text = "<message>```\n`\n```</message>"
    assert code(text, text.index(">") + 1, closed_by="message") == ["```\n`\n```"]


def test_within_document_ignores_code_before_it():
    """A backtick before a body opens no code in it."""
    text = "a ` b <message>c ` d"
    assert code(text, text.index(">") + 1) == []


PIECES = st.sampled_from(["`", "``", "```", "\\", "a", "b"])
LINE = st.lists(PIECES, max_size=12).map(lambda pieces: "".join(["a", *pieces]))
CONTENT = st.lists(st.sampled_from(["`a`", "~~~", "b", ""]), max_size=4)
FENCED = st.tuples(st.sampled_from(["```", "~~~~"]), CONTENT).map(
    lambda block: "\n".join([block[0], *block[1], block[0]])
)


@given(st.lists(LINE | FENCED, max_size=6).map("\n\n".join))
def test_within_ordinary_text_agrees_with_markdown_it(text):
    """A CommonMark parser finds the same code in texts without our deviations."""
    markdown_it = pytest.importorskip("markdown_it")
    blocks = markdown_it.MarkdownIt("commonmark").parse(text)
    tokens = [token for block in blocks for token in (block, *(block.children or ()))]
    expected = [token.content.rstrip("\n") for token in tokens if token.type in ("fence", "code_inline")]
    assert expected == [content(span) for span in code(text)]


def content(span):
    lines = span.split("\n")
    return "\n".join(lines[1:-1]).rstrip("\n") if len(lines) > 1 else span.strip("`")

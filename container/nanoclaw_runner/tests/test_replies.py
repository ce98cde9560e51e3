"""Tests of parsing a model's text. `F` opens a block for family, `W` for work, `U` for an unknown name; `E` closes."""

import itertools
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_runner.replies import Parsed, needs_correction, parse
from nanoclaw_wire.inbound import Destination

F, W, U, E = '<message to="family">', '<message to="work">', '<message to="stranger">', "</message>"
NAMES = ["family", "work", "a & b", "it's"]
DESTINATIONS = [Destination(name=name, kind="channel", channel="chat", room=name) for name in NAMES]


def sent(text):
    return [(block.destination.name, block.body) for block in parse(text, DESTINATIONS).blocks]


CASES = {
    # plain blocks
    "body trimmed": (f"{F}\n hi \n{E}", [("family", "hi")]),
    "two blocks in order": (f"{W}1{E} and {F}2{E}", [("work", "1"), ("family", "2")]),
    "empty body": (f"{F} {E}", []),
    "no tag": ("hello", []),
    "lines of Windows": (f"{F}one\r\ntwo\r\n{E}\r\n{W}x{E}", [("family", "one\r\ntwo"), ("work", "x")]),
    # spellings of tags
    "two blanks": (f'{F}1{E}<message  to="work">2{E}', [("family", "1"), ("work", "2")]),
    "line break in tag": (f'<message\n\tto="family"\n>x{E}', [("family", "x")]),
    "blanks around equals sign": (f'<message to = "family" >x{E}', [("family", "x")]),
    "single quotes": (f"<message to='family'>x{E}", [("family", "x")]),
    "quote in other quotes": (f'<message to="it\'s">x{E}', [("it's", "x")]),
    "upper case": ('<MESSAGE TO="family">x</Message>', [("family", "x")]),
    "attribute behind": (f"<message to=\"family\" urgent id='1'>x{E}", [("family", "x")]),
    "attribute before": (f'<message reply-to="work" to="family">x{E}', [("family", "x")]),
    "escaped name": (f'<message to="a &amp; b">x{E}', [("a & b", "x")]),
    "name as it is": (f'<message to="a & b">x{E}', [("a & b", "x")]),
    "apostrophe as entity": (f"<message to='it&#x27;s'>x{E}", [("it's", "x")]),
    "blank in closing tag": (f"{F}x</message >y</message\n>", [("family", "x")]),
    "attribute in closing tag": (f'{F}x</message to="family">y', [("family", "x")]),
    "no quotes": (f"<message to=family>x{E}", []),
    "quote too many": (f'<message to="family"">x{E}', []),
    "no name": (f"<message>x{E}", []),
    "empty name": (f'<message to="">x{E}', []),
    "other tag": (f'<messages to="family">x{E}', []),
    "closes itself": (f'<message to="family"/>x{E}', []),
    "closes itself in a body": (f"{F}a <message/> b{E}", [("family", "a <message/> b")]),
    # the end of a body
    "first closing tag ends": (f"{F}a{E} b{E}", [("family", "a")]),
    "closing tag in thoughts behind": (f"{F}Done.{E}\n<internal>I wrote {E}, fine.</internal>", [("family", "Done.")]),
    "nested block is text": (f"{F}a {W}b{E} c{E}", [("family", f"a {W}b")]),
    "unclosed block with a whole one": (f"{F}half {W}whole{E}", [("family", f"half {W}whole")]),
    "unclosed": (f"{F}half", []),
    "unclosed behind a whole one": (f"{W}whole{E}{F}half", [("work", "whole")]),
    "closing tag alone": (f"{E}x{E}{F}y{E}", [("family", "y")]),
    "half a closing tag": (f"{F}x</message", []),
    # unknown names
    "unknown name": (f"{U}x{E}", []),
    "unknown name before known one": (f"{U}x{E}{F}y{E}", [("family", "y")]),
    "unknown name around known one": (f"{U}x {F}y{E} z{E}", [("family", "y")]),
    "unknown name in a body": (f"{F}a {U}b{E} c", [("family", f"a {U}b")]),
    # code
    "closing tag in backticks": (f"{F}write `{E}` last{E}", [("family", f"write `{E}` last")]),
    "closing tag in two backticks": (f"{F}write ``{E} ` `` last{E}", [("family", f"write ``{E} ` `` last")]),
    "closing tag in three backticks": (f"{F}write ```{E}``` last{E}", [("family", f"write ```{E}``` last")]),
    "whole block in backticks": (f"{F}as `{W}x{E}` does{E}", [("family", f"as `{W}x{E}` does")]),
    "opening tag in backticks": (f"I use `{F}` now. {F}x{E}", [("family", "x")]),
    "whole block in backticks outside": (f"As in `{F}x{E}`.", []),
    "fence in a body": (f"{F}\n```xml\n{W}x{E}\n```\n{E}", [("family", f"```xml\n{W}x{E}\n```")]),
    "fence of tildes": (f"{F}\n~~~\n{E}\n~~~\nend{E}", [("family", f"~~~\n{E}\n~~~\nend")]),
    "fence outside": (f"```\n{F}x{E}\n```\n{F}y{E}", [("family", "y")]),
    "indented fence": (f"{F}\n1. a\n   ```\n   {E}\n   ```\n{E}", [("family", f"1. a\n   ```\n   {E}\n   ```")]),
    "quoted fence": (f"{F}\n> ```\n> {E}\n> ```\n{E}", [("family", f"> ```\n> {E}\n> ```")]),
    "fence of Windows": (f"{F}\r\n```\r\n{E}\r\n```\r\n{E}", [("family", f"```\r\n{E}\r\n```")]),
    "long fence around short one": (
        f"{F}\n````\n```\n{E}\n```\n````\n{E}",
        [("family", f"````\n```\n{E}\n```\n````")],
    ),
    "fence behind the tag": (f"{F}```\n{W}{E}\n```{E}{W}x{E}", [("family", f"```\n{W}{E}\n```"), ("work", "x")]),
    "tags by a fence in two bodies": (
        f"{F}```\na\n```{E}\n{W}\n```\nb\n```\n{E}",
        [("family", "```\na\n```"), ("work", "```\nb\n```")],
    ),
    "escaped backtick is no code": (f"{F}a \\` b{E} c ` d", [("family", "a \\` b")]),
    # seeming code
    "stray backtick": (f"{F}the ` key{E}", [("family", "the ` key")]),
    "stray backticks in two bodies": (f"{F}a ` b{E}{W}c ` d{E}", [("family", "a ` b"), ("work", "c ` d")]),
    "stray backticks on two lines": (f"{F}a ` b{E}\nc ` d {W}e{E}", [("family", "a ` b"), ("work", "e")]),
    "stray backticks in body and behind": (f"{F}a ` b{E} c ` d", [("family", "a ` b")]),
    "stray backticks and a block behind": (f"{F}a ` b{E} c ` d {W}e{E}", [("family", "a ` b"), ("work", "e")]),
    "stray backtick in the scratchpad": (f"a ` b\n{F}c ` d{E}", [("family", "c ` d")]),
    "quotation marks of LaTeX": (f"{F}``no''{E} {W}``yes''{E}", [("family", "``no''"), ("work", "``yes''")]),
    "fence never closed": (f"{F}\n```\ncode{E}\n{W}x{E}", [("family", "```\ncode"), ("work", "x")]),
    "fence never closed and one behind": (
        f"{F}\n```\ncode\n{E}\n{W}\n```\nx\n```\n{E}",
        [("family", "```\ncode"), ("work", "```\nx\n```")],
    ),
    "fence never closed and one in the scratchpad": (
        f"{F}\n```\ncode\n{E}\nhm\n```\nhm\n```\n{W}x{E}",
        [("family", "```\ncode"), ("work", "x")],
    ),
    "fence closed by another sign": (f"{F}\n```\n~~~\n{E}", [("family", "```\n~~~")]),
    "fence closed by a shorter one": (f"{F}\n````\n```\n{E}", [("family", "````\n```")]),
    # thoughts
    "block in thoughts": (f"<internal>draft: {F}no{E}</internal>", []),
    "thoughts in a body": (f"{F}a <internal>b</internal>c{E}", [("family", "a c")]),
    "only thoughts in a body": (f"{F}<internal>b</internal>{E}", []),
    "closing tag in thoughts in a body": (f"{F}a<internal>{E}</internal>b{E}", [("family", "ab")]),
    "thoughts in code": (f"{F}use `<internal>x</internal>`{E}", [("family", "use `<internal>x</internal>`")]),
    "opening of thoughts in code": (f"{F}use `<internal>`{E}{W}x{E}", [("family", "use `<internal>`"), ("work", "x")]),
    "code in thoughts": (f"<internal>`</internal>` {F}no{E}</internal>{F}yes{E}", [("family", "yes")]),
    "stray backticks in thoughts and behind": (f"<internal>a ` b</internal>{F}c ` d{E}", []),  # in doubt, not sent
    "stray backtick in thoughts": (f"<internal>a ` b</internal>\n{F}c ` d{E}", [("family", "c ` d")]),
    "thoughts in thoughts": (f"<internal>a<internal>b</internal>{F}no{E}</internal>{F}yes{E}", [("family", "yes")]),
    "thoughts name their tag": (f"<internal>an <internal> tag.</internal>{F}yes{E}", [("family", "yes")]),
    "thoughts in any case": (f"<INTERNAL >{F}no{E}</Internal>{F}yes{E}", [("family", "yes")]),
    "thoughts close themselves": (f"<internal/>{F}yes{E}", [("family", "yes")]),
    "thoughts never closed": (f"{W}yes{E}<internal>draft: {F}no{E}", [("work", "yes")]),
    "thoughts never closed in a body": (f"{F}a <internal>no{E}{W}b{E}", [("family", "a"), ("work", "b")]),
    "end of thoughts alone": (f"</internal>{F}a</internal>b{E}", [("family", "a</internal>b")]),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_parse_text_delivers_its_blocks(text, expected):
    """Each text delivers exactly its blocks."""
    assert expected == sent(text)


def test_parse_quoted_closing_tag_cuts_the_body():
    """A closing tag outside code ends the body, even if the model meant to quote it.

    Earlier, a body reached to its last closing tag, so that it could quote one. Then private text reached the chat.
    People can see a cut quotation, but a leak cannot be undone (decision 0011).
    """
    assert sent(f"{F}write {E} at the end{E}{W}ok{E}") == [("family", "write"), ("work", "ok")]


def test_parse_text_outside_blocks_is_the_scratchpad():
    """The scratchpad is the text between blocks, without thoughts."""
    parsed = parse(f"plan <internal>secret\nthing</internal>\n{F}x{E} done", DESTINATIONS)
    assert parsed.scratchpad == "plan \n done"


def test_parse_unknown_names_are_in_the_scratchpad():
    """A text for an unknown name reached no reader, so the model must learn it."""
    parsed = parse(f"{U}x{E}{U}y{E}", DESTINATIONS)
    assert (f"{U}x{E}{U}y{E}", ("stranger",)) == (parsed.scratchpad, parsed.unknown)


def test_parse_unclosed_thoughts_are_reported():
    """They are not in the scratchpad, which people would see after a raw command."""
    parsed = parse("plan <internal>secret", DESTINATIONS)
    assert Parsed(scratchpad="plan", is_hiding=True) == parsed


def test_parse_unclosed_block_is_in_the_scratchpad():
    """Half a message is not sent."""
    assert parse(f"a {F}half", DESTINATIONS) == Parsed(scratchpad=f"a {F}half")


PIECES = [F, W, U, E, "<internal>", "</internal>", "`", "``", "```", "~~~", "\n", "\n```\n", "\n~~~x\n", "\\", " ", "a"]


@given(st.lists(st.sampled_from(PIECES), max_size=30))
def test_parse_any_text_delivers_only_its_words(pieces):
    """Every delivered word was written, and no word is both delivered and scratchpad."""
    words = itertools.cycle(string.ascii_uppercase)
    text = "".join(next(words) if piece == "a" else piece for piece in pieces)
    parsed = parse(text, DESTINATIONS)
    kept = parsed.scratchpad + "".join(block.body for block in parsed.blocks)
    for name in (F, W, U, E):
        kept, text = kept.replace(name, ""), text.replace(name, "")
    capitals = [[c for c in where if c.isupper()] for where in (kept, text)]
    assert all(capitals[0].count(c) <= capitals[1].count(c) for c in string.ascii_uppercase)


HOSTILE = [
    "<internal>",
    "<internal></internal><internal>",
    f"<internal>{F}",
    F,
    E,
    f"{F}{E}",
    f"{F}`{E}` ",
    f"{F}\n```x\n{E}\n",
    f"{F}```x ",
    f"{F}\n```\n{E}\n```\n```\n{F}\n",
    f"{F}<internal>{E}",
    f"{F}`{E}`<internal>``{E}``</internal>",
    "`",
    "` `` ",
    "```\n",
    "~~~~\n```\n",
    "<message ",
    '<message to="',
    "<message a='<message' ",
    "\\`",
    "> ",
    "\n ",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_parse_hostile_text_takes_linear_time(piece):
    """A search that restarts at each piece would take minutes."""
    text = piece * (300_000 // len(piece))
    assert len(parse(text, DESTINATIONS).scratchpad) <= len(text)


def correct(parsed, **known):
    usual = {"has_spoken": False, "has_names": True}
    return needs_correction(parsed, **{**usual, **known})


BARE = Parsed(scratchpad="hello")


def test_needs_correction_bare_text_is_true():
    assert correct(BARE)


def test_needs_correction_unknown_name_is_true():
    assert correct(parse(f"{U}x{E}", DESTINATIONS))


@pytest.mark.parametrize("behind", ["", " <internal>done</internal>"])
def test_needs_correction_hidden_block_is_true(behind):
    """The answer stands behind thoughts that were never closed."""
    assert correct(parse(f"<internal>hm {F}hi{E}{behind}", DESTINATIONS))


@pytest.mark.defect(number=10)
def test_needs_correction_after_a_tool_sent_is_false():
    """A turn without text needs none either."""
    assert not correct(BARE, has_spoken=True)
    assert not correct(Parsed())


def test_needs_correction_without_names_is_false():
    assert not correct(BARE, has_names=False)

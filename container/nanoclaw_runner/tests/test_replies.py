from nanoclaw_runner.replies import Block, Parsed, needs_correction, parse, strip_internal


def test_a_block_goes_to_the_name_in_its_tag():
    assert (Block("family", "hi"),) == parse('<message to="family">\n hi \n</message>').blocks


def test_several_blocks_keep_their_order():
    assert [Block("a", "1"), Block("b", "2")] == list(
        parse('<message to="a">1</message> and <message to="b" >2</message>').blocks
    )


def test_a_body_that_quotes_a_closing_tag_is_not_cut():
    text = '<message to="a">write </message> at the end</message><message to="b">ok</message>'
    assert (Block("a", "write </message> at the end"), Block("b", "ok")) == parse(text).blocks


def test_a_block_that_is_never_closed_is_no_block():
    parsed = parse('<message to="a">half <message to="b">whole</message>')
    assert (Block("b", "whole"),) == parsed.blocks
    assert parsed.scratchpad == "half"


def test_a_tag_of_another_form_is_no_tag():
    for text in ("<message to='a'>x</message>", '<message to="a" id="1">x</message>', "<message>x</message>"):
        assert parse(text).blocks == ()


def test_an_empty_body_is_not_sent():
    assert parse('<message to="a"> </message>').blocks == ()


def test_text_outside_of_blocks_is_the_scratchpad_without_thoughts():
    parsed = parse('plan <internal>secret\nthing</internal>\n<message to="a">x</message> done')
    assert parsed.scratchpad == "plan \n done"


def test_internal_tags_are_stripped_over_lines_and_more_than_once():
    assert strip_internal("a <internal>1</internal> b<internal>\n2\n</internal>") == "a  b"
    assert strip_internal("<internal>only</internal>") == ""
    assert strip_internal("none") == "none"
    assert strip_internal("a <internal>1</internal> b <internal> c") == "a  b <internal> c"


def test_very_many_tags_that_are_never_closed_are_read_in_one_go():
    text = "<internal>" * 100_000
    assert strip_internal(text) == text


def correct(parsed, **known):
    usual = {"sent": 0, "has_spoken": False, "is_corrected": False, "has_names": True}
    return needs_correction(parsed, **{**usual, **known})


BARE = Parsed(blocks=(), scratchpad="hello")


def test_bare_text_is_corrected_once():
    assert correct(BARE)
    assert not correct(BARE, is_corrected=True)


def test_a_block_to_nobody_known_is_corrected():
    assert correct(Parsed(blocks=(Block("x", "y"),), scratchpad=""))


def test_warning_10_no_correction_after_a_tool_spoke_or_without_text():
    assert not correct(BARE, has_spoken=True)
    assert not correct(Parsed(blocks=(), scratchpad=""))


def test_no_correction_where_nobody_can_be_reached():
    assert not correct(BARE, has_names=False)

import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_tasks import grid, grids

from arcfold.arc.pictures import PALETTE, Panel, draw_rows

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*rows):
    return ElementTree.fromstring(draw_rows("title", rows))


def cells_of(picture):
    return [rect.get("fill") for rect in picture.iter(f"{SVG}rect") if rect.get("stroke-width") == "0.5"]


@given(cells=grids(12))
def test_every_cell_is_drawn_once_in_its_colour_row_by_row(cells):
    assert cells_of(drawn([Panel("x", cells)])) == [PALETTE[cell] for row in cells for cell in row]


def test_the_ten_colours_differ():
    assert len(set(PALETTE)) == 10


@given(cells=grids(30))
def test_nothing_is_drawn_outside_the_picture_and_cells_are_square(cells):
    picture = drawn([Panel("x", cells), Panel("y", cells, right=True)], [Panel("z", cells, right=False)])
    width, height = (float(picture.get(name)) for name in ("width", "height"))
    for rect in picture.iter(f"{SVG}rect"):
        left, top = float(rect.get("x", 0)), float(rect.get("y", 0))
        assert left >= 0
        assert top >= 0
        assert left + float(rect.get("width")) <= width
        assert top + float(rect.get("height")) <= height
        if rect.get("stroke-width") == "0.5":
            assert rect.get("width") == rect.get("height")


def test_right_and_wrong_attempts_have_frames_of_different_colours():
    def frames(right):
        return {r.get("stroke") for r in drawn([Panel("x", grid("1"), right)]).iter(f"{SVG}rect")} - {None, "#555555"}

    assert len(frames(True)) == len(frames(False)) == 1
    assert frames(True) != frames(False)
    assert frames(None) == set()


def test_captions_are_escaped_and_a_panel_may_have_no_grid():
    picture = drawn([Panel("a < b & c", None)])
    assert [text.text for text in picture.iter(f"{SVG}text")] == ["title", "a < b & c"]
    assert cells_of(picture) == []


HOSTILE = [
    '"><script>alert(1)</script>',
    "</text></svg><script>",
    "a & b &amp; c &#60;",
    "<!--",
    "]]>",
    "<![CDATA[ x",
    "'/><image href='http://example.org/x'/>",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_text_and_nothing_else(name):
    picture = ElementTree.fromstring(draw_rows(name, [[Panel(name, grid("1"), True)]]))
    assert [text.text for text in picture.iter(f"{SVG}text")] == [name, name]
    assert {element.tag for element in picture.iter()} == {f"{SVG}svg", f"{SVG}rect", f"{SVG}text"}


@given(name=st.text(st.characters(exclude_categories=())))
def test_whatever_the_characters_it_is_a_picture_in_utf_8(name):
    drawn_bytes = draw_rows(name, [[Panel(name, None)]]).encode("utf-8")
    (first, second) = ElementTree.fromstring(drawn_bytes).iter(f"{SVG}text")
    assert first.text == second.text
    assert (first.text or "").isprintable()


def test_what_turns_the_direction_of_text_or_means_something_to_a_terminal_is_left_out():
    title = "a\u202eb\x1b[31mc\x00d\ufffee\nf"
    picture = ElementTree.fromstring(draw_rows(title, [[Panel("x", None)]]))
    assert next(picture.iter(f"{SVG}text")).text == "a b [31mc d e f"

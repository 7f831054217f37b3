"""The page as text: whole, without a network, and nothing of a user's read as markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from hostile import HOSTILE
from made_pages import page_of

from arcfold.reports.formats import duration, setting


class Reader(HTMLParser):
    """The elements of a page and the text in them."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self._open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._open.append(tag)

    def handle_data(self, data):
        self.texts.append((self._open[-1] if self._open else "", data))

    def named(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module", params=["study", "run", "hostile"])
def text(request, pages):
    return pages[request.param].read_text(encoding="utf-8")


def test_the_page_needs_nothing_but_itself(text):
    read = Reader(text)
    for tag, attributes in read.elements:
        assert "src" not in attributes, tag
        assert attributes.get("href", "#").startswith("#"), attributes
        assert not [name for name in attributes if name.startswith("on")]
    assert not read.named("link")
    style = text.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = [each["content"] for each in read.named("meta") if each.get("http-equiv")]
    assert "default-src 'none'" in policy
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{hashed}'" in policy


def test_every_script_element_is_ours(text):
    kinds = [(each.get("type"), each.get("id")) for each in Reader(text).named("script")]
    assert kinds[:2] == [("application/json", "summary"), (None, None)]
    assert [kind for kind, _ in kinds[2:]] == ["application/gzip"] * (len(kinds) - 2)
    assert len(kinds) > 3


def test_hostile_names_are_text(pages):
    text = pages["hostile"].read_text(encoding="utf-8")
    read = Reader(text)
    assert not read.named("img")
    assert "hurt()" not in "".join(str(attributes) for tag, attributes in read.elements if tag == "script")
    # the parser puts entities together, so what stands there whole was escaped
    shown = "".join(data for tag, data in read.texts if tag != "script")
    assert shown.count(HOSTILE) > 12
    (summary,) = re.findall(r'<script type="application/json" id="summary">(.*?)</script>', text, re.DOTALL)
    assert "<" not in summary
    assert json.loads(summary)["notes"] == HOSTILE


def test_equal_data_gives_equal_bytes(study, pages):
    assert page_of(study) == pages["study"].read_text(encoding="utf-8")


def test_the_table_has_the_figures_of_the_comparison_without_a_script(study, pages):
    text = pages["study"].read_text(encoding="utf-8")
    table = text.partition('<table class="runs"')[2].partition("</table>")[0]
    rows = [re.sub(r"<[^>]+>", " ", row) for row in re.findall(r'<tr class="configuration.*?</tr>', table, re.DOTALL)]
    assert len(rows) == len(study.comparison["configurations"])
    for row, each in zip(rows, study.comparison["configurations"], strict=True):
        words = row.split()
        assert words[0] == each["name"]
        for figure in (each["score"]["mean"], each["score"]["best"], each["oracle"]["mean"]):
            assert f"{figure:.2f}" in words
        assert "20.5 GPU" in row
        assert "31c8089" in words
    # each run has a row of its own
    assert table.count('<tr class="seed"') == len(study.names)
    assert [word for word in ("Does a lower rank help?",) if word in text]


@pytest.mark.parametrize(
    ("seconds", "said"), [(None, "–"), (3.14, "3.1 s"), (59.99, "60.0 s"), (61, "1 min 01 s"), (3700, "1 h 01 min")]
)
def test_a_duration_has_the_two_units_that_matter(seconds, said):
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("value", "said"), [(None, "–"), (True, "true"), (1e-4, "0.0001"), (["a", "b"], "a, b"), ("packed", "packed")]
)
def test_a_setting_is_written_as_in_the_config(value, said):
    assert setting(value) == said

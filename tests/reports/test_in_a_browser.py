"""The page in a real browser: it says no error, filters, sorts, and shows what the files have."""

from __future__ import annotations

import csv
import io
import math
from statistics import mean

import browsers
import pytest
from hostile import HOSTILE

WHY_NOT = browsers.missing()
pytestmark = [pytest.mark.browser, pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))]


class Page:
    """A page that is open, asked in JavaScript."""

    def __init__(self, driver, path):
        self.driver = driver
        browsers.look_like(driver, 1280, 900)
        browsers.prefer(driver, "light")
        driver.get("about:blank")
        driver.get_log("browser")
        driver.get(path.as_uri())

    def ask(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def texts(self, selector):
        return self.ask("return [...document.querySelectorAll(arguments[0])].map(e => e.textContent.trim())", selector)

    def shown(self, selector):
        """The texts of what can be seen."""
        seen = "[...document.querySelectorAll(arguments[0])].filter(e => e.checkVisibility())"
        return [text.strip() for text in self.ask(f"return {seen}.map(e => e.textContent)", selector)]

    def count(self, selector):
        return self.ask("return document.querySelectorAll(arguments[0]).length", selector)

    def go(self, place):
        """Opens a place of the page and waits until it is there."""
        self.driver.execute_async_script(
            "const done = arguments[1]; addEventListener('hashchange', () => setTimeout(done, 0), {once: true});"
            "if (location.hash === arguments[0]) done(); else location.hash = arguments[0];",
            place,
        )

    def wait_for(self, selector):
        self.driver.execute_async_script(
            "const [selector, done] = arguments;"
            "const look = () => (document.querySelector(selector) ? done() : setTimeout(look, 5)); look();",
            selector,
        )

    def type(self, keys):
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver, duration=0).send_keys(keys).perform()

    def filter(self, selector, text):
        self.ask(
            "const e = document.querySelector(arguments[0]); e.value = arguments[1];"
            "e.dispatchEvent(new Event('input', {bubbles: true}))",
            selector,
            text,
        )

    def press(self, keys):
        """Types keys that lead to another place, and waits until the page is there."""
        from selenium.webdriver.support.ui import WebDriverWait

        before = self.ask("return location.hash")
        self.type(keys)
        WebDriverWait(self.driver, 20, 0.01).until(lambda _: self.ask("return location.hash") != before)
        self.driver.execute_async_script("setTimeout(arguments[0])")

    def click(self, selector):
        self.ask("document.querySelector(arguments[0]).click()", selector)

    def downloaded(self, selector):
        """What a click on a button would save."""
        return self.driver.execute_async_script(
            "const [selector, done] = arguments; const make = URL.createObjectURL;"
            "URL.createObjectURL = (blob) => { blob.text().then(done); URL.createObjectURL = make; return '#'; };"
            "document.querySelector(selector).click();",
            selector,
        )

    @property
    def errors(self):
        return [line["message"] for line in self.driver.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]


@pytest.fixture(params=["study", "run", "hostile", "mixed", "theirs"])
def each(request, driver, pages):
    return Page(driver, pages[request.param])


@pytest.fixture
def page(driver, pages):
    return Page(driver, pages["study"])


def names(study):
    return [configuration["name"] for configuration in study.comparison["configurations"]]


def test_every_page_is_drawn_without_an_error(each):
    assert each.count("#overview svg.pair") == each.ask("return JSON.parse(summary.textContent).pairs.length")
    each.click("#runs .configuration")
    each.go("#/tasks")
    assert each.count(".cell") > 0
    each.go(each.ask("return document.querySelector('.cell').getAttribute('href')"))
    each.wait_for("#task .grid")
    assert each.count("#task .panel.right") >= 1
    each.driver.execute_async_script("setTimeout(arguments[0], 20)")
    each.go("#/compare")
    assert each.count("#compare table") > 0
    assert each.errors == []
    assert each.ask("return typeof hurt") == "undefined"


def test_hostile_names_are_seen_as_they_are(driver, pages):
    page = Page(driver, pages["hostile"])
    assert page.count("img") == 0
    assert all(text.startswith("8folds") and text.endswith(HOSTILE) for text in page.shown("#findings .who > bdi"))
    page.go("#/tasks")
    assert all(text.endswith(HOSTILE) for text in page.texts("#matrix tbody th"))
    page.go("#/compare")
    assert HOSTILE in "".join(page.texts("#compare .facts td"))
    # a name's letters may turn the direction of writing, though not beyond it
    assert page.count("#compare .facts td > bdi") > 0


def test_the_filter_leaves_the_rows_that_it_names_in_table_and_charts(page, study):
    page.filter("#runs-filter", "folds=16")
    assert page.shown("#runs .configuration th bdi") == ["8folds_folds16"]
    assert page.texts("#runs-count") == ["1 of 4"]
    assert page.count("#cost-chart .mark") == page.count("#misses-chart .row") == 1
    page.filter("#runs-filter", "folds1")
    assert page.shown("#runs .configuration th bdi") == ["8folds_folds1", "8folds_folds16"]
    page.filter("#runs-filter", "nothing like it")
    assert page.shown("#runs .configuration") == []
    page.filter("#runs-filter", "")
    assert page.shown("#runs .configuration th bdi") == names(study)
    assert page.errors == []


def test_a_click_on_a_head_sorts_by_its_figures(page, study):
    means = {each["name"]: each["score"]["mean"] for each in study.comparison["configurations"]}
    falling = sorted(means, key=means.get, reverse=True)
    page.click("#runs th.score button")
    assert page.shown("#runs .configuration th bdi") == falling
    assert page.ask("return document.querySelector('#runs th.score').ariaSort") == "descending"
    page.click("#runs th.score button")
    assert page.shown("#runs .configuration th bdi") == falling[::-1]
    # as a number, not as a word: 1 < 2 < 8 < 16
    page.click("#runs th.setting button")
    assert page.shown("#runs .configuration td.setting") == ["1", "2", "8", "16"]


def test_a_row_opens_its_seeds(page, study):
    assert page.shown("#runs .seed") == []
    page.click("#runs tbody:nth-of-type(2) .configuration")
    assert page.shown("#runs .seed th bdi") == study.names[3:6]
    page.click("#runs tbody:nth-of-type(2) .more")
    assert page.shown("#runs .seed") == []


def test_the_table_is_saved_as_it_is_shown(page, study):
    page.filter("#runs-filter", "folds16")
    rows = list(csv.DictReader(io.StringIO(page.downloaded("#runs-export"))))
    assert [row["run"] for row in rows] == study.names[9:]
    for row in rows:
        assert float(row["score"]) == study.scores[row["run"]]["score"]
        assert row["folds"] == "16"


def test_a_cell_that_a_spreadsheet_would_compute_is_text(driver, pages):
    page = Page(driver, pages["hostile"])
    text = page.downloaded("#runs-export")
    rows = list(csv.reader(io.StringIO(text)))
    assert len({len(row) for row in rows}) == 1
    assert all(not cell.startswith(("=", "@")) for row in rows for cell in row)


def shares(study):
    """By task and configuration the share that each seed has right."""
    return {
        task.id: [
            [study.scores[run["run"]]["tasks"][task.id]["score"] for run in configuration["runs"]]
            for configuration in study.comparison["configurations"]
        ]
        for task in study.tasks
    }


def right(study, run, task):
    """Which outputs of a task a run has right."""
    return tuple(output["correct"] for output in study.scores[run]["tasks"][task]["outputs"])


def test_the_matrix_is_ordered_by_difficulty_and_marks_flips(page, study):
    page.go("#/tasks")
    by_task = shares(study)
    ease = {name: mean(mean(seeds) for seeds in runs) for name, runs in by_task.items()}
    assert page.texts("#matrix tbody th") == sorted(ease, key=lambda name: (round(ease[name], 9), name))
    flips = [
        task.id
        for task in study.tasks
        for configuration in study.comparison["configurations"]
        if len({right(study, run["run"], task.id) for run in configuration["runs"]}) > 1
    ]
    assert page.count(".cell.flip") == len(flips) > 0
    page.filter("#tasks-show", "flips")
    assert set(page.texts("#matrix tbody th")) == set(flips)
    page.filter("#tasks-show", "none")
    assert set(page.texts("#matrix tbody th")) == {name for name in ease if ease[name] == 0}
    page.filter("#tasks-show", "all")
    page.filter("#tasks-filter", study.tasks[3].id[:5])
    assert page.texts("#matrix tbody th") == [study.tasks[3].id]
    (row,) = csv.DictReader(io.StringIO(page.downloaded("#tasks-export")))
    assert row["task"] == study.tasks[3].id
    assert float(row["solved"]) == pytest.approx(ease[row["task"]], abs=1e-3)


def test_a_task_shows_what_each_run_found_in_which_view(page, study, found):
    task = study.tasks[1]
    page.go(f"#/task/{task.id}")
    page.wait_for("#task .views")
    output = found.by_task[task.id].outputs[0]
    shown = output.shown(task.test[0].output)
    assert page.count("#task .candidates .panel") == len(shown)
    assert page.count("#task .candidates .panel.right") == (task.test[0].output in shown)
    order = page.ask(
        "return [...document.querySelectorAll('#task .candidates svg')].map(e => e.ariaLabel.split(': ')[1])"
    )
    grids = [tuple(tuple(map(int, row)) for row in text.split(", ")) for text in order]
    assert set(grids) == set(shown)
    # of the second run: the same ranks, the same probabilities
    page.click("#task .findings-table tbody tr:nth-child(2)")
    rows = page.ask(
        "return [...document.querySelectorAll('#task .views tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
    )
    own = {place: output.findings[grid][1] for place, grid in enumerate(grids) if 1 in output.findings[grid]}
    assert len(rows) == len(own)
    for head, *cells in rows:
        rank, letter = head.removeprefix("#").split()
        finding = own["ABCDEFGHIJ".index(letter)]
        assert int(rank) == finding.rank
        for cell, value in zip(cells, [*finding.found, *finding.scored], strict=False):
            if math.isnan(value):
                assert cell == "·"
            elif value > -4:
                assert float(cell.removesuffix(" %")) / 100 == pytest.approx(math.exp(value), rel=0.1, abs=0.006)
        assert float(cells[-1].replace("−", "-")) == pytest.approx(finding.value, abs=1e-3)
    # the next one in the order of the matrix
    page.press("j")
    page.wait_for("#task .views")
    assert page.texts("#task h1") != [task.id]
    assert page.errors == []


def test_two_runs_are_compared_in_settings_code_and_environment(page, study):
    first, second = names(study)[2], names(study)[3]
    page.go(f"#/compare/{first}/{second}")
    (settings,) = page.ask(
        "return [...document.querySelectorAll('[aria-label=Settings] .scroll')].slice(0, 1)"
        ".map(t => [...t.querySelectorAll('tbody tr')].map(r => [...r.cells].map(c => c.textContent)))"
    )
    assert settings == [["folds", "2", "16"]]
    assert "torch" in "".join(page.texts("[aria-label='Code and environment'] tbody th"))
    by_task = shares(study)
    won = {name for name, runs in by_task.items() if mean(runs[2]) > mean(runs[3])}
    lost = {name for name, runs in by_task.items() if mean(runs[2]) < mean(runs[3])}
    assert set(page.texts("[aria-label=Tasks] .two > div:nth-child(1) a")) == won
    assert set(page.texts("[aria-label=Tasks] .two > div:nth-child(2) a")) == lost
    # a pair of the comparison has its verdict, read in either direction
    pair = study.comparison["pairs"][0]
    for a, b, sign in ((pair["a"], pair["b"], 1), (pair["b"], pair["a"], -1)):
        page.go(f"#/compare/{a}/{b}")
        said = page.texts("#compare .hero .figure")[0].replace("−", "-").split()[0]
        assert float(said) == pytest.approx(sign * pair["difference"], abs=0.06)
        assert page.texts("#compare .note") == [pair["sentence"]]


def test_everything_is_reached_with_keys(page):
    from selenium.webdriver.common.keys import Keys

    page.press("2")
    assert page.shown("h1") == ["Tasks"]
    page.type("/")
    assert page.ask("return document.activeElement.id") == "tasks-filter"
    page.type("3")  # into the field
    assert page.shown("h1") == ["Tasks"]
    page.type(Keys.ESCAPE)
    page.filter("#tasks-filter", "")
    page.ask("document.querySelector('.cell').focus()")
    first = page.ask("return document.activeElement.getAttribute('aria-label')")
    page.type(Keys.ARROW_DOWN + Keys.ARROW_RIGHT + Keys.ARROW_UP + Keys.ARROW_LEFT)
    assert page.ask("return document.activeElement.getAttribute('aria-label')") == first
    page.type(Keys.ARROW_RIGHT)
    assert page.ask("return document.activeElement.getAttribute('aria-label')") != first
    page.press(Keys.ENTER)
    page.wait_for("#task .grid")
    page.press(Keys.ESCAPE)
    assert page.shown("h1") == ["Tasks"]
    page.press("1")
    page.type("jj")
    assert page.ask("return document.activeElement.closest('tbody').dataset.configuration") == "1"
    page.type(Keys.ENTER)
    assert len(page.shown("#runs .seed")) == 3
    page.type("?")
    assert page.ask("return document.querySelector('#help').open")
    page.type(Keys.ESCAPE)
    assert not page.ask("return document.querySelector('#help').open")
    assert page.errors == []


def test_the_page_is_light_or_dark_as_the_system_is_until_the_reader_chooses(page):
    ground = "return getComputedStyle(document.body).backgroundColor"
    light = page.ask(ground)
    browsers.prefer(page.driver, "dark")
    dark = page.ask(ground)
    assert light != dark
    page.type("t")
    assert page.ask(ground) == light
    page.driver.refresh()
    assert page.ask(ground) == light
    page.ask("localStorage.clear()")


@pytest.mark.parametrize("place", ["#/", "#/tasks", "#/compare", "task"])
def test_on_a_phone_nothing_is_wider_than_the_screen(driver, pages, study, place):
    page = Page(driver, pages["study"])
    browsers.look_like(driver, 360, phone=True)
    page.go(f"#/task/{study.tasks[0].id}" if place == "task" else place)
    if place == "task":
        page.wait_for("#task .views")
    assert page.ask("return document.documentElement.scrollWidth") <= 360


def test_a_place_that_is_not_there_leads_to_one_that_is(page):
    page.go("#/task/nothing")
    assert page.shown("h1") == ["Tasks"]
    page.go("#/compare/nothing/8folds")
    assert page.shown("h1") == ["Compare"]
    page.go("#/%E0%A4%A")
    assert page.shown("h1") == ["A study"]
    assert page.errors == []

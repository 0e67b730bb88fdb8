"""The page of `labelwise stability`: what it says of a ranking, and how it looks in a real browser."""

import re

import numpy as np
import pytest

from browsers import emulate, needs_browser, open_browser
from labelwise.audit.ranking import Ranking, rank_models
from labelwise.audit.stability import BenchmarkStudy
from labelwise.report.stability import (
    LINES,
    accuracy_curves,
    line_style,
    models_table,
    pairs_table,
    sentences,
    write_stability,
)

HOSTILE = '<img src=x onerror="alert(1)"></style><script>alert(2)</script>'


def ranking_of(names: list[str], count: int = 300) -> Ranking:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 5, count)
    is_wrong = rng.random(count) < 0.15
    given = np.where(is_wrong, (true + 1) % 5, true)
    chances = [(0.95 - 0.05 * place % 0.5, 0.2 + 0.1 * place % 0.6) for place in range(len(names))]
    predictions = {
        name: np.where(rng.random(count) < np.where(is_wrong, correctable, benign), true, rng.integers(0, 5, count))
        for name, (benign, correctable) in zip(names, chances, strict=True)
    }
    return rank_models(BenchmarkStudy.of(given, true), predictions, rng=rng, num_draws=200)


SIX = ranking_of([f"model {number}" for number in range(6)])
MANY = ranking_of([f"a rather long name of a model, number {number}" for number in range(20)])
ODD = ranking_of([HOSTILE, "A Long Name " * 30])
PAGES = {"six": SIX, "many": MANY, "odd": ODD}


def test_a_line_and_a_band_for_each_model_and_none_like_another() -> None:
    svg = str(accuracy_curves(SIX).svg)
    assert svg.count(' line"') == svg.count(' band"') == 6
    assert len({line_style(place) for place in range(2 * LINES)}) == 2 * LINES
    assert f"as it is {100 * SIX.noise_prevalence:.1f}%" in svg


def test_the_numbers_of_the_figure_are_the_curves() -> None:
    figure = accuracy_curves(SIX)
    assert figure.header[1:] == tuple(model.name for model in SIX.models)
    assert [row[0] for row in figure.rows] == [f"{10 * tenth}.0%" for tenth in range(11)]
    for place, model in enumerate(SIX.models):
        ends = (figure.rows[0][place + 1], figure.rows[-1][place + 1])
        scores = (model.accuracies.benign, model.accuracies.correctable_corrected)
        assert ends == tuple(f"{100 * score:.1f}%" for score in scores)


def test_tables_have_every_model_and_every_pair() -> None:
    assert [row[0] for row in models_table(MANY).rows] == [model.name for model in MANY.models]
    assert len(pairs_table(MANY).rows) == 20 * 19 // 2


def test_a_verdict_names_who_overtakes_whom() -> None:
    given, corrected = np.zeros(16, dtype=int), np.array([0] * 9 + [1] * 7)
    study = BenchmarkStudy.of(given, corrected)
    swapped = rank_models(study, {"keen": given, "stiff": corrected}, rng=np.random.default_rng(0))
    assert sentences(swapped)[0] == "The ranking does not hold: on corrected labels stiff overtakes keen."
    kept = rank_models(study, {"good": corrected, "bad": 1 - given}, rng=np.random.default_rng(0))
    assert sentences(kept)[0].startswith("The ranking holds")


@pytest.mark.parametrize(("count", "words"), [(0, "0 examples have"), (1, "1 example has"), (5, "5 examples have")])
def test_too_few_corrections_are_told_and_nothing_more_is_said(tmp_path, count: int, words: str) -> None:
    given = np.repeat([0, 1], 20)
    corrected = np.where(np.arange(40) < count, 1, given)
    models = {"good": corrected, "fair": np.where(np.arange(40) < 8, 1, given), "bad": 1 - given}
    ranking = rank_models(BenchmarkStudy.of(given, corrected), models, rng=np.random.default_rng(0))
    found = sentences(ranking)
    assert found[0].startswith(f"Cannot tell whether the ranking holds: {words} a wrong given label")
    assert len(found) == 2
    assert {row[4] for row in pairs_table(ranking).rows} == {"cannot tell"}
    write_stability(ranking, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert "Cannot tell whether the ranking holds" in html
    assert "The ranking holds" not in html
    assert "of the bootstrap draws" not in html


def test_classes_that_no_example_has_are_told(tmp_path) -> None:
    given = np.repeat([0, 1], 20)
    corrected = np.where(np.arange(40) < 8, 1, given)
    strange = corrected.copy()
    strange[[3, 30, 31]] = 5
    ranking = rank_models(
        BenchmarkStudy.of(given, corrected), {"plain": corrected, "strange": strange}, rng=np.random.default_rng(0)
    )
    note = "Predictions of classes that no example has, and so never right: 3 of strange."
    assert note in sentences(ranking)
    write_stability(ranking, tmp_path / "page.html")
    assert note in (tmp_path / "page.html").read_text()
    assert "never right" not in " ".join(sentences(SIX))


def test_policy_style_and_hostile_names(tmp_path) -> None:
    write_stability(ODD, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert "default-src 'none'" in html
    assert "<script" not in html
    assert 'onerror="alert(1)"' not in html
    style = re.search(r"<style>(.*?)</style>", html, flags=re.DOTALL)[1]
    assert "url(" not in style
    for place in range(LINES):
        assert f".line.model{place} " in style
        assert f".band.model{place}," in style


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    driver = open_browser(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@needs_browser
@pytest.mark.parametrize("width", [320, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_sticks_out_and_nothing_is_asked_for(browser, tmp_path, name: str, width: int) -> None:
    write_stability(PAGES[name], tmp_path / "page.html")
    emulate(browser, width)
    browser.get_log("browser")
    browser.get((tmp_path / "page.html").as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    outside = """
        return [...document.querySelectorAll('figure > svg text')].filter(each => {
            const box = each.getBoundingClientRect(), frame = each.ownerSVGElement.getBoundingClientRect();
            return box.left < frame.left - 6 || box.right > frame.right + 6 || box.bottom > frame.bottom + 3;
        }).map(each => each.textContent)
    """
    assert browser.execute_script(outside) == []
    assert browser.get_log("browser") == []
    colours = "return [...document.querySelectorAll('path.line')].map(each => getComputedStyle(each).stroke)"
    assert len(set(browser.execute_script(colours))) == min(LINES, len(PAGES[name].models))

"""The review page in a real browser: a whole review by keys, what it survives, and how it looks to all."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from browsers import emulate, needs_browser, open_browser
from review_folders import CLASSES, HOSTILE, make

pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
pytest.importorskip("starlette", reason="the extra 'review' is not installed")
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from labelwise.review.decisions import DecisionStore
from labelwise.review.items import Items

pytestmark = needs_browser
COMMAND = [sys.executable, "-c", "from labelwise.cli import main; main()", "review", "--no-browser"]


class Server:
    """``labelwise review`` in a process of its own."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        words = [*COMMAND, str(folder), "--port", str(port)]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.lines = [self.process.stdout.readline() for _ in range(2)]
        self.address = self.lines[1].strip()

    @property
    def port(self) -> int:
        return int(self.address.split(":")[2].split("/")[0])

    def kill(self, by: signal.Signals = signal.SIGKILL) -> int:
        os.kill(self.process.pid, by)
        return self.process.wait(20)


@pytest.fixture
def served() -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def start(folder: Path, port: int = 0) -> Server:
        started.append(Server(folder, port))
        return started[-1]

    yield start
    for server in started:
        server.process.kill()
        server.process.communicate()


@pytest.fixture(scope="module")
def browsers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Any]]:
    drivers = [open_browser(tmp_path_factory.mktemp("profile")) for _ in range(2)]
    yield drivers
    for driver in drivers:
        driver.quit()


class Reviewer:
    """A person at a browser who uses the keyboard."""

    def __init__(self, browser: Any, address: str, name: str) -> None:
        self.browser = browser
        emulate(browser)
        for log in ("browser", "performance"):
            browser.get_log(log)
        browser.get(address)
        self.wait(lambda: self.seen("ask") or self.seen("label") or self.seen("done"))
        if self.seen("ask"):
            self.press(name, Keys.ENTER)
            self.wait(lambda: self.seen("label") or self.seen("done"))

    def wait(self, condition: Callable[[], Any], seconds: float = 15) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, self.browser.find_element(By.TAG_NAME, "body").text
            time.sleep(0.02)

    def press(self, *keys: str) -> None:
        for key in keys:
            ActionChains(self.browser).send_keys(key).perform()

    def text(self, name: str) -> str:
        return self.browser.find_element(By.ID, name).get_attribute("textContent")

    def seen(self, name: str) -> bool:
        return bool(self.browser.find_element(By.ID, name).is_displayed())

    def saved(self) -> None:
        self.wait(lambda: self.text("saved") == "All saved")

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"]

    def requests(self) -> list[str]:
        messages = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]
        return [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]


def standing(folder: Path) -> dict[tuple[int, str], tuple[str, str]]:
    with DecisionStore(folder / "decisions.sqlite") as store:
        return {(each.index, each.reviewer): (each.verdict, each.after) for each in store.standing()}


def test_a_whole_review_by_keys(tmp_path: Path, served: Callable[..., Server], browsers: list[Any]) -> None:
    """Thirty suspects with hostile labels and file names: every verdict, another label, undo, and what comes after."""
    folder = make(tmp_path / "run")
    items = Items.open(folder / "review.arrow")
    server = served(folder)
    person = Reviewer(browsers[0], server.address, "Ann O'Nym")
    assert "token" not in browsers[0].current_url
    expected = {}
    for position in range(30):
        item = items.item(position)
        assert person.text("question") == item.location
        assert person.text("given") == item.given
        assert person.text("suggested") == item.suggested
        key = "kabcxo"[position % 6]
        if key == "o":
            person.press("o", *CLASSES[4], Keys.ENTER)
        else:
            person.press(key)
        escaped = [name.replace("|", "\\|") for name in (item.given, item.suggested)]
        other = {item.given: "keep", item.suggested: "accept"}.get(CLASSES[4], "other")
        expected[item.index, "Ann O'Nym"] = {
            "k": ("keep", item.given),
            "a": ("accept", item.suggested),
            "b": ("both", "|".join(escaped)),
            "c": ("cannot_tell", ""),
            "x": ("exclude", ""),
            "o": (other, CLASSES[4]),
        }[key]
        if position == 10:
            person.press("u")
            person.wait(lambda item=item: person.text("question") == item.location)
            assert "Taken back" in person.text("live")
            person.press(key)
        person.wait(lambda item=item: person.text("question") != item.location or person.seen("done"))
    person.saved()
    assert standing(folder) == expected
    assert person.seen("done")
    assert "30 of 30" in person.text("done-numbers")
    person.press(Keys.ENTER)
    person.wait(lambda: person.text("done-title") == "Nothing is left to look at")
    browsers[0].refresh()
    person.wait(lambda: person.seen("done"))
    assert person.complaints() == []
    assert {url.split("/")[2] for url in person.requests() if url.startswith("http")} == {f"127.0.0.1:{server.port}"}
    assert server.kill(signal.SIGINT) == 0


def person_said(person: Reviewer) -> list[str]:
    """Who decided what on the label that is shown, without the label itself."""
    entries = person.browser.find_elements(By.CSS_SELECTOR, "#before li")
    return sorted(entry.text.partition(",")[0] for entry in entries)


def test_two_people_at_once(tmp_path: Path, served: Callable[..., Server], browsers: list[Any]) -> None:
    folder = make(tmp_path / "run", look="text")
    server = served(folder)
    people = []
    for browser, name in zip(browsers, ("ann", "bob"), strict=True):
        browser.get(server.address)
        browser.execute_script("localStorage.clear()")
        people.append(Reviewer(browser, server.address, name))
    for _ in range(5):
        people[0].press("k")
        people[1].press("a")
    for person in people:
        person.saved()
        person.browser.find_element(By.ID, "people-open").click()
        person.wait(lambda person=person: person.seen("people"))
    assert "Labels on which people differ5" in people[0].text("people-numbers")
    assert "Pairs of people who agree0%" in people[1].text("people-numbers")
    assert sorted(verdict for verdict, _ in standing(folder).values()) == ["accept"] * 5 + ["keep"] * 5
    people[0].press(Keys.ESCAPE)
    people[0].press("f")
    people[0].wait(lambda: people[0].seen("filter"))
    people[0].browser.execute_script("document.getElementById('filter-show').value = 'conflicts'")
    people[0].browser.find_element(By.CSS_SELECTOR, "#filter .strong").click()
    people[0].wait(lambda: "of 5 in this batch" in people[0].text("count"))
    assert person_said(people[0]) == ["ann: kept", "bob: accepted"]
    # What one takes back leaves the other's decision alone.
    people[0].press("u")
    people[0].wait(lambda: "Taken back" in people[0].text("live"))
    assert sorted(verdict for verdict, _ in standing(folder).values()) == ["accept"] * 5 + ["keep"] * 4
    assert [person.complaints() for person in people] == [[], []]


def test_a_server_that_is_killed_loses_nothing(
    tmp_path: Path, served: Callable[..., Server], browsers: list[Any]
) -> None:
    folder = make(tmp_path / "run", look="fields")
    server = served(folder)
    browsers[0].get(server.address)
    browsers[0].execute_script("localStorage.clear()")
    person = Reviewer(browsers[0], server.address, "ann")
    person.press(*"akka")
    person.saved()
    server.kill()
    assert len(standing(folder)) == 4
    person.press("a")
    person.wait(lambda: person.seen("trouble"))
    assert "1 not saved yet" in person.text("saved")
    assert "does not answer" in person.text("trouble")
    assert len(standing(folder)) == 4
    again = served(folder, server.port)
    person.wait(lambda: "open the address" in person.text("trouble"))
    # Opening the new address in another tab of this browser is enough: the first tab saves what it kept.
    open_elsewhere(browsers[0], again.address)
    person.saved()
    assert len(standing(folder)) == 5


def test_a_page_of_an_earlier_audit_decides_nothing(
    tmp_path: Path, served: Callable[..., Server], browsers: list[Any]
) -> None:
    """Positions would mean other labels: the page says so and asks to be loaded again."""
    folder = make(tmp_path / "run")
    server = served(folder)
    person = Reviewer(browsers[0], server.address, "ann")
    server.kill()
    make(folder, count=39)
    person.press("x")
    person.wait(lambda: person.seen("trouble"))
    open_elsewhere(browsers[0], served(folder, server.port).address)
    person.wait(lambda: "reload the page" in person.text("trouble"))
    assert standing(folder) == {}
    browsers[0].refresh()
    person.wait(lambda: person.seen("label"))
    person.press("x")
    person.saved()
    assert standing(folder) == {(0, "ann"): ("exclude", "")}


def open_elsewhere(browser: Any, address: str) -> None:
    """Open an address in another tab for a moment."""
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    browser.get(address)
    browser.close()
    browser.switch_to.window(first)


def test_no_click_is_lost_where_the_server_refuses(
    tmp_path: Path, served: Callable[..., Server], browsers: list[Any]
) -> None:
    """The run was audited anew meanwhile: the page says so and brings the label back."""
    folder = make(tmp_path / "run")
    server = served(folder)
    person = Reviewer(browsers[0], server.address, "ann")
    first = person.text("question")
    browsers[0].execute_script(
        "const f = window.fetch; window.fetch = (path, options) => f(path, options && options.body"
        " ? {...options, body: options.body.replace('\"accept\"', '\"keep\"')} : options)"
    )
    person.press("a")
    person.wait(lambda: person.seen("trouble"))
    assert "keep cannot set the label" in person.text("trouble")
    assert person.text("question") == first
    assert standing(folder) == {}


LOOKS = {"classification": "picture", "multilabel": "text", "regression": "fields", "segmentation": "picture"}


@pytest.mark.parametrize("task", LOOKS)
def test_labels_of_every_form(task: str, tmp_path: Path, served: Callable[..., Server], browsers: list[Any]) -> None:
    folder = make(tmp_path / "run", task, LOOKS[task])
    person = Reviewer(browsers[0], served(folder).address, "ann")
    browser = browsers[0]
    shown = [
        button.get_attribute("data-verdict")
        for button in browser.find_elements(By.CSS_SELECTOR, "#verdicts button")
        if button.is_displayed()
    ]
    everything = ["keep", "accept", "other", "both", "cannot_tell", "exclude"]
    missing = {"multilabel": {"other", "both"}, "segmentation": {"other", "both"}, "regression": {"both"}}
    assert shown == [verdict for verdict in everything if verdict not in missing.get(task, set())]
    if task == "regression":
        person.press("o", *"x", Keys.ENTER)
        assert person.seen("other")
        assert "Type a number" in person.text("other-none")
        person.press(Keys.BACKSPACE, *"17.50", Keys.ENTER)
        person.saved()
        assert standing(folder) == {(0, "ann"): ("other", "17.5")}
    if task == "segmentation":
        canvas = browser.find_element(By.CSS_SELECTOR, ".masks canvas")
        person.wait(lambda: canvas.get_property("width") == 12)
        pixels = (
            "const c = document.querySelector('.masks canvas');"
            "return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].join()"
        )
        drawn = {}
        for mode in ("difference", "given", "suggested"):
            browser.find_element(By.CSS_SELECTOR, f"input[value={mode}]").click()
            time.sleep(0.3)
            drawn[mode] = browser.execute_script(pixels)
        assert len(set(drawn.values())) == 3
        browser.execute_script(
            "const s = document.getElementById('opacity'); s.value = 20; s.dispatchEvent(new Event('input'))"
        )
        assert (
            browser.execute_script("return getComputedStyle(document.querySelector('.masks canvas')).opacity") == "0.2"
        )
        # Keys decide also where the slider was used last, and the next mask is shown the same way.
        first = person.text("question")
        browser.find_element(By.ID, "opacity").click()
        faded = browser.find_element(By.ID, "opacity").get_attribute("value")
        person.press("k")
        assert person.text("question") != first
        assert browser.find_element(By.ID, "opacity").get_attribute("value") == faded
        assert browser.find_element(By.CSS_SELECTOR, "input[value=suggested]").is_selected()
    assert person.complaints() == []


CONTRAST = r"""
const rgb = (text) => text.match(/[\d.]+/g).slice(0, 3).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
  .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
const solid = (e) => { for (; e; e = e.parentElement) {
  const c = getComputedStyle(e).backgroundColor; if (!/, 0\)$/.test(c)) return rgb(c); } return [255, 255, 255]; };
const bad = [];
for (const e of document.querySelectorAll('body *')) {
  const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || !e.checkVisibility() || e.closest(':disabled') || e.closest('.hidden, .skip')) continue;
  const [a, b] = [light(rgb(getComputedStyle(e).color)), light(solid(e))].sort((x, y) => y - x);
  if ((a + 0.05) / (b + 0.05) < 4.5) bad.push(e.outerHTML.slice(0, 80));
}
return bad;
"""
UNNAMED = """
const named = (e) => e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.closest('label')
  || e.textContent.trim();
return [...document.querySelectorAll('button, input, select, a, [role]')].filter((e) => !named(e)
  && !['status', 'alert'].includes(e.getAttribute('role'))).map((e) => e.outerHTML.slice(0, 80));
"""
SMALL = """
return [...document.querySelectorAll('button, select, input[type=text]')].filter((e) => e.checkVisibility())
  .filter((e) => e.getBoundingClientRect().height < 44).map((e) => e.outerHTML.slice(0, 80));
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_it_can_be_used_by_all(
    task: str, width: int, scheme: str, tmp_path: Path, served: Callable[..., Server], browsers: list[Any]
) -> None:
    """Contrast, names of controls, size of what is touched, and nothing that sticks out of a phone."""
    person = Reviewer(browsers[0], served(make(tmp_path / "run", task)).address, "ann")
    browser = browsers[0]
    emulate(browser, width, scheme=scheme)
    for opened in (None, "help-open", "people-open", "filter-open"):
        if opened:
            browser.find_element(By.ID, opened).click()
            person.wait(lambda: browser.find_elements(By.CSS_SELECTOR, "dialog[open]"))
        assert browser.execute_script(CONTRAST) == []
        assert browser.execute_script(UNNAMED) == []
        assert browser.execute_script(SMALL) == []
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        if opened:
            person.press(Keys.ESCAPE)
            person.wait(lambda: not browser.find_elements(By.CSS_SELECTOR, "dialog[open]"))
    assert person.complaints() == []


def test_everything_can_be_reached_by_tab_and_focus_is_seen(
    tmp_path: Path, served: Callable[..., Server], browsers: list[Any]
) -> None:
    person = Reviewer(browsers[0], served(make(tmp_path / "run")).address, "ann")
    reached = set()
    for _ in range(40):
        person.press(Keys.TAB)
        element = browsers[0].switch_to.active_element
        reached.add(element.get_attribute("id") or element.get_attribute("data-verdict"))
        if element.tag_name == "button":
            outline = browsers[0].execute_script("return getComputedStyle(arguments[0]).outlineStyle", element)
            assert outline == "solid"
    wanted = {"keep", "accept", "other", "both", "cannot_tell", "exclude", "undo", "forth", "filter-open", "who"}
    assert wanted <= reached


def test_hostile_text_stays_text(tmp_path: Path, served: Callable[..., Server], browsers: list[Any]) -> None:
    folder = make(tmp_path / "run", look="text")
    person = Reviewer(browsers[0], served(folder).address, HOSTILE[0])
    for _ in range(len(HOSTILE) + 2):
        assert browsers[0].execute_script("return document.querySelectorAll('img[src=x], main script').length") == 0
        person.press("a")
    person.saved()
    person.press("o")
    person.wait(lambda: person.seen("other"))
    assert HOSTILE[1] in person.text("other-list")
    person.press(Keys.ESCAPE)
    browsers[0].find_element(By.ID, "people-open").click()
    person.wait(lambda: person.seen("people"))
    assert browsers[0].execute_script("return document.querySelectorAll('img[src=x]').length") == 0
    assert person.complaints() == []


def test_a_stranger_sees_nothing(tmp_path: Path, served: Callable[..., Server], browsers: list[Any]) -> None:
    server = served(make(tmp_path / "run"))
    browsers[1].delete_all_cookies()
    browsers[1].get(server.address.partition("?")[0])
    body = browsers[1].find_element(By.TAG_NAME, "body").text
    assert "open the address" in body.lower()
    assert "cat" not in body

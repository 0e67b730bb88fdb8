"""The report in a real browser: what only a browser knows about pictures, policy, network and layout."""

import dataclasses
import json

import pytest

from browsers import emulate, needs_browser, open_browser
from labelwise.report import write_report

from .sample import audit_findings, digits_findings, hostile_findings, noise_matrix, table_suspects, text_suspects

pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
pytestmark = needs_browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = open_browser(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


def long_names():
    findings = digits_findings(truth=False)
    names = tuple(f"a rather long class name {number}" for number in range(20))
    audit = dataclasses.replace(
        audit_findings(truth=False),
        class_names=names,
        noise_matrix=noise_matrix(20),
        suspects=table_suspects(2) + text_suspects(2),
    )
    check = dataclasses.replace(findings.check, classes=tuple((name, 7) for name in names))
    return dataclasses.replace(findings, audit=audit, check=check)


PAGES = {
    "digits": digits_findings(),
    "hostile": hostile_findings(),
    "long names": long_names(),
    "bare": dataclasses.replace(digits_findings(), check=None, audit=None, learn=None, trust=None),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    for name, findings in PAGES.items():
        write_report(findings, folder / f"{name}.html")
    return folder


def show(browser, page, width=1280, scheme="light"):
    emulate(browser, width, scheme=scheme)
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(page.as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach(each => each.open = true)")


def requests(browser):
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]


@pytest.mark.parametrize("name", PAGES)
def test_pictures_console_and_network(browser, folder, name):
    page = folder / f"{name}.html"
    show(browser, page)
    widths = browser.execute_script("return [...document.images].map(each => each.naturalWidth)")
    expected = sum(1 for card in PAGES[name].audit.suspects if card.picture is not None) if PAGES[name].audit else 0
    assert len(widths) == expected
    assert all(width > 0 for width in widths)
    assert browser.get_log("browser") == []
    assert [url for url in requests(browser) if not url.startswith("data:")] == [page.as_uri()]
    assert browser.execute_script("return document.scripts.length") == 0


def test_style_applies_under_the_policy(browser, folder):
    show(browser, folder / "digits.html")
    assert (
        browser.execute_script("return getComputedStyle(document.querySelector('.matrix')).borderCollapse")
        == "separate"
    )
    rendering = "return getComputedStyle(document.images[0]).imageRendering"
    assert browser.execute_script(rendering) == "pixelated"


def test_policy_stops_what_escaping_would_let_through(browser, folder, tmp_path):
    html = (folder / "digits.html").read_text(encoding="utf-8")
    attack = "<script>document.title = 'owned'</script><p id='x' style='color:red'></p></body>"
    broken = tmp_path / "broken.html"
    broken.write_text(html.replace("</body>", attack), encoding="utf-8")
    show(browser, broken)
    assert browser.title != "owned"
    assert browser.execute_script("return getComputedStyle(document.getElementById('x')).color") != "rgb(255, 0, 0)"
    assert len(browser.get_log("browser")) >= 2


@pytest.mark.parametrize("width", [320, 375, 768, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_sticks_out(browser, folder, name, width):
    show(browser, folder / f"{name}.html", width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    outside = """
        return [...document.querySelectorAll('main *, header *, footer *')].filter(each => {
            if (each.closest('.scroll') || each.closest('svg') || each.closest('.hidden')) return false;
            const box = each.getBoundingClientRect();
            return box.width > 0 && (box.right > innerWidth + 1 || box.left < -1);
        }).map(each => each.outerHTML.slice(0, 120))
    """
    assert browser.execute_script(outside) == []


def test_labels_in_figures_stay_inside(browser, folder):
    show(browser, folder / "digits.html", 375)
    outside = """
        return [...document.querySelectorAll('figure > svg text')].filter(each => {
            const box = each.getBoundingClientRect(), frame = each.ownerSVGElement.getBoundingClientRect();
            return box.left < frame.left - 6 || box.right > frame.right + 6 || box.bottom > frame.bottom + 3;
        }).map(each => each.textContent)
    """
    assert browser.execute_script(outside) == []
    heights = """
        return [...document.querySelectorAll('figure > svg text')].map(each => each.getBoundingClientRect().height)
    """
    assert min(browser.execute_script(heights)) >= 10


@pytest.mark.parametrize(("scheme", "bright"), [("light", True), ("dark", False)])
def test_follows_the_colour_scheme(browser, folder, scheme, bright):
    show(browser, folder / "digits.html", scheme=scheme)
    colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    channels = [int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    assert (min(channels) > 200) == bright


def test_keyboard_reaches_the_findings(browser, folder):
    from selenium.webdriver.common.keys import Keys

    show(browser, folder / "digits.html")
    browser.switch_to.active_element.send_keys(Keys.TAB)
    skip = browser.switch_to.active_element
    assert skip.get_attribute("class") == "skip"
    assert browser.execute_script("return arguments[0].getBoundingClientRect().top", skip) >= 0
    skip.send_keys(Keys.ENTER)
    assert browser.current_url.endswith("#main")

import base64
import dataclasses
import hashlib
import itertools
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from labelwise.errors import InputError
from labelwise.report import Findings, write_report
from labelwise.report.page import render

from .sample import (
    HOSTILE,
    audit_findings,
    digits_findings,
    hostile_findings,
    noise_matrix,
    table_suspects,
    text_suspects,
)

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Every tag with its attributes, refusing what is not closed."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.open, self.words = [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def attributes(self, name):
        return [attrs[name] for _, attrs in self.tags if name in attrs]


@pytest.fixture(scope="module")
def digits():
    return Page(render(digits_findings()))


def test_policy_allows_nothing_but_own_style_and_embedded_pictures():
    html = render(digits_findings())
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)[1]
    style = re.search(r"<style>(.*?)</style>", html, flags=re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


@pytest.mark.parametrize("findings", [digits_findings(), hostile_findings()], ids=["digits", "hostile"])
def test_page_asks_nothing_and_runs_nothing(findings):
    html = render(findings)
    page = Page(html)
    assert not {"script", "iframe", "object", "embed", "form", "base", "audio", "video"} & {tag for tag, _ in page.tags}
    assert all(uri.startswith("data:image/png;base64,") for uri in page.attributes("src"))
    assert all(re.fullmatch(r"#[a-z]+|data:,|[a-z]+\.(csv|json)|model/", uri) for uri in page.attributes("href"))
    assert page.attributes("style") == []
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    style = re.search(r"<style>(.*?)</style>", html, flags=re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style
    if findings.title != HOSTILE:
        assert "http:" not in html
        assert "https:" not in html


def test_hostile_text_is_shown_as_text():
    html = render(hostile_findings())
    page = Page(html)
    assert '<img src=x onerror="alert(1)"></style><script>alert(2)</script>‹U+202E›gnp.exe‹U+0000›‹U+D800›' in page.text
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u2028\x00]", html)
    assert "W" * 2001 not in html
    assert "javascript:alert(3)" in page.text
    html.encode("utf-8")


def test_sections_and_landmarks(digits):
    names = [tag for tag, _ in digits.tags]
    assert [names.count(tag) for tag in ("main", "h1", "nav", "footer")] == [1, 1, 1, 1]
    ids = digits.attributes("id")
    assert len(ids) == len(set(ids))
    targets = {href[1:] for href in digits.attributes("href") if href.startswith("#")}
    labelled = {part for value in digits.attributes("aria-labelledby") for part in value.split()}
    assert targets | labelled <= set(ids)
    assert all(attrs.get("alt") for tag, attrs in digits.tags if tag == "img")
    levels = [int(name[1]) for name in names if re.fullmatch("h[1-6]", name)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_digits_report_tells_the_story(digits):
    for sentence in (
        "About 36% of the labels look wrong (34–39%).",
        "In truth 35.8% are wrong: inside the interval.",
        "Of the wrong labels, 93.4% get their true label back.",
        "The suggestion is the true label.",
        "Both are wrong: it is",
        "labelwise run --seed 0 --out runs/digits",
        "row 17, column pixel_3",
        "a small CNN was used",
        "scored against true labels",
    ):
        assert sentence in digits.text


def test_report_without_truth_claims_none():
    text = Page(render(digits_findings(truth=False))).text
    assert "true labels not known" in text
    assert "In truth" not in text
    assert "Accuracy on rows not trained on, true labels" not in text
    assert "Wrong labels repeated" not in text
    assert "every accuracy here counts a given label as right" in text
    assert "measured on the given (noisy) labels" in text


@pytest.mark.parametrize("kept", list(itertools.product([True, False], repeat=4)))
def test_every_section_is_optional(kept):
    full = digits_findings()
    steps = ("check", "audit", "learn", "trust")
    skipped = [step for step, keep in zip(steps, kept, strict=True) if not keep]
    page = Page(render(dataclasses.replace(full, **dict.fromkeys(skipped))))
    ids = page.attributes("id")
    assert [part in ids for part in ("data", "suspects", "learning", "trust")] == list(kept)
    assert (f"Not run: {', '.join(skipped)}." in page.text) == bool(skipped)


def test_least_findings():
    page = Page(render(Findings("", "", "", 0.0, 0, "", "")))
    assert "No step ran." in page.text


def test_no_suspects_no_matrix():
    audit = dataclasses.replace(audit_findings(), suspects=(), suspect_count=0, noise_matrix=None)
    text = Page(render(dataclasses.replace(digits_findings(), audit=audit))).text
    assert "names no label as a suspect" in text
    assert "No noise matrix was estimated." in text


def test_thousand_classes():
    findings = digits_findings()
    names = tuple(f"class {number}" for number in range(1000))
    page = Page(
        render(
            dataclasses.replace(
                findings,
                audit=dataclasses.replace(audit_findings(), noise_matrix=noise_matrix(1000), class_names=names),
                check=dataclasses.replace(findings.check, classes=tuple((name, 3) for name in names)),
            )
        )
    )
    assert "With 1,000 classes the whole matrix would say little." in page.text
    assert "988 more classes" in page.text


@pytest.mark.parametrize("suspects", [table_suspects(3), text_suspects(3)], ids=["table", "text"])
def test_rows_and_texts_are_shown(suspects):
    audit = dataclasses.replace(audit_findings(truth=False), suspects=suspects)
    text = Page(render(dataclasses.replace(digits_findings(), audit=audit))).text
    assert ("marital-status Never-married" in text) == (suspects[0].row is not None)
    assert ("Wheat prices rose" in text) == (suspects[0].text is not None)


def test_rejected_rows_left_out_of_the_page_are_counted():
    findings = digits_findings()
    rejected = findings.check.rejected[:1] * 500
    check = dataclasses.replace(findings.check, rejected=rejected, rejected_count=12_000)
    text = Page(render(dataclasses.replace(findings, check=check))).text
    assert "12,000 left out of every step" in text
    assert "The first 200 are shown" in text


def test_file_is_written_whole_and_nothing_else(tmp_path):
    path = tmp_path / "runs" / "report.html"
    write_report(digits_findings(), path)
    first = path.read_bytes()
    write_report(digits_findings(), path)
    assert path.read_bytes() == first
    assert first.startswith(b"<!doctype html>")
    assert list(path.parent.iterdir()) == [path]


def test_failure_leaves_the_old_report(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    bad = dataclasses.replace(audit_findings(), noise_matrix=np.ones((2, 3)))
    with pytest.raises(InputError, match="noise matrix"):
        write_report(dataclasses.replace(digits_findings(), audit=bad), path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="it is a folder"):
        write_report(digits_findings(), tmp_path / "folder")
    assert path.read_text() == "old"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder", "report.html"]


def test_import_stays_light():
    heavy = "jinja2", "PIL", "matplotlib", "torch", "sklearn", "pandas"
    code = f"import sys, labelwise.report; sys.exit(bool(set({heavy!r}) & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""The page: findings in, one HTML file out, that asks nothing of the network and runs no script."""

import base64
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labelwise.files import atomic_write
from labelwise.report.findings import Findings

_HERE = Path(__file__).parent
_OWN_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*/?")
SUSPECTS_AT_ONCE = 12
CELLS_AT_ONCE = 8
CLASSES_AT_ONCE = 12
REJECTED_SHOWN = 200


def write_report(findings: Findings, path: Path) -> None:
    """Write the report as one HTML file, whole or not at all.

    Raises InputError for a picture or a noise matrix of a shape that cannot be shown, OutputError for a full disk and
    the like. Time and size grow with the suspects handed in; the rows of the data set cost nothing.
    """
    write_page(render(findings), Path(path))


def write_page(page: str, path: Path) -> None:
    """Write HTML text whole or not at all. Raises OutputError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, text=True) as stream:
        stream.write(page)


def render(findings: Findings) -> str:
    """The report as HTML text."""
    from labelwise.report import figures, words

    return render_template(
        "report.html.j2",
        ("../palette.css", "report.css"),
        title=findings.title,
        version=findings.version,
        findings=findings,
        headlines=words.headlines(findings),
        noun=words.noun(findings.kind),
        decisions=words.decisions,
        figures=figures,
        is_own_file=lambda name: _OWN_FILE.fullmatch(name) is not None,
        **_limits(),
    )


def render_template(template: str, styles: Sequence[str], *, title: str, version: str, **values: Any) -> str:
    """A page from a template of this folder and the style sheets beside it, as HTML text; all values are escaped."""
    import jinja2
    import markupsafe

    from labelwise.report import words

    style = "\n".join((_HERE / name).read_text(encoding="utf-8") for name in styles)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        shown=words.shown,
        percent=words.percent,
        about=words.about,
        count=words.count,
        duration=words.duration,
        score=words.score,
        short=words.short,
    )
    page = environment.get_template(template).render(
        title=title,
        version=version,
        style=markupsafe.Markup(style),
        style_hash=_csp_hash(style),
        counted=words.counted,
        **values,
    )
    return page.strip() + "\n"


def _limits() -> dict[str, Any]:
    return {
        "suspects_at_once": SUSPECTS_AT_ONCE,
        "cells_at_once": CELLS_AT_ONCE,
        "classes_at_once": CLASSES_AT_ONCE,
        "rejected_shown": REJECTED_SHOWN,
    }


def _csp_hash(style: str) -> str:
    """The style sheet's hash as the content-security policy names it, so that no other style can apply."""
    digest = hashlib.sha256(style.encode("utf-8")).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")

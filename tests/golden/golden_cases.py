"""Reads the cases of golden files."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True)
class GoldenCase:
    slug: str  # without its number, with underscores: the adapter's module
    case: dict[str, Any]
    root: Path | None  # file names in the case are relative to it; None: unknown
    is_own: bool  # from this repository's own folder


def load_cases(folder: Path, root: Path | None, is_own: bool) -> list[GoldenCase]:
    cases = []
    for path in sorted(folder.glob("*.json")):
        slug = path.stem.partition("-")[2].replace("-", "_")
        content = json.loads(path.read_text(encoding="utf-8"))
        cases += [GoldenCase(slug, case, root, is_own) for case in content["cases"]]
    return cases

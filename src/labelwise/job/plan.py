"""The job behind ``labelwise plan``: data with cheap and some dear labels in, a plan and the rows to buy next out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelwise.audit.elicitation import UNDECIDED, uncertainty, uncertainty_sample
from labelwise.audit.label_curves import Labelled, choose_penalty, train_in_sequence
from labelwise.audit.plan import LEAST_DEAR, Plan, check_purchase, dear_labels_missing, plan_purchase
from labelwise.audit.scores import check_choice
from labelwise.data.classes import STRANGE_TRUTH
from labelwise.data.examples import Examples, row_hashes
from labelwise.data.open import open_data
from labelwise.errors import InputError
from labelwise.files import atomic_write, write_csv
from labelwise.job.inputs import Inputs
from labelwise.job.options import Options
from labelwise.job.prepare import check_places, draw_rows
from labelwise.numerics.softmax_regression import predict_softmax

if TYPE_CHECKING:
    from rich.table import Table

PLAN_FILE, RELABEL_FILE = "plan.json", "relabel.csv"
WAYS = ("uncertainty", "doubt", "random")
RELABEL_COLUMNS = ("index", "location", "cheap_label", "predicted", "probability", "uncertainty")
FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Purchase:
    """What is to be bought: ``dear`` names the column of dear labels, ``by`` is one of `WAYS` to pick rows."""

    dear: str
    budget: float
    price_cheap: float
    price_dear: float
    by: str = "uncertainty"

    def __post_init__(self) -> None:
        check_choice(self.by, WAYS, "by")
        check_purchase(self.budget, self.price_cheap, self.price_dear)


class Outcome(NamedTuple):
    """``plan`` is None where there are too few dear labels; ``sentences`` say what was found."""

    plan: Plan | None
    sentences: list[str]
    folder: Path


def run_plan(options: Options, purchase: Purchase) -> Outcome:
    """Read the data, plan, and write ``plan.json`` and ``relabel.csv``. Raises InputError."""
    check_places(options, (PLAN_FILE, RELABEL_FILE))
    examples = _open(options, purchase.dear)
    rng = np.random.default_rng(options.seed)
    forms = [_labelled(examples, X) for X in _feature_forms(examples, options)]
    missing = dear_labels_missing(forms[0])
    plan, penalty, data = None, 0.3, forms[0]
    if not missing:
        measured = [(_without_copies(each, examples), each) for each in forms]
        tried = [choose_penalty(apart, 4, rng) for apart, _ in measured]
        best = int(np.argmin([error for _, error in tried]))
        penalty, (apart, data) = tried[best][0], measured[best]
        plan = plan_purchase(
            apart, purchase.budget, purchase.price_cheap, purchase.price_dear, rng=rng, penalty=penalty
        )
    # A forecast needs dear labels of rows drawn at random.
    by, wanted = ("random", missing) if plan is None else (purchase.by, plan.recommended.n_dear)
    rows = list(_rows_to_buy(examples, data, penalty, by, wanted, rng))
    sentences = _sentences(plan, data, missing, len(rows), examples)
    _write(options.folder, plan, rows, sentences, missing)
    return Outcome(plan, sentences, options.folder)


def plan_table(plan: Plan) -> Table:
    """The forecasts as a table for the terminal; the recommended row is marked."""
    from rich.table import Table

    table = Table(title="What the budget can buy, on top of the labels at hand", title_justify="left")
    for heading in ("", "share for dear", "cheap", "dear", "cost", "accuracy", "95% interval"):
        table.add_column(heading, justify="right")
    for place, each in enumerate(plan.forecasts):
        table.add_row(
            ">" if place == plan.best else "",
            f"{each.fraction:.0%}",
            f"{each.n_cheap:,}",
            f"{each.n_dear:,}",
            f"{each.cost:,.2f}",
            f"{each.accuracy:.3f}",
            f"{each.low:.3f} to {each.high:.3f}",
        )
    return table


def _open(options: Options, dear: str) -> Examples:
    try:
        examples = open_data(
            options.source,
            label=options.label,
            truth=dear,
            text=options.text,
            image=options.image,
            split=options.split,
            image_size=options.image_size,
            data_dir=options.data_dir,
            seed=options.seed,
        )
    except InputError as error:
        # Dear labels are read as true ones are, under another option.
        raise InputError(str(error).replace("--truth", "--dear")) from error
    _refuse_what_has_no_effect(examples, options)
    examples = examples.subset(~examples.is_test)
    if options.limit is not None and options.limit < len(examples):
        examples = examples.subset(draw_rows(examples, options.limit, options.seed))
    return examples


def _refuse_what_has_no_effect(examples: Examples, options: Options) -> None:
    if options.network != "auto" and examples.kind != "images":
        raise InputError(
            "--network is of a backbone for pictures, and the data hold none: leave it out, as a plan "
            "always trains a linear model"
        )
    if options.text is not None and all(_is_number(text) for text in examples.inputs):
        raise InputError(f"every text of --text {options.text!r} is a number: leave out --text to read columns of them")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _feature_forms(examples: Examples, options: Options) -> Iterator[NDArray[np.float64]]:
    """Features (n, d): every column at one deviation, and where they may be of one unit, in their proportions."""
    inputs = Inputs.fit(examples, network=options.network, weights=options.weights, download=options.download)
    for form in (inputs, inputs.in_one_unit()):
        if form is not None:
            rows = np.asarray(form.transform(examples.inputs), dtype=np.float64).reshape(len(examples), -1)
            rows -= rows.mean(axis=0)
            size = np.sqrt((rows**2).sum(axis=1).mean())
            yield rows / size if size > 0 else rows


def _labelled(examples: Examples, X: NDArray[np.float64]) -> Labelled:
    assert examples.truth is not None
    return Labelled(X, examples.given, examples.truth, examples.num_classes)


def _without_copies(data: Labelled, examples: Examples) -> Labelled:
    """One of each group of rows with equal inputs, if possible a dear one: copies would leak what is held out."""
    order = np.argsort(data.dear < 0, kind="stable")
    first = np.unique(row_hashes(examples.inputs)[order], return_index=True)[1]
    kept = np.sort(order[first])
    return Labelled(data.X[kept], data.cheap[kept], data.dear[kept], data.num_classes)


def _rows_to_buy(
    examples: Examples, data: Labelled, penalty: float, by: str, wanted: int, rng: np.random.Generator
) -> Iterator[tuple[Any, ...]]:
    """Rows of `RELABEL_COLUMNS`, those to buy first on top, of those without a dear label."""
    open_rows = np.flatnonzero(data.dear < 0)
    count = min(wanted, len(open_rows))
    dear = np.flatnonzero(data.dear >= 0)
    cheap = np.flatnonzero((data.cheap >= 0) & (data.dear < 0))
    probs = predict_softmax(data.X, train_in_sequence(data, cheap, dear, penalty))
    unsure = uncertainty(probs)
    if by == "random":
        chosen = rng.permutation(open_rows)[:count]
    elif by == "doubt":
        chosen = open_rows[np.argsort(_trust(data, penalty)[open_rows], kind="stable")[:count]]
    else:
        chosen = open_rows[uncertainty_sample(probs[open_rows], count, 0.0, rng=rng)]
        chosen = chosen[np.argsort(-unsure[chosen], kind="stable")]
    for row in chosen.tolist():
        given = examples.classes[data.cheap[row]] if data.cheap[row] >= 0 else ""
        best = int(probs[row].argmax())
        yield (
            int(examples.index[row]),
            examples.location(row),
            given,
            examples.classes[best],
            f"{probs[row, best]:.6f}",
            f"{unsure[row]:.6f}",
        )


def _trust(data: Labelled, penalty: float) -> NDArray[np.float64]:
    """How well each cheap label (n,) agrees with models that were not trained on it, low = doubtful."""
    from sklearn.linear_model import LogisticRegression

    from labelwise.audit.cross_validation import cross_val_pred_probs
    from labelwise.audit.scores import label_quality_scores

    model = LogisticRegression(C=1 / penalty, max_iter=200)
    probs = cross_val_pred_probs(model, data.X, data.cheap, cv=FOLDS, num_classes=data.num_classes)
    return label_quality_scores(data.cheap, probs, "normalized_margin")


def _sentences(plan: Plan | None, data: Labelled, missing: int, num_rows: int, examples: Examples) -> list[str]:
    have = f"{data.n_cheap:,} rows have a cheap label only, {data.n_dear:,} a dear one"
    lost = [f"{len(examples.rejected):,} rows could not be read."] if examples.rejected else []
    if STRANGE_TRUTH in examples.notes:
        lost.append("Some dear labels are of classes that no cheap label has: they count as not bought.")
    if plan is None:
        return [
            f"{have}.",
            f"No forecast: that takes at least {LEAST_DEAR} dear labels of rows drawn at random, so {missing} more.",
            f"{RELABEL_FILE} lists {num_rows:,} rows drawn at random to buy them for.",
            *lost,
        ]
    best, now, trial = plan.recommended, plan.now, plan.trial
    regime = f"Regime: {plan.regime}."
    if plan.regime == UNDECIDED:
        regime = "Regime: no share of the budget is clearly better than another."
    is_used_up = plan.forecasts[-1].n_dear == plan.n_open
    return [
        f"{have}: a model trained on them is expected to reach {now.accuracy:.1%} ({now.low:.1%} to {now.high:.1%}).",
        f"Buy {best.n_dear:,} dear and {best.n_cheap:,} cheap labels for {best.cost:,.2f}: expected accuracy "
        f"{best.accuracy:.1%}, 95% interval {best.low:.1%} to {best.high:.1%}.",
        f"{regime} The next cheap label is worth {plan.worth:.3g} dear ones here.",
        f"The law behind this, fitted to small counts only, was asked about {trial.points} larger ones: {trial.inside} "
        f"lay within their error of measurement, and it missed by {trial.miss:.3f} on average; intervals are widened "
        "by that.",
        *(
            [f"Only {plan.n_open:,} different rows lack a dear label: no share buys more of them."]
            if is_used_up
            else []
        ),
        f"{RELABEL_FILE} lists {num_rows:,} rows to buy dear labels for next, each in place of its cheap one; cheap "
        "labels are for new rows.",
        *lost,
    ]


def _write(folder: Path, plan: Plan | None, rows: list[tuple[Any, ...]], sentences: list[str], missing: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = {"plan": None if plan is None else plan.to_dict(), "dear_labels_missing": missing, "found": sentences}
    write_csv(folder / RELABEL_FILE, RELABEL_COLUMNS, rows)
    with atomic_write(folder / PLAN_FILE, text=True) as stream:
        stream.write(json.dumps(content, indent=1, allow_nan=False) + "\n")

"""T-JEPA representations against raw columns, where hardly any row has a label.

Thimonier et al., "T-JEPA: Augmentation-free self-supervised learning for tabular data", ICLR 2025. A generated table
whose columns are noisy views of four hidden numbers, digits as 16 block means, and adult (census rows of numbers and
words). A linear model and an MLP see the same few labels on raw
columns, on the representations, and on those of the same encoder untrained: random tokens alone may do better than raw
columns, so what training adds is the difference to these. Each model has as many settings on each, chosen on the same
validation rows. The encoder sees training rows only, without labels.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from labelwise.data import named
from labelwise.data.encode import TableEncoder
from labelwise.estimators.classifier import Classifier
from labelwise.estimators.t_jepa import TJEPA
from labelwise.reproductions.inputs import digits
from labelwise.reproductions.result import Result, clearly_above, library_version, paired_interval, summarise

SLUG = "t-jepa"
CLAIM = (
    "With few labels an MLP does better on frozen T-JEPA representations than on raw columns; it holds if on each "
    "table the 95% intervals of its gain over raw columns, and over the same encoder untrained, lie above 0."
)
DEFAULT_SEEDS = 3

RAW, UNTRAINED, METHOD = "raw columns", "untrained encoder", "t-jepa"
NO_TOKEN, ABLATED = "t-jepa without regularisation token", "digits"
LINEAR, MLP, TREES = "linear", "MLP", "boosted trees"
OPTIONS = {"ema_start": 0.98}  # a few hundred steps, in which the authors' 0.996 would keep much of the random start
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)  # C of the linear model
RATES = (0.003, 0.01, 0.03)  # of the MLP
Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


class Table(NamedTuple):
    """Rows (frames) and labels: ``train`` to pre-train on, of which ``few`` labels are shown; to choose on; to test."""

    name: str
    train: Any
    train_y: Labels
    few: int
    validation: Any
    validation_y: Labels
    test: Any
    test_y: Labels
    epochs: int
    draws: int  # of the few labelled rows, for each encoder


class Features(NamedTuple):
    """What a model sees of each part, (rows, d) float32."""

    train: Floats
    validation: Floats
    test: Floats


def run(seeds: int, data_dir: Path | None, quick: bool = False) -> Result:
    """Run all arms on the generated table, on digits and, with a data folder, on adult.

    quick: few rows and epochs, without adult. About a minute a seed.
    """
    start = time.perf_counter()
    tables = {
        "factors": [factors_table(seed, quick) for seed in range(seeds)],
        "digits": [digits_table(seed, quick) for seed in range(seeds)],
    }
    notes = [
        "the authors' larger tables and encoders, and their claim about relevant columns, were not tried",
        "learning rates of 0.001 and 0.0003, momenta from 0.98 and 0.996, predictors 16 to 48 wide, tokens started "
        "small and large, and 150 epochs were tried on training rows alone: none made the encoder clearly better than "
        "untrained",
    ]
    if data_dir is None or quick:
        notes.append("adult was left out: it needs a data folder (--data-dir) and the full run")
    else:
        tables["adult"] = [adult_table(seed, data_dir) for seed in range(seeds)]
    if seeds == 1:
        notes.append("one seed leaves no interval: the verdict rests on the sign of the differences")
    measured = {
        name: _collect([run_arms(table, seed) for seed, table in enumerate(each)]) for name, each in tables.items()
    }
    gains = {
        f"{name}, {model}, over {other}": paired_interval(arms[f"{model}, {METHOD}"], arms[f"{model}, {other}"])
        for name, arms in measured.items()
        for model in (LINEAR, MLP)
        for other in (RAW, UNTRAINED)
    }
    main = list(tables)[-1]
    gain = gains[f"{main}, {MLP}, over {RAW}"]
    return Result(
        slug=SLUG,
        claim=CLAIM,
        data="; ".join(_describe(each[0]) for each in tables.values()),
        fault="hardly any labels",
        metric=f"test accuracy of an MLP on {main}",
        baselines={other: summarise(measured[main][f"{MLP}, {other}"]) for other in (RAW, UNTRAINED)},
        methods={METHOD: summarise(measured[main][f"{MLP}, {METHOD}"])},
        difference=gain.difference,
        interval=gain.interval,
        holds=all(clearly_above(found) for name, found in gains.items() if f", {MLP}," in name),
        seeds=seeds,
        seconds=time.perf_counter() - start,
        version=library_version(),
        details={
            "gains": {name: found._asdict() for name, found in gains.items()},
            **{name: _means(arms) for name, arms in measured.items()},
        },
        notes=notes,
    )


def run_arms(table: Table, seed: int) -> dict[str, float]:
    """Test accuracy of each model on each kind of features, the mean over draws of the labelled rows, and signs of
    collapse of each encoder.
    """
    encoders = {UNTRAINED: pretrain(table, seed, trained=False), METHOD: pretrain(table, seed)}
    if table.name == ABLATED:
        encoders[NO_TOKEN] = pretrain(table, seed, reg_tokens=0)
    features = {RAW: raw_features(table)} | {name: represent(model, table) for name, model in encoders.items()}
    found: dict[str, float] = {}
    for kind, each in features.items():
        found[f"{LINEAR}, {kind}"] = probe(linear_models(), each, table, seed)
        if kind != NO_TOKEN:
            found[f"{MLP}, {kind}"] = probe(mlp_models(seed), each, table, seed)
    found[f"{TREES}, {RAW}"] = probe(tree_models(seed), features[RAW], table, seed)
    for name, model in encoders.items():
        found[f"{name}, variance over rows"] = model.collapse_.variance
        found[f"{name}, effective rank"] = model.collapse_.effective_rank
    return found


def pretrain(table: Table, seed: int, *, trained: bool = True, reg_tokens: int = 1) -> TJEPA:
    """The encoder after training on all training rows without labels; untrained, its teacher stays as it started."""
    return TJEPA(
        recipe_options=OPTIONS if trained else OPTIONS | {"ema_start": 1.0},
        reg_tokens=reg_tokens,
        epochs=table.epochs if trained else 1,
        batch_size=128,
        accelerator="cpu",
        random_state=seed,
    ).fit(table.train)


def raw_features(table: Table) -> Features:
    """Numbers standardised, categories one column each."""
    encoder = TableEncoder().fit(table.train)
    return Features(*(encoder.transform(each) for each in (table.train, table.validation, table.test)))


def represent(model: TJEPA, table: Table) -> Features:
    """Tokens of each row, laid end to end."""
    return Features(*(np.asarray(model.transform(each)) for each in (table.train, table.validation, table.test)))


def probe(models: list[Any], features: Features, table: Table, seed: int) -> float:
    """Test accuracy of a model fitted on few labels, of those given the one that does best on the validation rows.

    The mean over draws of the labelled rows, which hold of each class about its share.
    """
    from sklearn.model_selection import train_test_split

    accuracies = []
    for draw in range(table.draws):
        rows = np.arange(len(table.train_y))
        shown, _ = train_test_split(
            rows, train_size=table.few, random_state=table.draws * seed + draw, stratify=table.train_y
        )
        fitted = [clone(model).fit(features.train[shown], table.train_y[shown]) for model in models]
        scores = [model.score(features.validation, table.validation_y) for model in fitted]
        accuracies.append(fitted[int(np.argmax(scores))].score(features.test, table.test_y))
    return float(np.mean(accuracies))


def linear_models() -> list[Any]:
    """Logistic regressions, one a strength."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return [make_pipeline(StandardScaler(), LogisticRegression(C=each, max_iter=300)) for each in STRENGTHS]


def mlp_models(seed: int) -> list[Any]:
    """Networks with one hidden layer, one a learning rate."""
    shared: dict[str, Any] = {"network": "mlp-64", "epochs": 30, "batch_size": 32, "accelerator": "cpu"}
    return [Classifier("cross-entropy", learning_rate=rate, random_state=seed, **shared) for rate in RATES]


def tree_models(seed: int) -> list[Any]:
    """Gradient boosting, one a number of trees."""
    from sklearn.ensemble import GradientBoostingClassifier

    return [GradientBoostingClassifier(n_estimators=count, random_state=seed) for count in (20, 60)]


def factors_table(seed: int, quick: bool = False) -> Table:
    """Sixteen noisy views of four hidden numbers, the last four as words; the label is the sign of a product of two."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    sizes = (300, 100, 300) if quick else (2000, 300, 2000)
    hidden = rng.normal(size=(sum(sizes), 4))
    views = np.tanh(0.7 * hidden @ rng.normal(size=(4, 16))) + 0.5 * rng.normal(size=(sum(sizes), 16))
    frame = pd.DataFrame(views, columns=[f"view {place}" for place in range(16)])
    for name in frame.columns[12:]:
        frame[name] = np.array(["low", "middling", "high"])[np.digitize(frame[name], (-0.5, 0.5))]
    y = (hidden[:, 0] * hidden[:, 1] > 0).astype(np.int64)
    epochs, draws = (2, 1) if quick else (40, 2)
    return _divide("factors", frame, y, np.split(np.arange(len(y)), np.cumsum(sizes)[:2]), 200, epochs, draws)


def digits_table(seed: int, quick: bool = False) -> Table:
    """Digits as 16 means of 2 x 2 pixels; the seed divides training from validation rows."""
    import pandas as pd

    X, y, test_X, test_y = digits()
    pictures, labels = np.concatenate([X, test_X]), np.concatenate([y, test_y])
    blocks = pictures.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)
    frame = pd.DataFrame(blocks, columns=[f"block {place}" for place in range(16)])
    train, validation = np.split(np.random.default_rng(seed).permutation(len(y)), [300 if quick else 1200])
    epochs, draws = (2, 1) if quick else (60, 2)
    rows = [train, validation[:200], np.arange(len(y), len(labels))]
    return _divide("digits", frame, labels, rows, 100, epochs, draws)


def adult_table(seed: int, data_dir: Path | None) -> Table:
    """Adult: 5,000 rows to pre-train on, 300 to choose on, 5,000 of its test split; drawn by the seed."""
    import pandas as pd

    columns = named.load_arrays("adult", data_dir)
    frame = pd.DataFrame({name: values for name, values in columns.items() if name not in ("income", "split")})
    y = (columns["income"] == ">50K").astype(np.int64)
    rng = np.random.default_rng(seed)
    train, validation, _ = np.split(rng.permutation(np.flatnonzero(columns["split"] == "train")), [5000, 5300])
    test = rng.permutation(np.flatnonzero(columns["split"] == "test"))[:5000]
    return _divide("adult", frame.replace("?", None), y, [train, validation, test], 200, epochs=15, draws=2)


def _divide(name: str, frame: Any, y: Labels, rows: list[Any], few: int, epochs: int, draws: int) -> Table:
    (train, train_y), (validation, validation_y), (test, test_y) = (
        (frame.iloc[each].reset_index(drop=True), y[each]) for each in rows
    )
    return Table(name, train, train_y, few, validation, validation_y, test, test_y, epochs, draws)


def _describe(table: Table) -> str:
    return (
        f"{table.name}: {len(table.train_y)} rows of {table.train.shape[1]} columns, {table.few} with labels, "
        f"{len(table.test_y)} to test"
    )


def _collect(runs: list[dict[str, float]]) -> dict[str, list[float]]:
    return {arm: [each[arm] for each in runs] for arm in runs[0]}


def _means(measured: Mapping[str, list[float]]) -> dict[str, float]:
    return {arm: float(np.mean(values)) for arm, values in measured.items()}

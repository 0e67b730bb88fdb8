"""Findings to draw: scikit-learn's digits with 40% of the labels redrawn. Made up, but plausible."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from labelwise.report.findings import (
    AuditFindings,
    CheckFindings,
    Findings,
    LearnFindings,
    PredictionSets,
    RejectedRow,
    ReliabilityBins,
    SuspectCard,
    TrainingRun,
    TrustFindings,
)

EPOCHS = 40
HOSTILE = (
    '<img src=x onerror="alert(1)"></style><script>alert(2)</script>\u202egnp.exe\x00\ud800\u2028👩‍👩‍👧 ' + "W" * 5000
)


def digits_findings(*, truth: bool = True) -> Findings:
    """The report of the default run, with or without true labels."""
    return Findings(
        title="digits",
        kind="pictures",
        when="2026-03-14 15:09 UTC",
        seconds=192.4,
        seed=0,
        version="0.1.0",
        command="labelwise run --seed 0 --out runs/digits",
        notes=(
            "No pretrained weights were at hand: a small CNN was used.",
            "The audit took its probabilities from 5-fold cross-validation.",
        ),
        files={
            "suspects.csv": "every suspect: index, given and suggested label, score, why",
            "labels.csv": "given labels with the suggested corrections beside them",
            "predictions.csv": "label, calibrated probability and prediction set of each example",
            "rejected.csv": "what was left out, and why",
            "metrics.json": "the numbers of this page",
            "model/": "the robust model: safetensors and a JSON manifest",
        },
        check=check_findings(),
        audit=audit_findings(truth=truth),
        learn=learn_findings(truth=truth),
        trust=trust_findings(truth=truth),
    )


def check_findings() -> CheckFindings:
    counts = np.random.default_rng(0).integers(128, 160, 10)
    return CheckFindings(
        rows=1797,
        classes=tuple((str(digit), int(number)) for digit, number in enumerate(counts)),
        unlabelled=12,
        duplicate_groups=3,
        conflicting_duplicates=1,
        rejected=(
            RejectedRow("row 17, column pixel_3", "the value is not a number; write a number or leave it empty"),
            RejectedRow("images/0042.png", "the file ends early (1,203 of 4,096 bytes): copy it again"),
        ),
    )


def noise_matrix(classes: int, rate: float = 0.36, seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    flips = rng.dirichlet(np.full(classes, 3.0), classes).T  # (classes, classes), [given, true]
    return (1 - rate) * np.eye(classes) + rate * flips


def audit_findings(*, truth: bool = True) -> AuditFindings:
    return AuditFindings(
        noise_rate=0.362,
        noise_rate_low=0.338,
        noise_rate_high=0.387,
        suspect_count=517,
        labels_audited=1437,
        class_names=tuple(str(digit) for digit in range(10)),
        filter_name="confident_learning",
        noise_matrix=noise_matrix(10),
        suspects=tuple(digit_suspects(18, truth=truth)),
        noise_rate_true=0.358 if truth else None,
        corrected_share=0.934 if truth else None,
        wrongly_changed_share=0.013 if truth else None,
    )


def digit_suspects(number: int, *, truth: bool) -> list[SuspectCard]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    rng = np.random.default_rng(1)
    cards = []
    for order, index in enumerate(rng.choice(len(digits.target), number, replace=False)):
        true = int(digits.target[index])
        given = (true + int(rng.integers(1, 10))) % 10
        suggested = true if order % 6 != 5 else (given + 1) % 10
        cards.append(
            SuspectCard(
                index=int(index),
                location=f"row {index}",
                given=str(given),
                suggested=str(suggested),
                score=0.001 + 0.002 * order,
                why=f"Models that never saw it give {suggested} {99 - order}% and {given} {0.1 + 0.2 * order:.1f}%.",
                picture=(digits.images[index] * 255 / 16).astype(np.uint8),
                truth=str(true) if truth else None,
            )
        )
    return cards


def table_suspects(number: int) -> tuple[SuspectCard, ...]:
    columns = ("age", "workclass", "education", "marital-status", "occupation", "relationship", "sex", "capital-gain")
    cells = ("39", "State-gov", "Bachelors", "Never-married", "Adm-clerical", "Not-in-family", "Male", "2,174")
    row = {**dict(zip(columns, cells, strict=True)), "hours-per-week": "40", "native-country": "United-States"}
    return tuple(
        SuspectCard(
            order, f"adult.csv, line {order + 2}", "<=50K", ">50K", 0.01 * order, "Its neighbours say >50K.", row=row
        )
        for order in range(number)
    )


def text_suspects(number: int) -> tuple[SuspectCard, ...]:
    text = "Wheat prices rose for a third day as dry weather in the plains cut the outlook for the winter crop. " * 6
    return tuple(
        SuspectCard(order, f"reuters.parquet, row {order}", "crude", "wheat", 0.01, "The words say wheat.", text=text)
        for order in range(number)
    )


def hostile_findings() -> Findings:
    """Every text from outside is an attack on the page or on its layout."""
    findings = digits_findings()
    assert findings.audit is not None
    assert findings.check is not None
    assert findings.learn is not None
    names = tuple(f"{HOSTILE}{digit}" for digit in range(10))
    attack = SuspectCard(
        7,
        HOSTILE,
        HOSTILE,
        "مرحبا بالعالم",
        float("nan"),
        HOSTILE,
        row={HOSTILE: HOSTILE, " a ": "", "z": "e" + "\u0301" * 400},
    )
    essay = SuspectCard(8, HOSTILE, "", HOSTILE, 0.5, HOSTILE, text=HOSTILE, truth=HOSTILE)
    picture = dataclasses.replace(findings.audit.suspects[0], given=HOSTILE, suggested=HOSTILE, why=HOSTILE)
    return dataclasses.replace(
        findings,
        title=HOSTILE,
        kind=HOSTILE,
        when=HOSTILE,
        version=HOSTILE,
        command=HOSTILE,
        notes=(HOSTILE,),
        files={
            HOSTILE: HOSTILE,
            "javascript:alert(3)": "a script",
            "https://example.org/": "a stranger",
            "../../up": "away",
        },
        check=dataclasses.replace(
            findings.check,
            classes=tuple((name, 5) for name in names),
            rejected=(RejectedRow(HOSTILE, HOSTILE),),
        ),
        audit=dataclasses.replace(
            findings.audit, class_names=names, filter_name=HOSTILE, suspects=(picture, attack, essay)
        ),
        learn=dataclasses.replace(
            findings.learn,
            options={HOSTILE: HOSTILE},
            chosen_how=HOSTILE,
            baseline_name=HOSTILE,
            robust_name=HOSTILE,
            runs=tuple(dataclasses.replace(run, name=HOSTILE) for run in findings.learn.runs),
        ),
    )


def learn_findings(*, truth: bool = True) -> LearnFindings:
    return LearnFindings(
        measured_on="true labels" if truth else "given (noisy) labels",
        accuracy_baseline=0.711 if truth else 0.455,
        accuracy_robust=0.942 if truth else 0.603,
        accuracy_early_stopped=0.878 if truth else 0.571,
        early_stopped_epoch=7,
        baseline_name="cross-entropy",
        robust_name="ELR",
        measured_rows=360,
        runs=(_run("cross-entropy", "baseline", truth=truth), _run("ELR", "robust", truth=truth)),
        options={"recipe": "elr", "lambda": "7", "beta": "0.7", "epochs": str(EPOCHS), "batch size": "64"},
        chosen_how="Lambda was chosen among 1, 3, 7 and 12 on the noisy validation labels: under this noise the order "
        "of the accuracies is the same as on true labels, so their level does not matter.",
    )


def _run(name: str, role: str, *, truth: bool) -> TrainingRun:
    epoch = np.arange(1, EPOCHS + 1)
    wiggle = np.random.default_rng(len(name)).normal(0, 0.008, EPOCHS)
    rise = 1 - np.exp(-epoch / 2.2)
    if role == "baseline":
        true = 0.90 * rise - 0.19 * (1 - np.exp(-np.maximum(0, epoch - 7) / 9)) + wiggle
        memorised, loss = 0.93 / (1 + np.exp(-(epoch - 15) / 4)), 2.2 * np.exp(-epoch / 11)
    else:
        true, memorised, loss = 0.942 * rise + wiggle / 3, 0.05 + 0.02 * epoch / EPOCHS, 1.2 + np.exp(-epoch / 4)
    given = 0.62 * true + 0.02
    return TrainingRun(
        name=name,
        role="baseline" if role == "baseline" else "robust",
        train_loss=tuple(loss),
        accuracy_given=tuple(given),
        accuracy_true=tuple(true) if truth else None,
        memorised=tuple(memorised) if truth else None,
    )


def trust_findings(*, truth: bool = True) -> TrustFindings:
    middle = np.arange(0.15, 1.0, 0.1)
    counts = (3, 5, 8, 12, 14, 20, 30, 58, 210)
    return TrustFindings(
        temperature=0.41,
        alpha=0.1,
        coverage_promised=0.9,
        measured_on="true labels" if truth else "given (noisy) labels",
        measured_rows=360,
        bins_before=ReliabilityBins(tuple(middle), tuple(np.clip(middle + 0.32, 0, 1)), counts),
        bins_after=ReliabilityBins(
            (0.0, *middle), (0.0, *np.clip(middle + 0.05 * np.sin(9 * middle), 0, 1)), (0, *counts)
        ),
        ece_before=0.243,
        ece_after=0.031,
        sets=(
            PredictionSets(
                "plain conformal", (0, 2, 10, 40, 90, 110, 70, 30, 8, 0, 0), 0.997 if truth else None, 0.902
            ),
            PredictionSets("corrected for noisy labels", (4, 318, 30, 8), 0.917 if truth else None, 0.588, used=True),
        ),
        assumptions=(
            "New examples come from the same source as the calibration examples.",
            "Labels go wrong depending on the true class only, as the estimated noise matrix says.",
            "The promise holds on average over examples, not for each class apart.",
        ),
    )

"""Plans: forecasts against what comes, on data whose truth is known, and what they refuse."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelwise.audit.elicitation import QUALITY, UNDECIDED, regime_of, total_cost
from labelwise.audit.label_curves import (
    HELD_OUT,
    Curves,
    Labelled,
    choose_penalty,
    error_rate,
    measure_curves,
    sizes_up_to,
    train_in_sequence,
)
from labelwise.audit.plan import (
    FRACTIONS,
    LEAST_DEAR,
    MOST_LABELS,
    Trial,
    _Forecaster,
    check_purchase,
    counts_after,
    dear_labels_missing,
    plan_purchase,
)
from labelwise.errors import InputError
from labelwise.numerics.label_worth import LabelLaw

ROOT = Path(__file__).parents[2]
WIDTH = 20


def draw(seed: int, n_cheap: int, n_dear: int, wrong: float = 0.2, classes: int = 2) -> Labelled:
    """Rows of a linear world with noise; a share of the cheap labels moved to the next class."""
    rng = np.random.default_rng(seed)
    rows = n_cheap + n_dear
    X = rng.normal(size=(rows, WIDTH)) / np.sqrt(WIDTH)
    directions = np.random.default_rng(99).normal(size=(WIDTH, classes))
    truth = (X @ directions + 0.3 * rng.gumbel(size=(rows, classes))).argmax(axis=1)
    cheap = np.where(rng.random(rows) < wrong, (truth + 1) % classes, truth)
    return Labelled(X, cheap, np.where(np.arange(rows) < n_dear, truth, -1), classes)


def reached(data: Labelled, n_cheap: int, n_dear: int, seed: int, penalty: float, wrong: float = 0.2) -> float:
    """Accuracy on fresh rows after so many more: dear labels of rows at hand, cheap ones of new rows."""
    data = draw(seed, data.n_cheap - n_dear, data.n_dear + n_dear, wrong, data.num_classes)  # the same rows
    more, test = draw(seed + 1000, n_cheap, 0, wrong, data.num_classes), draw(seed + 2000, 0, 4000, 0.0,
                                                                              data.num_classes)  # fmt: skip
    joined = Labelled(
        np.vstack([data.X, more.X]), np.append(data.cheap, more.cheap), np.append(data.dear, more.dear), 2
    )._replace(num_classes=data.num_classes)
    cheap, dear = np.flatnonzero(joined.dear < 0), np.flatnonzero(joined.dear >= 0)
    return 1 - error_rate(test, np.arange(4000), train_in_sequence(joined, cheap, dear, penalty))


def test_intervals_hold_what_comes() -> None:
    inside, gaps = [], []
    for seed in range(8):
        data = draw(seed, 250, 80)
        plan = plan_purchase(data, 100, 0.1, 1.0, rng=np.random.default_rng(seed), repeats=5)
        for each in (plan.forecasts[0], plan.recommended, plan.forecasts[-1]):
            came = reached(data, each.n_cheap, each.n_dear, seed, plan.penalty)
            inside.append(each.low <= came <= each.high)
            gaps.append(each.accuracy - came)
    assert np.mean(inside) >= 0.9
    assert np.abs(gaps).mean() < 0.05


def test_good_cheap_labels_are_bought_and_useless_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    good = plan_purchase(draw(0, 300, 120, wrong=0.02), 60, 0.02, 1.0, rng=rng)
    useless = plan_purchase(draw(0, 300, 120, wrong=0.5), 200, 0.1, 1.0, rng=rng)
    assert good.recommended.n_cheap > 1000
    assert useless.recommended.fraction >= 0.8
    assert useless.regime == QUALITY
    assert good.worth > 3 * useless.worth


@pytest.mark.parametrize("classes", [2, 4])
def test_what_a_plan_says(classes: int) -> None:
    data = draw(1, 200, 60, classes=classes)
    plan = plan_purchase(data, 50, 0.1, 1.0, rng=np.random.default_rng(0), repeats=3)
    assert [each.fraction for each in plan.forecasts] == list(FRACTIONS)
    for each in (*plan.forecasts, *plan.frontier):
        assert each.cost == total_cost(each.n_cheap, each.n_dear) <= 50
        assert 0 <= each.low <= each.accuracy <= each.high <= 1
    assert plan.recommended.accuracy == max(each.accuracy for each in plan.forecasts)
    assert plan.now.accuracy <= plan.recommended.accuracy + 1e-9
    assert (np.diff([each.cost for each in plan.frontier]) > 0).all()
    assert (np.diff([each.accuracy for each in plan.frontier]) > 0).all()
    assert 0 <= plan.trial.inside <= plan.trial.points
    again = plan_purchase(data, 50, 0.1, 1.0, rng=np.random.default_rng(0), repeats=3)
    assert json.dumps(again.to_dict(), allow_nan=False) == json.dumps(plan.to_dict(), allow_nan=False)


def test_a_forecaster_given_curves_of_a_law_covers_the_law() -> None:
    truth = LabelLaw(chance=0.5, floor=0.05, scale=20.0, exponent=0.7, worth=0.2, ceiling=60.0)
    counts = np.array([(w, h) for w in (0, 20, 80, 300) for h in (0, 5, 12, 27, 60) if w + h]).T
    data = draw(0, 300, 100)
    covered, widths = [], []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        held = 40
        # Held-out rows are drawn anew in each repeat and shared by its points.
        errors = rng.binomial(held, truth.error(*counts), (6, counts.shape[1])) / held
        forecaster = _Forecaster.fit(Curves(*counts, errors, held), 0.5, data, rng)
        for w, h in ((300, 60), (1000, 100), (300, 400)):
            accuracy, low, high = forecaster.accuracy(w, h)
            assert low <= accuracy <= high
            covered.append(low <= 1 - float(truth.error(w, h)) <= high)
            widths.append(high - low)
    assert np.mean(covered) >= 0.9
    assert np.mean(widths) < 0.25


def test_held_out_rows_are_never_trained_on() -> None:
    # Labels are a coin; a model that had seen the held-out rows would know their labels.
    rng = np.random.default_rng(0)
    X = np.eye(120)
    dear = np.append(rng.integers(0, 2, 60), np.full(60, -1))
    cheap = np.append(dear[:60], rng.integers(0, 2, 60))
    curves = measure_curves(Labelled(X, cheap, dear, 2), 0.01, 20, rng)
    assert curves.num_held == round(HELD_OUT * 60)
    assert 0.4 < curves.errors.mean() < 0.6


def test_more_labels_err_less_on_curves() -> None:
    curves = measure_curves(draw(3, 400, 120, wrong=0.1), 0.3, 6, np.random.default_rng(0))
    mean = curves.errors.mean(axis=0)
    total = curves.n_cheap + curves.n_dear
    assert mean[total == total.min()].mean() > mean[-1] + 0.05
    assert not ((curves.n_cheap == 0) & (curves.n_dear == 0)).any()


def test_the_penalty_with_the_least_error() -> None:
    # Pure noise columns want a strong penalty, few clean ones a weak one.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 60)) / np.sqrt(60)
    noisy = Labelled(X, rng.integers(0, 2, 400), np.where(np.arange(400) < 100, (X[:, 0] > 0).astype(int), -1), 2)
    assert choose_penalty(noisy, 6, rng)[1] <= 0.5


@pytest.mark.parametrize(("most", "sizes"), [(0, [0]), (3, [0, 3]), (5, [0, 5]), (80, [0, 5, 20, 80])])
def test_sizes(most: int, sizes: list[int]) -> None:
    assert sizes_up_to(most, 5, 3) == sizes


def test_too_few_dear_labels() -> None:
    few = draw(0, 100, LEAST_DEAR - 7)
    assert dear_labels_missing(few) == 7
    with pytest.raises(InputError, match="buy 7 more"):
        plan_purchase(few, 50, 0.1, 1.0, rng=np.random.default_rng(0))
    assert dear_labels_missing(draw(0, 0, LEAST_DEAR)) == 0


def test_dear_labels_of_one_class() -> None:
    data = draw(0, 100, 50)
    one = data._replace(dear=np.where(data.dear >= 0, 1, -1))
    with pytest.raises(InputError, match="one class"):
        plan_purchase(one, 50, 0.1, 1.0, rng=np.random.default_rng(0))


def test_no_cheap_label_at_hand() -> None:
    data = draw(0, 0, 60)
    plan = plan_purchase(data, 30, 0.1, 1.0, rng=np.random.default_rng(0), repeats=3)
    assert data.n_cheap == 0
    assert 0.5 < plan.now.accuracy < 1
    assert {each.n_dear for each in plan.forecasts} == {0}  # no row is left to buy one for


def test_a_dear_label_takes_the_place_of_a_cheap_one() -> None:
    data = draw(0, 420, 80)
    plan = plan_purchase(data, 500, 0.1, 1.0, rng=np.random.default_rng(0), repeats=3)
    for each in (*plan.forecasts, plan.now):
        assert each.n_dear <= 420
        error = plan.law.error(420 - each.n_dear + each.n_cheap, 80 + each.n_dear)
        assert each.accuracy == pytest.approx(1 - float(error))
    assert plan.forecasts[-1][1:4] == (0, 420, 420.0)  # what is left of the 500 buys nothing
    assert plan.n_open == 420


def test_rows_without_any_label_lose_none() -> None:
    data = draw(0, 300, 50)
    half = data._replace(cheap=np.where(np.arange(350) % 2 == 0, data.cheap, -1))
    assert (half.n_cheap, half.n_open) == (150, 300)
    assert counts_after(half, 7, 100) == (150 - 50 + 7, 150)
    assert counts_after(half, 0, 300) == (0, 350)


@pytest.mark.parametrize(
    ("money", "words"),
    [
        ((1e300, 1e-300, 1.0), "more than"),
        ((1e15, 0.1, 1.0), "more than"),
        ((1e15, 1e9, 1.0), "more than"),
        ((0.05, 0.1, 1.0), "buys no label"),
        ((float("inf"), 0.1, 1.0), "budget is inf"),
        ((10.0, -1.0, 1.0), "price cheap is -1"),
    ],
)
def test_money_that_buys_nothing_or_too_much(money: tuple[float, float, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        plan_purchase(draw(0, 60, 50), *money, rng=np.random.default_rng(0))
    check_purchase(MOST_LABELS, 1.0, 2.0)


def test_close_shares_have_no_regime() -> None:
    # Cheap labels at the price of what they are worth: whatever a plan says then is luck.
    laws = [LabelLaw(0.5, 0.03, 20.0, 0.7, worth, 1e9) for worth in (0.098, 0.1, 0.102)]
    forecaster = _Forecaster(laws[1], tuple(laws), Trial(5, 5, 0.01), 0.0, 80, (300, 50))
    counts = [(400 + round(1000 * (1 - share)), 80 + round(100 * share)) for share in FRACTIONS]
    is_better = forecaster.clearly_better(counts)
    assert regime_of(FRACTIONS, is_better) == UNDECIDED
    assert not is_better.any()


def test_a_difference_is_clear_where_its_interval_excludes_zero() -> None:
    rng = np.random.default_rng(0)
    laws = [LabelLaw(0.5, 0.05, 20.0, 0.7, worth, 80.0) for worth in rng.normal(0.2, 0.02, 30)]
    forecaster = _Forecaster(laws[0], tuple(laws), Trial(5, 5, 0.05), 0.0, 80, (300, 60))
    counts = [(0, 40), (150, 40), (150, 45), (200, 300)]
    found = forecaster.clearly_better(counts)
    for one, other in np.ndindex(4, 4):
        gaps = [float(law.error(*counts[other]) - law.error(*counts[one])) for law in laws]
        rows = abs(gaps[0]) * (1 - abs(gaps[0])) / 80
        low = gaps[0] - 1.96 * np.sqrt(np.var(gaps, ddof=1) + rows)
        assert found[one, other] == (low > 0)
    assert found[3].tolist() == [True, True, True, False]
    assert not found[1, 2]
    assert not found[2, 1]


def benchmark() -> Any:
    spec = importlib.util.spec_from_file_location("plans", ROOT / "benchmarks" / "plans.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_benchmark_relabels_rows_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    module, taught = benchmark(), []

    def spy(rows: Labelled, cheap: Any, dear: Any, penalty: float) -> Any:
        taught.append((set(cheap.tolist()), set(dear.tolist())))
        return train_in_sequence(rows, cheap, dear, penalty)

    monkeypatch.setattr(module, "train_in_sequence", spy)
    world, test = draw(0, 0, 1200), draw(9, 0, 200)
    module.one_round(module.Pool(world, test), (100, 50), 30, 0)  # at a price of 0.1
    assert len(taught) == len(FRACTIONS)
    (hand_cheap, hand_dear), (_, all_dear) = taught[0], taught[-1]
    assert (len(hand_cheap), len(hand_dear)) == (100 + 300, 50)
    assert len(all_dear) == 50 + 30
    for cheap, dear in taught:
        assert not cheap & dear
        assert hand_dear <= dear <= hand_dear | hand_cheap
    assert len(taught[-1][0]) == 100 - 30


def test_the_guide_says_how_many_plans_came_true() -> None:
    kept = json.loads((ROOT / "docs" / "results" / "bench-plans.json").read_text(encoding="utf-8"))
    rounds = [each for group in kept["rounds"].values() for each in group]
    hits = sum(each["interval"][0] <= each["came"] <= each["interval"][1] for each in rounds)
    guide = " ".join((ROOT / "docs" / "guide.md").read_text(encoding="utf-8").split())
    assert kept["tables"][0]["rows"][-1][1] == f"{hits} of {len(rounds)}"
    assert f"tried on {len(rounds)} of them" in guide
    assert f"{hits} intervals of nominally 95% held" in guide

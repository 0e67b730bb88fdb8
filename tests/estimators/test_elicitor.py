"""Training on one source after the other: which rows are bought, what moves, and when it stops."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from labelwise.audit.elicitation import Oracle
from labelwise.errors import InputError
from labelwise.estimators.elicitor import SequentialElicitor, Stage, StageSettings, _Stopping
from labelwise.networks.build import build_network
from labelwise.training.seeding import seeded

FAST = StageSettings(learning_rate=1e-2, max_epochs=40)


def data(rows: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, cheap soft labels of which a quarter point the wrong way, right labels."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, 4)).astype(np.float32)
    truth = (X[:, 0] + 0.5 * X[:, 1] > 0).astype(np.int64)
    wrong = rng.random(rows) < 0.25
    return X, np.where(wrong, 1 - truth, truth) * 0.8 + 0.1, truth


def network(seed: int = 0) -> nn.Module:
    with seeded(seed):
        return build_network("mlp-8", (4,), 2)


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return copy.deepcopy(model.state_dict())


def fit(stages: list[Stage], model: nn.Module | None = None, settings: StageSettings = FAST, **options: Any) -> Any:
    X, cheap, truth = data()
    oracle = Oracle(truth)
    return SequentialElicitor(model or network(), stages, settings, **options).fit(cheap, oracle, X), oracle


def test_it_learns_from_both_and_buys_what_it_says() -> None:
    X, _, truth = data()
    found, oracle = fit([Stage(source="weak", size=200), Stage(source="oracle", size=60)])
    weak, dear = set(found.queried_["weak"]), set(found.queried_["oracle"])
    assert (len(weak), len(dear)) == (200, 60)
    assert not weak & dear
    assert sorted(oracle.queried) == sorted(dear)
    assert (found.predict_proba(X).argmax(axis=1) == truth).mean() > 0.85
    assert [each["source"] for each in found.history_] == ["weak", "oracle"]
    assert [each["held_out"] for each in found.history_] == [40, 12]


def test_a_stage_without_labels_leaves_the_weights_alone() -> None:
    model = network()
    before = state(model)
    found, oracle = fit([Stage(source="weak", size=0), Stage(source="oracle", size=0, reinit_head=True)], model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert found.history_ == []
    assert oracle.num_queries == 0


def test_more_labels_hold_the_fewer_ones() -> None:
    few, _ = fit([Stage(source="weak", size=20), Stage(source="oracle", size=10)])
    many, _ = fit([Stage(source="weak", size=90), Stage(source="oracle", size=30)])
    for source in ("weak", "oracle"):
        assert set(few.queried_[source]) < set(many.queried_[source])


def test_the_same_seed_gives_the_same_model() -> None:
    stages = [Stage(source="weak", size=50, loss="logconf"), Stage(source="oracle", size=3)]
    X, _, _ = data()
    one, two = (fit(stages, network(), seed=5)[0].predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("modules", ["head", "body"])
def test_only_the_chosen_modules_train(modules: str) -> None:
    model = network()
    before = state(model)
    fit([Stage(source="oracle", size=40, modules=modules)], model)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith("head.") == (modules == "head") for name in moved)


def test_a_new_head_is_small() -> None:
    model = network()
    still = StageSettings(learning_rate=1e-12, max_epochs=1)
    fit([Stage(source="oracle", size=40, reinit_head=True)], model, still)
    assert isinstance(model.head, nn.Linear)
    assert 0 < float(model.head.weight.detach().abs().max()) < 5 * 0.01 / 8**0.5
    assert float(model.head.bias.detach().abs().max()) < 1e-6


def test_the_weak_model_chooses_the_rows_it_is_least_sure_of() -> None:
    X, cheap, truth = data()
    stages = [Stage(source="weak", size=50), Stage(source="oracle", size=0)]
    weak = SequentialElicitor(network(), stages, FAST).fit(cheap, Oracle(truth), X)
    active, _ = fit(
        [
            Stage(source="weak", size=50),
            Stage(source="oracle", size=50, sampling="least_confident_pred", temperature=0.0),
        ]
    )
    plain, _ = fit([Stage(source="weak", size=50), Stage(source="oracle", size=50)])
    doubt = 0.5 - np.abs(weak.predict_proba(X)[:, 1] - 0.5)
    # The pool of dear labels has 200 rows, of which a quarter is bought.
    assert doubt[active.queried_["oracle"]].min() > np.median(doubt[plain.queried_["oracle"]])


def test_the_surest_labels_are_taken() -> None:
    X, _, truth = data()
    cheap = np.random.default_rng(1).uniform(size=len(X))
    found = SequentialElicitor(
        network(), [Stage(source="weak", size=100, sampling="most_confident_label", temperature=0.0)], FAST
    ).fit(cheap, Oracle(truth), X)
    taken = np.isin(np.arange(len(X)), found.queried_["weak"])
    sure = np.abs(cheap - 0.5)
    assert sure[taken].min() >= sure[~taken].max()


@pytest.mark.parametrize("size", [1, 2, 4, 5, 6])
@pytest.mark.parametrize("stop_on", ["auroc", "cross-entropy"])
def test_a_handful_of_labels(size: int, stop_on: str) -> None:
    settings = StageSettings(learning_rate=1e-2, max_epochs=40, stop_on=stop_on, few_steps=7)
    found, _ = fit([Stage(source="oracle", size=size)], settings=settings)
    (stage,) = found.history_
    assert stage["held_out"] == (0 if size < 5 else 2)
    if size < 5:
        assert stage["steps"] == 7
    assert np.isfinite(found.predict_proba(data()[0])).all()


def test_labels_of_one_class() -> None:
    X, cheap, _ = data()
    model = SequentialElicitor(network(), [Stage(source="oracle", size=60)], FAST)
    assert model.fit(cheap, Oracle(np.ones(len(X))), X).predict_proba(X)[:, 1].mean() > 0.7


def test_the_counter_starts_again_at_an_improvement() -> None:
    stopping = _Stopping(patience=4, min_improvement=0.01)
    scores = [0.5, 0.505, 0.504, 0.509, 0.52, 0.525, 0.4, 0.52, 0.529]
    assert [stopping.ends(score) for score in scores] == [False] * 8 + [True]


def test_the_optimiser_may_be_carried_over() -> None:
    stages = [Stage(source="weak", size=100), Stage(source="oracle", size=100)]
    kept = [stages[0], Stage(source="oracle", size=100, keep_optimizer=True)]
    X, _, _ = data()
    fresh, carried = (fit(each)[0].predict_proba(X) for each in (stages, kept))
    assert not np.array_equal(fresh, carried)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "source": ({"source": "people"}, "people"),
    "loss": ({"loss": "mse"}, "mse"),
    "sampling": ({"sampling": "best"}, "best"),
    "modules": ({"modules": "neck"}, "neck"),
    "size": ({"size": -1}, "size is -1"),
    "too many": ({"size": 401}, "401 labels of 400 rows"),
    "confident oracle": ({"source": "oracle", "sampling": "most_confident_label"}, "weak source"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_stages_are_refused(name: str) -> None:
    options, words = BAD[name]
    with pytest.raises(InputError, match=words):
        fit([Stage(**({"source": "weak", "size": 10} | options))])


def test_bad_labels_and_models_are_refused() -> None:
    X, cheap, truth = data()
    stages = [Stage(source="weak", size=10, modules="head")]
    with pytest.raises(InputError, match="from 0 to 1"):
        SequentialElicitor(network(), stages).fit(cheap + 1, Oracle(truth), X)
    with pytest.raises(InputError, match="399 weak labels"):
        SequentialElicitor(network(), stages).fit(cheap[:-1], Oracle(truth), X)
    with pytest.raises(InputError, match="named head"):
        SequentialElicitor(nn.Linear(4, 2), stages).fit(cheap, Oracle(truth), X)
    with pytest.raises(InputError, match="stop_on"):
        StageSettings(stop_on="luck")

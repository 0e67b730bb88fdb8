import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from labelwise.errors import InputError
from labelwise.methods.classification.ps_kd import PSKD, refine_targets
from labelwise.networks.build import build_network
from labelwise.numerics.losses import soft_cross_entropy
from labelwise.reproductions import ps_kd, ps_kd_tokens, reproduce
from labelwise.reproductions.ps_kd import CE, DIGITS, METHOD, SMOOTHING, draw_split
from labelwise.reproductions.ps_kd_tokens import ALPHABET, STOP, TokenNetwork, encode, in_roman, token_targets
from labelwise.reproductions.result import Result
from labelwise.training.data import TrainingData, epoch_batches
from labelwise.training.seeding import generator, seeded


@pytest.fixture(scope="module")
def quick_result() -> Result:
    return ps_kd.run(seeds=2, data_dir=None, quick=True)


def test_the_verdict_is_that_of_all_checks(quick_result: Result) -> None:
    checks = quick_result.details["checks"]
    assert len(checks) == 5
    assert quick_result.holds == all(checks.values())
    for name, passed in checks.items():
        assert passed != any("not clear" in note and name in note for note in quick_result.notes)
    json.loads(quick_result.to_json())


def test_summaries_agree_with_the_details(quick_result: Result) -> None:
    means = quick_result.details["means"]
    for name, summary in {**quick_result.baselines, **quick_result.methods}.items():
        assert summary.mean == pytest.approx(means[name]["accuracy"])
    assert quick_result.difference == pytest.approx(means[METHOD]["accuracy"] - means[CE]["accuracy"])
    differences = quick_result.details["differences"][f"{METHOD} - {SMOOTHING}"]
    for name in ("nll", "ece_percent", "aurc_x1000"):
        assert differences[name]["difference"] == pytest.approx(means[METHOD][name] - means[SMOOTHING][name])
    assert means["cross-entropy + temperature"]["accuracy"] == means[CE]["accuracy"]


def test_what_was_left_out_is_said(quick_result: Result) -> None:
    assert "digits" in quick_result.data
    assert any("Fashion-MNIST was left out" in note and "--data-dir" in note for note in quick_result.notes)


def test_one_seed_is_noted_and_repeats(quick_result: Result) -> None:
    first = reproduce("ps-kd", seeds=1, quick=True)
    assert first.interval is None
    assert any("one seed" in note for note in first.notes)
    for group in ("baselines", "methods"):
        for name, summary in getattr(first, group).items():
            assert summary.values == getattr(quick_result, group)[name].values[:1]


def test_missing_data_are_an_error_where_a_folder_was_given(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labelwise.data.catalogue.SYSTEM_FOLDERS", {})
    monkeypatch.setenv("LABELWISE_DATA", str(tmp_path))
    with pytest.raises(InputError, match="fashion-mnist"):
        reproduce("ps-kd", seeds=1, data_dir=tmp_path)


def numbered(num_train: int, num_test: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A source whose inputs are row numbers."""
    rows = np.arange(num_train + num_test)
    return rows[:num_train], rows[:num_train] % 10, rows[num_train:], rows[num_train:] % 10


def test_rows_are_disjoint_and_only_training_labels_are_wrong() -> None:
    split = draw_split(numbered(1400, 397), DIGITS, seed=3)
    assert (len(split.train_X), len(split.val_X), len(split.test_X)) == (800, 300, 397)
    everything = np.concatenate([split.train_X, split.val_X, split.test_X])
    assert len(np.unique(everything)) == len(everything)
    assert np.array_equal(split.val_y, split.val_X % 10)
    assert np.array_equal(split.test_X, np.arange(1400, 1797))
    assert (split.train_y != split.train_X % 10).mean() == pytest.approx(0.2, abs=0.01)
    clean = draw_split(numbered(1400, 397), DIGITS._replace(noise=0.0), seed=3)
    assert np.array_equal(clean.train_X, split.train_X)
    assert np.array_equal(clean.train_y, clean.train_X % 10)
    assert not np.array_equal(draw_split(numbered(1400, 397), DIGITS, seed=4).train_X, split.train_X)


def test_the_learning_rate_is_chosen_without_the_test_rows() -> None:
    plan = DIGITS._replace(num_train=100, num_val=50, epochs=2)
    split = draw_split(ps_kd.digits(), plan, seed=0)
    without = split._replace(test_X=None, test_y=None)
    scores = ps_kd.validation_scores([without], plan)
    assert list(scores) == list(ps_kd.LEARNING_RATES)
    assert scores == ps_kd.validation_scores([split], plan)


def test_arms_start_from_the_same_weights_and_see_the_same_batches() -> None:
    """In the first epoch PS-KD is cross-entropy, and smoothed PS-KD is label smoothing: bit for bit, or nearly."""
    plan = DIGITS._replace(num_train=150, num_val=10, epochs=1)
    split = draw_split(ps_kd.digits(), plan, seed=0)
    logits = {arm: ps_kd.fit(arm, split, plan, 0.05, 7).predict_logits(split.test_X) for arm in ps_kd.ARMS}
    for arm, base in ((METHOD, CE), (ps_kd.SMOOTHED_METHOD, SMOOTHING), (ps_kd.MIXED_METHOD, ps_kd.MIXUP)):
        np.testing.assert_allclose(logits[arm], logits[base], rtol=1e-4, atol=1e-4)
    assert not np.allclose(logits[CE], logits[SMOOTHING], atol=1e-3)


def test_measures_by_hand() -> None:
    probs = np.array([[0.9, 0.1], [0.35, 0.65], [0.8, 0.2]])
    found = ps_kd.measure(probs, np.array([0, 1, 1]))
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["nll"] == pytest.approx(-np.mean(np.log([0.9, 0.65, 0.2])))
    assert found["ece_percent"] == pytest.approx(100 * (0.1 + 0.35 + 0.8) / 3)
    assert found["aurc_x1000"] == pytest.approx(1000 * np.mean([0, 1 / 2, 1 / 3]))


def test_better_means_lower_for_errors() -> None:
    measured = {
        "a": {"accuracy": [0.9, 0.92, 0.91], "nll": [0.1, 0.12, 0.11]},
        "b": {"accuracy": [0.8, 0.82, 0.81], "nll": [0.2, 0.22, 0.21]},
        "c": {"accuracy": [0.8, 0.99, 0.81], "nll": [0.2, 0.01, 0.21]},
    }
    for name in ("accuracy", "nll"):
        assert ps_kd.is_clearly_better(measured, "a", "b", name)
        assert not ps_kd.is_clearly_better(measured, "b", "a", name)
        assert not ps_kd.is_clearly_better(measured, "a", "c", name)
        assert not ps_kd.is_clearly_better(measured, "a", "a", name)


def test_mean_rows_show_the_first_and_the_last() -> None:
    runs = [[{"x": float(row + shift)} for row in range(10)] for shift in (0, 2)]
    assert ps_kd.mean_rows(runs, most=4) == {"x": [1.0, 4.0, 7.0, 10.0]}
    assert ps_kd.mean_rows([runs[0][:1]]) == {"x": [0.0]}


# --- weight of the gradient


def test_gradient_weight_is_the_ratio_of_gradients() -> None:
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    labels = torch.arange(6) % 4
    before = torch.randn(6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64).softmax(dim=1)
    onehot = functional.one_hot(labels, 4).double()
    (soft,) = torch.autograd.grad(soft_cross_entropy(logits, refine_targets(onehot, before, 0.7)), logits)
    (hard,) = torch.autograd.grad(functional.cross_entropy(logits, labels), logits)
    rows = torch.arange(6)
    now = logits.detach().softmax(dim=1)[rows, labels].numpy()
    np.testing.assert_allclose(
        ps_kd.gradient_weight(now, before[rows, labels].numpy(), 0.7), soft[rows, labels] / hard[rows, labels]
    )


def test_examples_that_improved_weigh_less() -> None:
    rng = np.random.default_rng(0)
    found = ps_kd.weights_by_progress(rng.random(200), rng.random(200), 0.6)
    assert found["weight_improved"] < 1 - 0.6 < found["weight_not_improved"]
    assert 0.3 < found["improved_share"] < 0.7
    assert ps_kd.weights_by_progress(np.array([0.9]), np.array([0.5]), 0.6)["weight_not_improved"] == 0
    none = ps_kd.weights_by_progress(np.array([0.5, 1.0]), np.array([0.5, 1.0]), 0.6)
    assert none["weight_improved"] == 0
    assert np.isfinite(list(none.values())).all()  # a probability of 1 leaves no gradient to weigh


def test_weights_follow_the_table_of_predictions() -> None:
    labels = np.array([0, 2])
    with seeded(0):
        recipe = PSKD(lambda: build_network("linear", (2,), 3), alpha_T=0.5)
    recipe.begin(TrainingData(torch.zeros(2, 2), torch.from_numpy(labels), 3), None, epochs=4)
    watch = ps_kd.GradientWeights(labels)
    for epoch, table in enumerate(([[0.5, 0.2, 0.3]] * 2, [[0.7, 0.1, 0.2], [0.4, 0.4, 0.2]])):
        recipe.begin_epoch(epoch)
        recipe.criterion.memory.targets.copy_(torch.tensor(table))
        assert watch(recipe, epoch) == {}
    (row,) = watch.rows
    assert row["epoch"] == 2
    assert row["improved_share"] == 0.5
    assert row["weight_improved"] == pytest.approx(1 - 0.25 * 0.5 / 0.3)
    assert row["weight_not_improved"] == pytest.approx(1 - 0.25 * 0.7 / 0.8)


# --- tokens


def read_roman(numeral: str) -> int:
    """A letter before a larger one is subtracted."""
    values = ["IVXLCDM".index(letter) for letter in numeral]
    worth = [10 ** (place // 2) * (5 if place % 2 else 1) for place in values]
    return sum(-w if w < max(worth[i:]) else w for i, w in enumerate(worth))


def test_roman_numerals() -> None:
    assert [in_roman(n) for n in (1, 4, 9, 14, 40, 1888, 1994)] == [
        "I",
        "IV",
        "IX",
        "XIV",
        "XL",
        "MDCCCLXXXVIII",
        "MCMXCIV",
    ]
    assert [read_roman(in_roman(n)) for n in range(1, 2000)] == list(range(1, 2000))
    assert not any(letter * 4 in in_roman(n) for n in range(1, 2000) for letter in "IXC")


def test_encoded_sequences_say_the_numeral_and_the_stop() -> None:
    data = encode([4, 1888])
    for row, number, numeral in ((0, "4", "IV."), (1, "1888", "MDCCCLXXXVIII.")):
        said = "".join(ALPHABET[code] for code in data.said[row][data.mask[row]])
        assert said == numeral
        read = "".join(ALPHABET[code] for code in data.read[row])
        assert read.startswith(f"{number}={numeral}"[:-1])
        assert data.mask[row].sum() == len(numeral)
    assert torch.equal(data.read[:, 1:], data.said[:, :-1])
    assert (data.said[0][data.mask[0].nonzero().max() + 1 :] == STOP).all()


def test_token_targets_are_refined_one_by_one() -> None:
    data = encode([7, 19])
    with seeded(0):
        snapshot = TokenNetwork(width=8)
    found = token_targets(data.said, data.read, snapshot, 0.3)
    for row in range(2):
        for place in range(data.read.shape[1]):
            # What follows a place must not reach its prediction.
            probs = snapshot(data.read[row : row + 1, : place + 1])[0, -1].softmax(dim=0)
            expected = 0.3 * probs + 0.7 * functional.one_hot(data.said[row, place], len(ALPHABET))
            torch.testing.assert_close(found[row, place], expected.detach(), rtol=1e-5, atol=1e-6)
    assert not found.requires_grad
    onehot = token_targets(data.said, data.read, None, 0.3)
    assert torch.equal(onehot.argmax(dim=-1), data.said)
    assert torch.equal(onehot.sum(dim=-1), torch.ones(data.said.shape))


def test_alpha_0_is_cross_entropy_of_the_numerals_tokens() -> None:
    data = encode(list(range(1, 80)))
    with seeded(5):
        network = TokenNetwork()
    optimizer = torch.optim.AdamW(network.parameters(), ps_kd_tokens.LEARNING_RATE)
    labels = torch.where(data.mask, data.said, -100)
    for epoch in range(2):
        for group in optimizer.param_groups:
            group["lr"] = ps_kd_tokens.LEARNING_RATE * (1 + np.cos(np.pi * epoch / 2)) / 2
        for rows in epoch_batches(len(labels), 32, generator(5, "order", epoch)):
            loss = functional.cross_entropy(network(data.read[rows]).flatten(0, 1), labels[rows].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    trained = ps_kd_tokens.train_tokens(data, alpha_T=0.0, epochs=2, seed=5)
    for mine, theirs in zip(trained.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)
    refined = ps_kd_tokens.train_tokens(data, alpha_T=0.8, epochs=2, seed=5)
    assert not torch.allclose(refined.head.weight, trained.head.weight)


class Fixed(nn.Module):
    """Says what it was told to, whatever it reads."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, read: torch.Tensor) -> torch.Tensor:
        return self.logits


def test_tokens_are_measured_within_the_mask() -> None:
    data = encode([2, 6, 1500])  # II. VI. MD.
    right = 9.0 * functional.one_hot(data.said, len(ALPHABET)).double()
    found = ps_kd_tokens.measure_tokens(Fixed(right), data)  # type: ignore[arg-type]
    assert found["token_accuracy"] == found["numerals_right"] == 1
    assert found["token_nll"] == pytest.approx(np.log1p((len(ALPHABET) - 1) * np.exp(-9)))
    wrong = right.clone()
    wrong[0, data.mask[0].nonzero()[1]] = 0.0  # one token of one numeral: all letters alike, the first is said
    wrong[:, 0] = 0.0  # before the numeral: does not count
    found = ps_kd_tokens.measure_tokens(Fixed(wrong), data)  # type: ignore[arg-type]
    assert found["numerals_right"] == pytest.approx(2 / 3)
    assert found["token_accuracy"] == pytest.approx(8 / 9)


def test_numbers_to_test_on_are_not_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    monkeypatch.setattr(ps_kd_tokens, "encode", lambda numbers: (seen.append(numbers), encode(numbers))[1])
    found = ps_kd_tokens.translate(0, num_train=40, epochs=1)
    train, test = seen
    assert (len(train), len(test)) == (40, 600)
    assert not set(train) & set(test)
    assert set(found) == {CE, METHOD}


def test_noise_moves_exact_shares_of_each_class() -> None:
    plan = DIGITS._replace(num_train=1000, num_val=0)
    split = draw_split(numbered(1000, 10), plan, seed=0)
    moved = split.train_y != split.train_X % 10
    assert (np.bincount(split.train_X[moved] % 10, minlength=10) == 20).all()

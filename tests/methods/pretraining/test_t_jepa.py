"""T-JEPA: which columns are seen and predicted, the predictor, the teacher, and that dependent columns are learnt."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from labelwise.errors import InputError
from labelwise.methods.pretraining.t_jepa import (
    LatentPredictor,
    TJEPARecipe,
    jepa_loss,
    sample_column_masks,
)
from labelwise.networks.tabular import TabularEncoder, gather_tokens
from labelwise.training.data import TrainingData
from labelwise.training.loop import train
from labelwise.training.seeding import seeded
from labelwise.training.settings import Settings
from labelwise.training.task import PRETRAINING

SMALL = {"pred_dim": 8, "pred_heads": 2, "pred_layers": 1, "pred_feedforward": 16}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def recipe(n_numeric: int = 4, n_reg: int = 1, seed: int = 0, dropout: float = 0.0, **options: Any) -> TJEPARecipe:
    with seeded(seed):
        return TJEPARecipe(
            lambda: TabularEncoder(
                n_numeric, dim=8, heads=2, layers=1, feedforward=16, dropout=dropout, n_reg_tokens=n_reg
            ),
            **(SMALL | {"pred_dropout": 0.0} | options),
        )


def unlabelled(x: Tensor) -> TrainingData:
    return TrainingData(x, torch.zeros(len(x), 0), 40, task=PRETRAINING)


def settings(**changes: Any) -> Settings:
    return Settings(**({"epochs": 2, "batch_size": 8, "optimizer": "adamw", "accelerator": "cpu"} | changes))


# Masks.


@pytest.mark.parametrize("columns", [2, 3, 5, 17])
@pytest.mark.parametrize("shares", [((0.2, 0.4), (0.2, 0.4)), ((0.0, 1.0), (0.0, 1.0)), ((0.5, 0.5), (0.1, 0.9))])
def test_columns_seen_and_predicted_are_apart(columns: int, shares: tuple[Any, Any]) -> None:
    for seed in range(20):
        context, targets = sample_column_masks(6, columns, *shares, 3, generator=generator(seed))
        assert context.dtype == targets.dtype == torch.int64
        assert context.shape[0] == 6
        assert targets.shape[:2] == (3, 6)
        assert 1 <= context.shape[1] <= max(1, round(columns * shares[0][1]))
        assert 1 <= targets.shape[2] <= max(1, round(columns * shares[1][1]))
        for mask in targets:
            together = torch.cat([context, mask], dim=1)
            assert together.min() >= 0
            assert together.max() < columns
            assert all(len(set(row)) == len(row) for row in together.tolist())


def test_every_column_is_as_likely_and_rows_and_sets_differ() -> None:
    seen, asked = Counter(), Counter()
    for seed in range(200):
        context, targets = sample_column_masks(20, 6, (0.3, 0.3), (0.3, 0.3), 2, generator=generator(seed))
        seen.update(context.flatten().tolist())
        asked.update(targets.flatten().tolist())
    # 8,000 and 16,000 draws over 6 columns: five deviations of a binomial
    assert all(abs(seen[column] - 8000 / 6) < 170 for column in range(6))
    assert all(abs(asked[column] - 16000 / 6) < 240 for column in range(6))
    assert len({tuple(row) for row in context.tolist()}) > 5
    assert not torch.equal(targets[0].sort(dim=1)[0], targets[1].sort(dim=1)[0])


def test_numbers_of_columns_follow_the_rule() -> None:
    """Half the weight at the ends of a rounded uniform number, and pairs that do not fit are drawn anew."""
    weights = {1: 0.5, 2: 1.0, 3: 1.0, 4: 0.5}
    pairs = {(a, b): weights[a] * weights[b] for a in weights for b in weights if a + b <= 5}
    total, draws = sum(pairs.values()), 3000
    rng = generator()
    found: Counter[tuple[int, int]] = Counter()
    for _ in range(draws):
        context, targets = sample_column_masks(1, 5, (0.2, 0.8), (0.2, 0.8), 1, generator=rng)
        found[(context.shape[1], targets.shape[2])] += 1
    assert set(found) == set(pairs)
    for pair, weight in pairs.items():
        assert abs(found[pair] / draws - weight / total) < 5 * (0.25 / draws) ** 0.5


def test_masks_come_from_the_generator_alone() -> None:
    first, second = (sample_column_masks(4, 9, generator=generator(3)) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_shared_targets_are_one_set() -> None:
    _, targets = sample_column_masks(5, 9, n_targets=3, generator=generator(), shared_targets=True)
    assert torch.equal(targets[0], targets[1])
    assert torch.equal(targets[0], targets[2])


def test_masks_of_no_rows() -> None:
    context, targets = sample_column_masks(0, 4, generator=generator())
    assert len(context) == 0
    assert targets.shape[:2] == (4, 0)


@pytest.mark.parametrize(("columns", "low"), [(1, 0.2), (0, 0.2), (4, 0.75)])
def test_masks_that_cannot_be_drawn_are_refused(columns: int, low: float) -> None:
    with pytest.raises(InputError, match=r"to see and \d to predict are more than"):
        sample_column_masks(2, columns, (low, 1.0), (low, 1.0), generator=generator())


@pytest.mark.parametrize("n_reg", [0, 1, 2])
def test_learned_tokens_are_always_seen_and_never_predicted(n_reg: int) -> None:
    model = recipe(5, n_reg, context_share=(0.2, 0.6), target_share=(0.2, 0.4))
    columns = set()
    for _ in range(50):
        context, targets = model._draw_tokens(3)
        assert context[:, :n_reg].tolist() == [list(range(n_reg))] * 3
        assert targets.min() >= n_reg
        columns |= set(targets.flatten().tolist())
    assert columns == set(range(n_reg, n_reg + 5))  # the last column too


# Predictor and loss.


def test_predictions_are_laid_out_mask_by_mask_and_positions_travel_with_queries() -> None:
    predictor = LatentPredictor(6, 4, 8, heads=2, layers=2, feedforward=8).eval()
    z, context = torch.randn(2, 3, 4), torch.tensor([[0, 1, 2], [0, 3, 5]])
    targets = torch.tensor([[[3, 4], [1, 2]], [[5, 3], [4, 1]], [[4, 3], [2, 1]]])
    out = predictor(z, context, targets)
    assert out.shape == (6, 2, 4)
    for mask in range(3):
        torch.testing.assert_close(out[2 * mask : 2 * mask + 2], predictor(z, context, targets[mask : mask + 1]))
    torch.testing.assert_close(out[:2], out[4:].flip(1))  # the third set is the first in another order
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(predictor(z[:, order], context[:, order], targets), out)


def test_a_column_that_is_not_seen_moves_the_target_but_not_the_prediction() -> None:
    model = recipe(4).eval()
    x = torch.rand(3, 4)
    changed = x.clone()
    changed[:, 3] += 1
    context, targets = torch.tensor([[0, 1, 2]] * 3), torch.tensor([[[4]] * 3])
    assert torch.equal(model.network(x, context, targets), model.network(changed, context, targets))
    assert not torch.allclose(model.teacher(x), model.teacher(changed))


def test_the_loss_is_a_mean_over_everything() -> None:
    predicted, target = torch.randn(4, 3, 2), torch.randn(4, 3, 2)
    assert float(jepa_loss(predicted, target)) == pytest.approx(float(((predicted - target) ** 2).sum() / 24))
    assert float(jepa_loss(target, target)) == 0
    order = torch.tensor([3, 1, 0, 2])
    assert float(jepa_loss(predicted[order], target[order])) == pytest.approx(float(jepa_loss(predicted, target)))


# Teacher and training.


def test_no_gradient_reaches_the_teacher_and_the_loss_is_of_its_tokens() -> None:
    model = recipe()
    x = torch.rand(5, 4)
    model.generator = generator(1)
    loss = model.loss({"inputs": x, "index": torch.arange(5), "labels": torch.zeros(5, 0)})
    loss.backward()
    assert all(parameter.grad is None for parameter in model.teacher.parameters())
    assert all(parameter.grad is not None for parameter in model.network.parameters())
    model.generator = generator(1)
    context, targets = model._draw_tokens(5)
    expected = gather_tokens(model.teacher(x), targets).flatten(0, 1)
    assert loss.item() == pytest.approx(float((model.network(x, context, targets) - expected).square().mean().detach()))


@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_a_teacher_that_copies_and_one_that_stays(momentum: float) -> None:
    model = recipe(ema_start=momentum, ema_end=momentum)
    start = [parameter.clone() for parameter in model.teacher.parameters()]
    train(model, unlabelled(torch.rand(20, 4, generator=generator())), settings(learning_rate=0.01))
    encoder = list(model.network.encoder.parameters())
    for mine, other in zip(model.teacher.parameters(), encoder if momentum == 0 else start, strict=True):
        assert torch.equal(mine, other)
    assert any(not torch.equal(mine, other) for mine, other in zip(encoder, start, strict=True))


def test_the_momentum_grows_in_a_line_over_all_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    model, momenta = recipe(ema_start=0.5, ema_end=0.9), []
    monkeypatch.setattr(model.teacher, "update", lambda _student, momentum: momenta.append(momentum))
    train(model, unlabelled(torch.rand(20, 4)), settings(epochs=3))  # three steps an epoch
    assert momenta == pytest.approx([0.5 + 0.4 * step / 9 for step in range(9)])


def test_gradients_of_the_encoder_are_clamped_and_those_of_the_predictor_are_not() -> None:
    model = recipe()
    model.begin(unlabelled(torch.rand(4, 4)), None, 1)
    model.generator = generator()
    (1e6 * model.loss({"inputs": torch.rand(4, 4), "index": torch.arange(4), "labels": torch.zeros(4, 0)})).backward()

    def steepest(module: nn.Module) -> float:
        return max(float(p.grad.abs().max()) for p in module.parameters() if p.numel())

    assert steepest(model.network.encoder) == 1
    assert steepest(model.network.predictor) > 1


def test_predictions_are_the_tokens_of_the_teacher_whatever_the_mode() -> None:
    model = recipe(dropout=0.5).train()
    x = torch.rand(3, 4)
    out = model.predict(x)
    assert out.shape == (3, 40)
    assert torch.equal(out, model.predict(x))
    assert torch.equal(out, model.teacher.network(x).flatten(1))


def explained(model: TJEPARecipe, x: Tensor) -> float:
    """Share of the variance of the teacher's tokens over rows that is predicted, one column from all others."""
    model.eval()
    tokens = model.teacher(x).detach()
    error, total = 0.0, 0.0
    columns = x.shape[1]
    for column in range(1, columns + 1):
        context = torch.tensor([[p for p in range(columns + 1) if p != column]]).expand(len(x), -1)
        target = torch.full((1, len(x), 1), column)
        predicted = model.network(x, context, target)[:, 0].detach()
        error += float((predicted - tokens[:, column]).square().sum())
        total += float((tokens[:, column] - tokens[:, column].mean(dim=0)).square().sum())
    return 1 - error / total


def test_what_goes_together_is_learnt_and_what_does_not_is_not() -> None:
    hidden = torch.rand(600, 1, generator=generator())
    dependent = torch.cat([hidden, 1 - hidden, hidden.square(), hidden], dim=1)
    independent = torch.rand(600, 4, generator=generator(1))
    shares = []
    for x in (dependent, independent):
        model = recipe(ema_start=1.0, context_share=(0.5, 0.75), target_share=(0.25, 0.25), n_targets=1)
        train(model, unlabelled(x[:400]), settings(epochs=30, batch_size=40, learning_rate=0.01))
        shares.append(explained(model, x[400:]))
    assert shares[0] > 0.5
    assert shares[1] < 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context_share": (0.4, 0.2)}, "context_share is"),
        ({"context_share": (0.4,)}, "context_share is"),
        ({"target_share": (0.1, 1.1)}, "target_share is"),
        ({"target_share": (float("nan"), 0.5)}, "target_share is"),
        ({"ema_start": 0.9, "ema_end": 0.8}, "ema_start is 0.9"),
        ({"ema_start": -0.1}, "ema_start is -0.1"),
        ({"ema_end": float("nan")}, "ema_end nan"),
        ({"n_targets": 0}, "n_targets is 0"),
        ({"pred_dim": 9, "pred_heads": 3}, "even number"),
        ({"pred_heads": 3}, "3 heads cannot share"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        recipe(**options)


def test_shares_that_do_not_fit_the_table_are_refused_in_training() -> None:
    with pytest.raises(InputError, match="are more than 4 in all"):
        train(recipe(context_share=(0.9, 1.0)), unlabelled(torch.rand(6, 4)), settings())


def test_a_checkpoint_of_other_rows_is_not_gone_on_from(tmp_path) -> None:
    from labelwise.training.loop import Checkpointing

    data = unlabelled(torch.rand(12, 4))
    train(recipe(), data, settings(), checkpointing=Checkpointing(tmp_path))
    other = replace(data, inputs=data.inputs + 1)
    with pytest.raises(InputError, match="other settings or data"):
        train(recipe(), other, settings(), checkpointing=Checkpointing(tmp_path, resume=True))

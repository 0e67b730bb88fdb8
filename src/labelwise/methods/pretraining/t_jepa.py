"""T-JEPA: augmentation-free self-supervised learning for tables (Thimonier et al., ICLR 2025,
https://arxiv.org/abs/2410.05016).

No labels: from some columns of a row a network predicts how an averaged copy of itself represents others, in latent
space. Nothing is augmented, contrasted or reconstructed; what comes out represents rows for any model with few labels.
Regularisation tokens, always seen and never predicted, give the encoder a place that belongs to no column.

The authors draw masks over tokens, so that their first "column" is the regularisation token and their last column is
never used, all target masks of a row are one and the same, and targets are made under dropout. Here columns are
columns, the masks are drawn each for itself (``shared_targets`` restores the one), and targets have no dropout. Tokens
start larger than theirs, which leave what columns hold small against the positions.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from labelwise.card import Card
from labelwise.errors import InputError
from labelwise.memory.teacher import AveragedTeacher
from labelwise.networks.tabular import TabularEncoder, TokenTransformer, concatenated_positions, gather_tokens
from labelwise.numerics.schedules import linear_momentum
from labelwise.training.data import Batch, TrainingData
from labelwise.training.recipe import BuildNetwork, Optimise, Recipe

Share = tuple[float, float]


def sample_column_masks(
    batch_size: int,
    n_columns: int,
    context_share: Share = (0.2, 0.4),
    target_share: Share = (0.2, 0.4),
    n_targets: int = 4,
    *,
    generator: torch.Generator,
    shared_targets: bool = False,
) -> tuple[Tensor, Tensor]:
    """Draw the columns that are seen, (B, n_context), and ``n_targets`` sets to predict, (n_targets, B, n_target).

    Both int64. The numbers of columns are drawn once a batch, evenly between the shares of all columns and at least 1,
    anew until they fit; which columns, for each row. No column of a row is both seen and predicted; sets to predict may
    overlap. Raises InputError where the smallest numbers do not fit. Cost: a sort of each row's columns, and
    ``n_targets`` of those left.
    """
    context_range, target_range = _counts(n_columns, context_share), _counts(n_columns, target_share)
    if context_range[0] + target_range[0] > n_columns:
        raise InputError(
            f"{context_range[0]} columns to see and {target_range[0]} to predict are more than {n_columns} in all: "
            "lower the least context_share or target_share, or give a table of at least 2 columns"
        )
    n_context, n_target = n_columns, n_columns
    while n_context + n_target > n_columns:
        n_context, n_target = (_draw_count(each, generator) for each in (context_range, target_range))
    order = torch.rand(batch_size, n_columns, generator=generator).argsort(dim=1)  # (B, D)
    context, rest = order[:, :n_context], order[:, n_context:]
    sets = 1 if shared_targets else n_targets
    places = torch.rand(sets, batch_size, n_columns - n_context, generator=generator).argsort(dim=2)[..., :n_target]
    targets = rest.expand(sets, -1, -1).gather(2, places)  # (sets, B, n_target)
    return context, targets.expand(n_targets, -1, -1)


def _counts(n_columns: int, share: Share) -> tuple[int, int]:
    low, high = (max(1, round(n_columns * each)) for each in share)
    return low, high


def _draw_count(counts: tuple[int, int], generator: torch.Generator) -> int:
    low, high = counts
    return round(low + (high - low) * float(torch.rand((), generator=generator)))


def jepa_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over all elements of two (rows, tokens, dim)."""
    return functional.mse_loss(predicted, target)


class LatentPredictor(nn.Module):
    """Predict the tokens of columns that were not seen from those that were.

    A row has ``n_positions`` tokens of width ``dim``; inside, they are ``pred_dim`` wide. A query is a learned token
    plus the position of what is asked for, and attends to the tokens seen and to the other queries of its set.
    """

    positions: Tensor

    def __init__(
        self,
        n_positions: int,
        dim: int,
        pred_dim: int = 32,
        *,
        heads: int = 2,
        layers: int = 2,
        feedforward: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(dim, pred_dim)
        self.mask_token = nn.Parameter(0.02 * torch.randn(pred_dim))
        self.transformer = TokenTransformer(pred_dim, heads, layers, feedforward, dropout)
        self.norm = nn.LayerNorm(pred_dim)
        self.project = nn.Linear(pred_dim, dim)
        self.register_buffer("positions", concatenated_positions(n_positions, pred_dim), persistent=False)

    def forward(self, z: Tensor, context_index: Tensor, target_index: Tensor) -> Tensor:
        """Return predictions (M * B, n_target, dim), all rows for the first set of targets, then for the next.

        ``z`` (B, n_context, dim) are tokens seen, at positions ``context_index`` (B, n_context); ``target_index``
        (M, B, n_target) are the positions asked for.
        """
        n_sets, _, n_queries = target_index.shape
        seen = self.embed(z) + self.positions[context_index]  # (B, n_context, P)
        queries = self.mask_token + self.positions[target_index.flatten(0, 1)]  # (M * B, n_target, P)
        tokens = torch.cat([seen.repeat(n_sets, 1, 1), queries], dim=1)  # (M * B, n_context + n_target, P)
        return self.project(self.norm(self.transformer(tokens))[:, -n_queries:])


class ContextPrediction(nn.Module):
    """The encoder of what is seen and the predictor of the rest, which are trained as one network."""

    def __init__(self, encoder: TabularEncoder, predictor: LatentPredictor) -> None:
        super().__init__()
        self.encoder = encoder
        self.predictor = predictor

    def forward(self, x: Tensor, context_index: Tensor, target_index: Tensor) -> Tensor:
        """Return predictions (M * B, n_target, dim) for rows ``x`` (B, D)."""
        return self.predictor(self.encoder(x, context_index), context_index, target_index)


class TJEPARecipe(Recipe):
    """Predict the averaged teacher's tokens of some columns from the student's tokens of others.

    ``build_network`` makes a ``TabularEncoder``. ``context_share`` and ``target_share`` are the least and greatest
    share of the columns to see and to predict, in ``n_targets`` sets; ``ema_start`` and ``ema_end`` the teacher's
    momentum at the first and after the last step. The authors' momentum is for some ten thousand steps: with a few
    hundred the teacher would keep much of its random start, so lower it. Gradients of the encoder are clamped to
    [-1, 1]. The loop moves the learning rate once an epoch and decays all weights alike; ``warmup_cosine`` and
    ``half_cosine`` in ``numerics.schedules`` are the authors' schedules by the step.
    """

    def __init__(
        self,
        build_network: BuildNetwork,
        *,
        pred_dim: int = 32,
        pred_heads: int = 2,
        pred_layers: int = 2,
        pred_feedforward: int = 64,
        pred_dropout: float = 0.0,
        context_share: Sequence[float] = (0.2, 0.4),
        target_share: Sequence[float] = (0.2, 0.4),
        n_targets: int = 4,
        shared_targets: bool = False,
        ema_start: float = 0.996,
        ema_end: float = 1.0,
    ) -> None:
        if not 0 <= ema_start <= ema_end <= 1:
            raise InputError(f"ema_start is {ema_start} and ema_end {ema_end}: give numbers from 0 to 1 that rise")
        if n_targets < 1:
            raise InputError(f"n_targets is {n_targets}: give at least 1 set of columns to predict")

        def build() -> ContextPrediction:
            encoder: Any = build_network()
            predictor = LatentPredictor(
                encoder.n_reg_tokens + encoder.n_columns,
                encoder.dim,
                pred_dim,
                heads=pred_heads,
                layers=pred_layers,
                feedforward=pred_feedforward,
                dropout=pred_dropout,
            )
            return ContextPrediction(encoder, predictor)

        super().__init__(build)
        self.teacher = AveragedTeacher(self._encoder)
        self.context_share = _check_share("context_share", context_share)
        self.target_share = _check_share("target_share", target_share)
        self.n_targets, self.shared_targets = n_targets, shared_targets
        self.ema_start, self.ema_end = ema_start, ema_end
        self.epoch, self.epochs, self.steps_per_epoch, self.steps_taken = 0, 1, 1, 0

    @property
    def _encoder(self) -> TabularEncoder:
        return self.network.encoder  # type: ignore[return-value]

    def begin(self, data: TrainingData, validation: TrainingData | None, epochs: int) -> None:
        """Note the length of training, by which the momentum grows."""
        self.epochs = epochs
        # Not when built: a copy of the recipe that goes to another process would lose it.
        for parameter in self._encoder.parameters():
            parameter.register_hook(_clamp)

    def begin_epoch(self, epoch: int) -> None:
        """Count steps from the epoch, so that a resumed run counts on."""
        self.epoch = epoch

    def batches(self, num_examples: int, batch_size: int, generator: torch.Generator) -> list[Tensor]:
        """All rows, shuffled."""
        order = super().batches(num_examples, batch_size, generator)
        self.steps_per_epoch, self.steps_taken = len(order), self.epoch * len(order)
        return order

    def loss(self, batch: Batch) -> Tensor:
        """Mean squared error of the predicted tokens; the columns seen and asked for are drawn here."""
        x = batch["inputs"]
        index = self._draw_tokens(len(x))
        context_index, target_index = (each.to(x.device) for each in index)
        predicted = self.network(x, context_index, target_index)  # (M * B, n_target, H)
        tokens = self.teacher(x)  # (B, R + D, H)
        return jepa_loss(predicted, gather_tokens(tokens, target_index).flatten(0, 1))

    def step(self, batch: Batch, optimise: Optimise) -> dict[str, Tensor]:
        """Step, then let the teacher follow."""
        terms = super().step(batch, optimise)
        total = self.epochs * self.steps_per_epoch
        self.teacher.update(self._encoder, linear_momentum(self.steps_taken, self.ema_start, self.ema_end, total))
        self.steps_taken += 1
        return terms

    def predict(self, inputs: Tensor) -> Tensor:
        """Return the teacher's tokens of all columns, laid end to end: (B, (R + D) * H)."""
        return self.teacher(inputs).flatten(1)

    def _draw_tokens(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """Positions of tokens to see, the regularisation tokens among them, and to predict."""
        n_reg = self._encoder.n_reg_tokens
        context, targets = sample_column_masks(
            batch_size,
            self._encoder.n_columns,
            self.context_share,
            self.target_share,
            self.n_targets,
            generator=self.generator,
            shared_targets=self.shared_targets,
        )
        reg = torch.arange(n_reg).expand(batch_size, -1)  # (B, R)
        return torch.cat([reg, context + n_reg], dim=1), targets + n_reg


def _clamp(gradient: Tensor) -> Tensor:
    return gradient.clamp(-1.0, 1.0)


def _check_share(name: str, share: Sequence[float]) -> Share:
    if len(share) != 2 or not 0 <= share[0] <= share[1] <= 1:
        raise InputError(f"{name} is {tuple(share)}: give the least and the greatest share of the columns, from 0 to 1")
    return share[0], share[1]


RECIPES = {"t-jepa": TJEPARecipe}

CARD = Card(
    number=41,
    slug="t-jepa",
    title="Augmentation-free self-supervised learning for tabular data (T-JEPA)",
    task="pretraining",
    fault="hardly any labels",
    recipe=("t-jepa",),
    idea="Predict, in latent space, some columns of a row from others, so that rows without labels teach what goes "
    "together; `TJEPA().fit(X).transform(X)` gives the representations.",
    paper="T-JEPA: augmentation-free self-supervised learning for tabular data, ICLR 2025",
    link="https://arxiv.org/abs/2410.05016",
    authors_code="jose-melo/t-jepa",
    licence="MIT",
    defaults={"pred_dim": 32, "n_targets": 4, "ema_start": 0.996, "ema_end": 1.0},
    cost="a transformer over the columns, forward on all and forward and backward on some, and one that predicts",
)

"""LLP-BP: learning from label proportions by belief propagation (Havaldar et al., ICLR 2024,
https://arxiv.org/abs/2310.08056).

Of each bag only the number of positives is known. A Gibbs distribution over all labels asks that every bag has its
count and that near neighbours agree; belief propagation gives each instance a probability, hence a pseudo-label. A
network learns those together with the bags' proportions, its embedding makes better neighbours, and a second round
starts from these. Answers labels that are known as counts of bags only.
"""

import copy
import math
from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from labelwise.card import Card
from labelwise.errors import InputError
from labelwise.labels.bags import Bags
from labelwise.labels.corrections import Corrections
from labelwise.networks.network import Network, Standardize
from labelwise.numerics.bag_potentials import check_weights, pair_potentials, similarity_potentials
from labelwise.numerics.belief_propagation import (
    STARTS,
    Convergence,
    CountFactors,
    binary_belief_propagation,
    warn_of_unrest,
)
from labelwise.numerics.neighbours import knn_pairs, matern_half
from labelwise.training.bags import BagRecipe, bag_means, bag_proportions, number_in_order
from labelwise.training.data import Batch, TrainingData, in_order
from labelwise.training.recipe import BuildNetwork

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
BAG_FACTORS = ("pairs", "count")
# Tried where no weights are given; the counts of the bags choose.
BAG_LAMBDAS, SIM_LAMBDAS = (0.1, 0.5, 2.0), (0.5, 2.0)
REPORTED = ("bag_lambda", "sim_lambda", "bag_error", "iterations", "residual")
ROWS_A_BLOCK = 4096


class PseudoLabels(NamedTuple):
    """probs (n,) float64, P(y = 1); bag_error: mean over bags of |their positives by pseudo-label - count|; the weights
    used, and how belief propagation came to rest.
    """

    probs: Floats
    bag_error: float
    bag_lambda: float
    sim_lambda: float
    info: Convergence


class AggregateTerms(NamedTuple):
    """The loss and its two parts, the second before it is weighed."""

    loss: Tensor
    instance_loss: Tensor
    bag_loss: Tensor


def pseudo_labels(
    pairs: Ints,
    sims: Floats,
    bags: Bags,
    *,
    bag_lambda: float,
    sim_lambda: float,
    threshold: float = 0.5,
    num_iters: int = 100,
    damping: float = 0.5,
    tol: float = 1e-3,
    start: str = "neutral",
    bag_factor: str = "count",
) -> PseudoLabels:
    """Belief propagation on neighbours (m, 2), their similarities (m,) and bags.

    ``bag_factor="count"`` treats a bag as one factor with exact messages instead of as its pairs (as published,
    ``"pairs"``): the same distribution with fewer loops, so that strong bags settle and come nearer to their counts, in
    less time and memory. Messages that change by less than ``tol`` decide no label, so that ends it. Raises InputError.
    """
    _check_options(threshold, bag_factor, start)
    check_weights(bag_lambda=bag_lambda, sim_lambda=sim_lambda)
    counts = None
    if bag_factor == "pairs":
        potentials = pair_potentials(pairs, sims, bags, bag_lambda, sim_lambda)
    else:
        potentials = similarity_potentials(pairs, sims, bags, sim_lambda)
        counts = CountFactors(bags, bag_lambda)
    found = binary_belief_propagation(*potentials, num_iters, damping, tol, start, counts=counts)
    gaps = bags.sums(found.marginals >= threshold) - bags.counts  # (B,)
    error = float(np.abs(gaps).mean()) if len(gaps) else 0.0
    return PseudoLabels(found.marginals, error, bag_lambda, sim_lambda, found.info)


def choose_pseudo_labels(
    pairs: Ints,
    sims: Floats,
    bags: Bags,
    bag_lambdas: Sequence[float] = BAG_LAMBDAS,
    sim_lambdas: Sequence[float] = SIM_LAMBDAS,
    **options: Any,
) -> PseudoLabels:
    """The pseudo-labels whose bags come nearest to their counts, over all pairs of weights; needs no instance label.

    Of equal ones the first wins. ``options`` go to ``pseudo_labels``. Cost: one belief propagation a pair of weights.
    """
    best: PseudoLabels | None = None
    for bag_lambda, sim_lambda in product(bag_lambdas, sim_lambdas):
        found = pseudo_labels(pairs, sims, bags, bag_lambda=bag_lambda, sim_lambda=sim_lambda, **options)
        if best is None or found.bag_error < best.bag_error:
            best = found
    if best is None:
        raise InputError("bag_lambdas or sim_lambdas are empty: give at least one of each.")
    return best


def aggregate_loss(
    instance_outputs: Tensor,
    pseudo: Tensor,
    bag_outputs: Tensor,
    proportions: Tensor,
    loss_lambda: float = 0.1,
    *,
    are_logits: bool = False,
) -> AggregateTerms:
    """``BCE(pseudo, instances)``, the mean over instances, plus ``loss_lambda BCE(proportions, bags)``, that over bags.

    instance_outputs and pseudo (B, N) or (rows,) float; bag_outputs and proportions (B,) float. Outputs are
    probabilities, or, more exact for the sure ones, logits. Logarithms of probabilities are cut at -100.
    """
    entropy = functional.binary_cross_entropy_with_logits if are_logits else functional.binary_cross_entropy
    instance_loss = entropy(instance_outputs, pseudo.to(instance_outputs))
    bag_loss = entropy(bag_outputs, proportions.to(bag_outputs))
    return AggregateTerms(instance_loss + loss_lambda * bag_loss, instance_loss, bag_loss)


class AggregateEmbeddingNet(nn.Module):
    """A network for instances with a second head for bags, on the mean of their embeddings.

    The embedding is the input of the network's head; the bag's head has one ReLU layer of ``width``.
    """

    def __init__(self, backbone: Network, width: int = 64) -> None:
        super().__init__()
        self.backbone = backbone
        self.bag_head = nn.Sequential(nn.Linear(backbone.num_features, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, inputs: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of instances (B,) and of their bags (bags,), numbered by ``number`` (B,) int64."""
        embedding = self.backbone.features(inputs)  # (B, num_features)
        logits = self.backbone.head(self.backbone.compression(embedding))[:, 0]  # (B,)
        return logits, self.bag_head(bag_means(embedding, number))[:, 0]


class LLPBP(BagRecipe):
    """Pseudo-labels by belief propagation, a network trained on them and on the bags, and both again.

    Training is divided into ``rounds`` of equal length, each from the same start weights; from the second on,
    neighbours are those of the last round's embedding. Columns are brought to mean 0 and deviation 1 / sqrt(columns)
    before neighbours are sought. ``bag_lambda`` and ``sim_lambda`` weigh counts and similarities; one that is None is
    chosen from a small grid by the bags' counts (as published both are tuned by labelled instances; their defaults are
    10). ``bag_factor`` is ``count`` or, as published, ``pairs``. With early stopping, patience may end training before
    a later round. ``extra_manifest`` tells for each round what was chosen, how far the counts are missed, and how
    belief propagation came to rest; a warning says where it did not.
    """

    network: AggregateEmbeddingNet
    probs: Tensor
    pseudo: Tensor
    found: Tensor

    def __init__(
        self,
        build_network: BuildNetwork,
        *,
        bag_lambda: float | None = None,
        sim_lambda: float | None = None,
        n_neighbors: int = 5,
        max_distance: float | None = None,
        threshold: float = 0.5,
        num_iters: int = 100,
        damping: float = 0.5,
        start: str = "neutral",
        bag_factor: str = "count",
        rounds: int = 2,
        loss_lambda: float = 0.1,
        bag_width: int = 64,
    ) -> None:
        super().__init__(build_network)
        _check_options(threshold, bag_factor, start)
        check_weights(bag_lambda=bag_lambda, sim_lambda=sim_lambda, loss_lambda=loss_lambda)
        if rounds < 1 or bag_width < 1 or n_neighbors < 1:
            raise InputError(f"rounds is {rounds}, bag_width {bag_width}, n_neighbors {n_neighbors}: give at least 1.")
        self.network = AggregateEmbeddingNet(self.network, bag_width)  # type: ignore[arg-type]
        self.weights = {
            "bag_lambdas": BAG_LAMBDAS if bag_lambda is None else (bag_lambda,),
            "sim_lambdas": SIM_LAMBDAS if sim_lambda is None else (sim_lambda,),
        }
        self.n_neighbors, self.max_distance = n_neighbors, max_distance
        self.propagation: dict[str, Any] = {
            "threshold": threshold,
            "num_iters": num_iters,
            "damping": damping,
            "start": start,
            "bag_factor": bag_factor,
        }
        self.rounds, self.loss_lambda = rounds, loss_lambda

    def begin(self, data: TrainingData, validation: TrainingData | None, epochs: int) -> None:
        """Keep the rows to seek neighbours among, and the weights that each round starts from."""
        super().begin(data, validation, epochs)
        self.data = data
        self.starts = list(range(0, epochs, -(-epochs // self.rounds)))
        self.initial = copy.deepcopy(self.network).requires_grad_(False)
        self.register_buffer("probs", torch.full((len(data),), 0.5))
        # Beside the probabilities, as weights of low precision would round those across the threshold.
        self.register_buffer("pseudo", torch.zeros(len(data), dtype=torch.bool))
        self.register_buffer("found", torch.zeros(self.rounds, len(REPORTED)))

    def stage(self, epoch: int, epochs: int) -> tuple[int, int]:
        """The round that holds an epoch."""
        ends = [*self.starts[1:], epochs]
        return next((start, end) for start, end in zip(self.starts, ends, strict=True) if epoch < end)

    def begin_epoch(self, epoch: int) -> None:
        """At the start of a round, propagate beliefs among neighbours and go back to the first weights."""
        if epoch not in self.starts:
            return
        number = self.starts.index(epoch)
        rows = self._inputs() if number == 0 else self._embeddings()
        seed = int(torch.randint(2**62, (), generator=self.generator))
        found = self.propagate(_scaled(rows), np.random.default_rng(seed))
        warn_of_unrest(found.info)
        self.probs.copy_(torch.from_numpy(found.probs))
        self.pseudo.copy_(torch.from_numpy(found.probs >= self.propagation["threshold"]))
        values = found.bag_lambda, found.sim_lambda, found.bag_error, found.info.rounds, found.info.residual
        self.found[number] = torch.tensor(values)
        self.network.load_state_dict(self.initial.state_dict())

    def propagate(self, rows: NDArray[np.float32], generator: np.random.Generator) -> PseudoLabels:
        """Pseudo-labels of all rows (n, d), with the weights that suit the bags best."""
        pairs = knn_pairs(rows, self.n_neighbors, "cosine", self.max_distance, generator=generator)
        sims = matern_half(rows, pairs)
        return choose_pseudo_labels(pairs, sims, self.bags, **self.weights, **self.propagation)

    def loss(self, batch: Batch) -> AggregateTerms:
        """Return the terms of the batch; bags of unequal sizes weigh by their rows."""
        number = number_in_order(batch["labels"][:, 0])  # (B,)
        logits, bag_logits = self.network(batch["inputs"], number)
        proportions = bag_proportions(batch["labels"], number)
        pseudo, bag_rows = self.pseudo[batch["index"]], (bag_logits[number], proportions[number])
        return aggregate_loss(logits, pseudo, *bag_rows, self.loss_lambda, are_logits=True)

    def predict(self, inputs: Tensor) -> Tensor:
        """Return logits (B, 1) of being positive."""
        return self.network.backbone(inputs)

    def corrections(self) -> Corrections:
        """Return the probabilities of the last belief propagation; every row counts fully."""
        targets = torch.stack([1 - self.probs, self.probs], dim=1)
        return Corrections(targets, torch.ones(len(targets)), torch.ones(len(targets), dtype=torch.bool))

    def extra_manifest(self) -> dict[str, Any]:
        """What each round of belief propagation found; empty for a model read from a file."""
        found = getattr(self, "found", torch.zeros(0, len(REPORTED)))
        rows = [dict(zip(REPORTED, row, strict=True)) for row in found.tolist() if row[3] > 0]
        return {"belief_propagation": rows} if rows else {}

    def _inputs(self) -> Tensor:
        blocks = self.data.batches(in_order(len(self.data), ROWS_A_BLOCK))
        return torch.cat([batch["inputs"].flatten(1).float() for batch in blocks])

    @torch.no_grad()
    def _embeddings(self) -> Tensor:
        backbone = self.network.backbone
        was_training, device = backbone.training, self.probs.device
        backbone.eval()
        blocks = self.data.batches(in_order(len(self.data), ROWS_A_BLOCK))
        rows = torch.cat([backbone.features(batch["inputs"].to(device)).float().cpu() for batch in blocks])
        backbone.train(was_training)
        return rows


def _scaled(rows: Tensor) -> NDArray[np.float32]:
    """Rows (n, d) with columns of mean 0 and deviation 1 / sqrt(d)."""
    return (Standardize.fit(rows)(rows) / math.sqrt(rows.shape[1])).numpy()


def _check_options(threshold: float, bag_factor: str, start: str) -> None:
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold is {threshold}: give a number from 0 to 1.")
    if bag_factor not in BAG_FACTORS or start not in STARTS:
        raise InputError(f"bag_factor is {bag_factor!r}, start {start!r}: choose of {BAG_FACTORS} and {STARTS}.")


RECIPES = {"llp-bp": LLPBP}

CARD = Card(
    number=40,
    slug="llp-bp",
    title="LLP-BP",
    task="bags",
    fault="labels known as counts of bags only",
    recipe=("llp-bp",),
    idea="Belief propagation over neighbours and bag counts makes pseudo-labels; the network's embedding makes better "
    "neighbours.",
    paper="Learning from label proportions: Bootstrapping supervised learners via belief propagation, ICLR 2024",
    link="https://arxiv.org/abs/2310.08056",
    authors_code="google-deepmind/llp_bp",
    licence="Apache 2.0",
    defaults={
        "bag_lambda": None,
        "sim_lambda": None,
        "n_neighbors": 5,
        "threshold": 0.5,
        "num_iters": 100,
        "damping": 0.5,
        "start": "neutral",
        "bag_factor": "count",
        "rounds": 2,
        "loss_lambda": 0.1,
    },
    cost="cross-entropy, and in each round a neighbour search and, for each of six pairs of weights, 100 rounds of "
    "messages: n (3 bag size + 40) multiplications each",
)

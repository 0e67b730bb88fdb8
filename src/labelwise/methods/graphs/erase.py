"""ERASE: error-resilient representation learning on graphs (Chen et al., CIKM 2024, https://arxiv.org/abs/2312.08852).

Wrong labels on nodes are diluted twice: given labels first spread over the edges between labelled nodes, then, in each
epoch, nodes take labels from the class prototypes they lie near, and those spread over the whole graph. The encoder
never sees a given label: it maximises the coding rate of all embeddings against that of each class of these
pseudo-labels, so that classes lie orthogonal to one another. Answers wrong labels of nodes.
"""

import math
from typing import Literal, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from labelwise.card import Card
from labelwise.errors import InputError
from labelwise.labels.check import check_labels
from labelwise.labels.corrections import Corrections
from labelwise.labels.noise import apply_matrix, symmetric_matrix
from labelwise.networks.graph import GraphNetwork
from labelwise.networks.nodes import Nodes
from labelwise.numerics.propagation import normalize_adjacency, propagate, restrict_edges
from labelwise.training.data import Batch, TrainingData
from labelwise.training.recipe import BuildNetwork, GraphRecipe

# A class to which the classifier's training has no node: its probability is 0, its logit a finite number.
ABSENT = -100.0


class ErasePseudoLabels(NamedTuple):
    """Labels of all nodes before (n, classes) and after they spread over the graph, and the largest of the latter."""

    semantic: Tensor
    propagated: Tensor
    hard: Tensor


class EraseTerms(NamedTuple):
    """The loss and its two parts before they are weighed: the rate of all embeddings, and that of each class."""

    loss: Tensor
    coding_rate: Tensor
    class_coding_rate: Tensor


def structural_denoise(
    labels: Tensor, train_mask: Tensor, adjacency: Tensor, alpha: float, num_steps: int, num_classes: int
) -> Tensor:
    """Spread given labels over the edges between training nodes; returns (n, classes) float32.

    ``labels`` (n,) int64, looked at where ``train_mask`` (n,) bool is true; ``adjacency`` (n, n), sparse or strided.
    Each step divides by the neighbour's degree among training nodes; ``alpha`` weighs what a node has itself. Rows of
    other nodes stay 0, no row is normalised.
    """
    onehot = functional.one_hot(torch.where(train_mask, labels, 0), num_classes) * train_mask[:, None]  # (n, classes)
    between = normalize_adjacency(restrict_edges(adjacency, train_mask), "column")
    return propagate(onehot.to(between.dtype), between, alpha, num_steps)


@torch.no_grad()
def prototype_similarity(embeddings: Tensor, hard_labels: Tensor, train_mask: Tensor, num_classes: int) -> Tensor:
    """Absolute cosine of ``embeddings`` (n, p) with the mean of each class's training nodes, (n, classes).

    ``hard_labels`` (n,) int64 are looked at where ``train_mask`` (n,) bool is true. A zero vector, so also the
    prototype of a class without training nodes, is similar to nothing: 0.
    """
    members = functional.one_hot(hard_labels[train_mask], num_classes).to(embeddings.dtype)  # (m, classes)
    counts = members.sum(dim=0).clamp(min=1)  # (classes,)
    prototypes = (members.T @ embeddings[train_mask]) / counts[:, None]  # (classes, p)
    return (functional.normalize(embeddings, dim=1) @ functional.normalize(prototypes, dim=1).T).abs()


def semantic_labels(denoised: Tensor, similarity: Tensor, beta: float) -> Tensor:
    """Softmax of ``beta`` times the denoised labels and ``1 - beta`` times the similarities, (n, classes)."""
    return (beta * denoised + (1.0 - beta) * similarity).softmax(dim=1)


@torch.no_grad()
def find_pseudo_labels(
    embeddings: Tensor,
    denoised: Tensor,
    train_mask: Tensor,
    adjacency: Tensor,
    *,
    alpha: float,
    beta: float,
    num_steps: int,
) -> ErasePseudoLabels:
    """Labels of all nodes from ``embeddings`` (n, p) and ``denoised`` labels (n, classes), spread over the graph.

    Steps divide by the neighbour's degree in the whole graph; of equal classes the first is taken.
    """
    similarity = prototype_similarity(embeddings, denoised.argmax(dim=1), train_mask, denoised.shape[1])
    semantic = semantic_labels(denoised, similarity, beta)
    spread = propagate(semantic, normalize_adjacency(adjacency, "column").to(semantic.dtype), alpha, num_steps)
    return ErasePseudoLabels(semantic, spread, spread.argmax(dim=1))


def coding_rate(embeddings: Tensor, eps: float, gam: float = 1.0) -> Tensor:
    """Half of ``logdet(I + gam p / (m eps) Z^T Z)`` of embeddings Z (m, p): how much room they take.

    ``eps`` is the squared precision. Costs the smaller of m p^2 and m^2 p, and a Cholesky factor of the smaller side.
    """
    count, width = embeddings.shape
    return 0.5 * _logdet(embeddings, gam * width / (max(count, 1) * eps))


def class_coding_rate(embeddings: Tensor, labels: Tensor, num_classes: int, eps: float) -> Tensor:
    """Sum over classes of ``m_c / 2m logdet(I + p / (m_c eps) Z_c^T Z_c)``, embeddings (m, p).

    ``labels`` (m,) int64, or memberships (m, classes) float of 0 or more, whose sums are the m_c. A class without
    members adds 0.
    """
    count, width = embeddings.shape
    total = embeddings.sum() * 0.0
    for number in range(num_classes):
        if labels.ndim == 1:
            members = embeddings[labels == number]  # (m_c, p)
            size = float(len(members))
        else:
            members = embeddings * labels[:, number].sqrt()[:, None]
            size = float(labels[:, number].sum())
        if size > 0:
            total = total + size / (2 * count) * _logdet(members, width / (size * eps))
    return total


class MaximalCodingRateReduction(nn.Module):
    """``-gam2 R + gam1 Rc``: embeddings spread out, each class's stay together. ``gam1`` also stands inside R.

    Costs as many Cholesky factors as there are classes, and one.
    """

    def __init__(self, gam1: float = 1.0, gam2: float = 2.0, eps: float = 0.05) -> None:
        super().__init__()
        self.gam1, self.gam2, self.eps = gam1, gam2, eps

    def forward(self, embeddings: Tensor, labels: Tensor, num_classes: int) -> EraseTerms:
        """Return the terms for embeddings (m, p) and labels (m,) int64 or memberships (m, classes)."""
        rate = coding_rate(embeddings, self.eps, self.gam1)
        class_rate = class_coding_rate(embeddings, labels, num_classes, self.eps)
        return EraseTerms(self.gam1 * class_rate - self.gam2 * rate, rate, class_rate)


def corrupt_labels(
    labels: ArrayLike, ratio: float, kind: Literal["asymm", "symm"] = "asymm", seed: int = 0
) -> NDArray[np.int64]:
    """Flip labels (m,) with the draws of the authors' script: to one random partner a class, or to any other class.

    A label is flipped with probability ``ratio``; classes are 0 to the largest label. Raises InputError for a ratio
    outside 0 to 1, another kind, or a single class.
    """
    given = check_labels(labels)
    num_classes = max(int(given.max()) + 1, 1)
    if kind not in ("asymm", "symm"):
        raise InputError(f"kind is {kind!r}: give 'asymm' or 'symm'.")
    rng = np.random.RandomState(seed)
    matrix = symmetric_matrix(num_classes, ratio, include_self=False)
    if kind == "asymm":
        matrix = (1.0 - ratio) * np.eye(num_classes)
        for true in range(num_classes):
            matrix[rng.choice(np.delete(np.arange(num_classes), true)), true] += ratio
    return apply_matrix(given, matrix, rng)


class Erase(GraphRecipe):
    """An encoder under the coding rate of pseudo-labels, and a logistic regression on its embeddings.

    The regression learns the pseudo-labels of the labelled nodes from unit embeddings, in every ``refit_every``-th
    epoch and the last. ``embedding_size`` over ``eps``, the squared precision, sets how far classes are driven apart
    (the authors: 512, and 0.01 to 0.4). ``alpha`` weighs a node's own label against its neighbours', ``beta`` the given
    labels against the prototypes; ``num_steps`` of 0 or ``alpha`` 1 switch the spreading off.
    """

    denoised: Tensor
    pseudo_labels: Tensor

    def __init__(
        self,
        build_network: BuildNetwork,
        *,
        embedding_size: int = 64,
        gam1: float = 1.0,
        gam2: float = 2.0,
        eps: float = 0.05,
        alpha: float = 0.6,
        beta: float = 0.6,
        num_steps: int = 5,
        refit_every: int = 10,
    ) -> None:
        super().__init__(build_network)
        _require("embedding_size", embedding_size, embedding_size >= 1, "a whole number of at least 1")
        _require("num_steps", num_steps, num_steps >= 0, "a whole number of at least 0")
        _require("refit_every", refit_every, refit_every >= 1, "a whole number of at least 1")
        for name, value in (("gam1", gam1), ("gam2", gam2), ("eps", eps)):
            _require(name, value, 0 < value < math.inf, "a number above 0")
        for name, value in (("alpha", alpha), ("beta", beta)):
            _require(name, value, 0 <= value <= 1, "a number from 0 to 1")
        self.alpha, self.beta, self.num_steps, self.refit_every = alpha, beta, num_steps, refit_every
        network = cast(GraphNetwork, self.network)
        self.num_classes = network.num_outputs
        network.to_encoder(embedding_size)
        self.criterion = MaximalCodingRateReduction(gam1, gam2, eps)
        self.classifier = nn.Linear(embedding_size, self.num_classes).requires_grad_(False)

    def begin(self, data: TrainingData, validation: TrainingData | None, epochs: int) -> None:
        """Spread the given labels over the edges between labelled nodes, once."""
        assert isinstance(data.inputs, Nodes)
        self.nodes, self.is_labelled, self.last_epoch = data.inputs, data.labels >= 0, epochs - 1
        denoised = structural_denoise(
            data.labels, self.is_labelled, self.nodes.adjacency, self.alpha, self.num_steps, self.num_classes
        )
        self.register_buffer("denoised", denoised)  # (n, classes)
        self.register_buffer("pseudo_labels", denoised.argmax(dim=1))  # (n,)

    def loss(self, batch: Batch) -> EraseTerms:
        """Return the terms of the coding rates under fresh pseudo-labels."""
        nodes, index = cast(Nodes, batch["inputs"]), batch["index"]
        embeddings = self.network(nodes)  # (n, p)
        found = find_pseudo_labels(
            embeddings,
            self.denoised[index],
            batch["labels"] >= 0,
            nodes.adjacency,
            alpha=self.alpha,
            beta=self.beta,
            num_steps=self.num_steps,
        )
        self.pseudo_labels[index] = found.hard
        return self.criterion(embeddings, found.hard, self.num_classes)

    @torch.no_grad()
    def end_epoch(self, epoch: int) -> None:
        """Fit the classifier anew, where it is its turn."""
        if epoch % self.refit_every and epoch != self.last_epoch:
            return
        self.network.eval()
        embeddings = functional.normalize(self.network(self.nodes.to(self.denoised.device)), dim=1).float().cpu()
        self.network.train()
        rows = self.is_labelled
        # What is not finite is refused by the loop, in better words.
        if torch.isfinite(embeddings).all():
            weight, bias = fit_classifier(embeddings[rows], self.pseudo_labels.cpu()[rows], self.num_classes)
            self.classifier.weight.copy_(weight)
            self.classifier.bias.copy_(bias)

    def predict(self, inputs: Tensor) -> Tensor:
        """Return the classifier's logits (n, classes) of all nodes."""
        return self.classifier(functional.normalize(self.network(inputs), dim=1))

    def corrections(self) -> Corrections:
        """Return the pseudo-labels of all nodes, labelled or not; each counts fully."""
        ones = torch.ones(len(self.pseudo_labels))
        return Corrections(functional.one_hot(self.pseudo_labels, self.num_classes).float(), ones, ones.bool())


def fit_classifier(embeddings: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Weight (classes, p) and bias (classes,) of a logistic regression on embeddings (m, p) and labels (m,) int64.

    A class that no label names gets weight 0 and a bias so low that its probability is 0.
    """
    from sklearn.linear_model import LogisticRegression

    weight, bias = torch.zeros(num_classes, embeddings.shape[1]), torch.full((num_classes,), ABSENT)
    present = labels.unique()
    if len(present) == 1:
        bias[present] = 0.0
        return weight, bias
    model = LogisticRegression(max_iter=1000).fit(embeddings.numpy(), labels.numpy())
    slopes, intercepts = torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_)
    if len(present) == 2:  # scikit-learn gives the second class's odds alone
        slopes, intercepts = torch.cat([-slopes, slopes]) / 2, torch.cat([-intercepts, intercepts]) / 2
    weight[present], bias[present] = slopes.float(), intercepts.float()
    return weight, bias


def _logdet(rows: Tensor, scale: float) -> Tensor:
    """``logdet(I + scale rows^T rows)`` of rows (m, p), through the smaller of the two Gram matrices."""
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))  # there is no Cholesky factor in half precision
    gram = rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows
    identity = torch.eye(len(gram), dtype=rows.dtype, device=rows.device)
    factor, _ = torch.linalg.cholesky_ex(identity + scale * gram)
    return 2.0 * factor.diagonal().log().sum()


def _require(name: str, value: object, holds: bool, remedy: str) -> None:
    if not holds:
        raise InputError(f"{name} is {value!r}: give {remedy}.")


RECIPES = {"erase": Erase}

CARD = Card(
    number=8,
    slug="erase",
    title="ERASE: coding rates of labels that spread over a graph",
    task="nodes",
    fault="wrong labels of nodes",
    recipe=("erase",),
    idea="Spread labels over the edges and from class prototypes, and learn embeddings whose classes lie orthogonal.",
    paper="ERASE: Error-resilient representation learning on graphs for label noise tolerance, CIKM 2024",
    link="https://arxiv.org/abs/2312.08852",
    authors_code="eraseai/erase",
    licence="non-commercial scientific research only",
    defaults={"gam1": 1.0, "gam2": 2.0, "eps": 0.05, "alpha": 0.6, "beta": 0.6, "num_steps": 5, "embedding_size": 64},
    cost="a graph network's passes, and in each epoch a Cholesky factor of embedding_size^2 a class",
)

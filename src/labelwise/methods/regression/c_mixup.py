"""C-Mixup (Yao et al., NeurIPS 2022, https://arxiv.org/abs/2210.05775).

Few or shifted examples with numbers as labels. Mixing rows whose labels lie far apart makes labels that are wrong, so
each row is mixed with a partner drawn by a Gaussian kernel of the distance of their labels.

The bandwidth is in units of the labels that training sees; ``Regressor`` gives it standardised ones, so there it is
in deviations of the target. It needs choosing: by validation, among 0.1, 0.25, 0.5 and 1 deviations, say.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from labelwise.card import Card
from labelwise.errors import InputError
from labelwise.networks.hooks import changed_output, first_hidden_layer
from labelwise.numerics.mixup import draw_weight
from labelwise.numerics.partners import CMixupSampler, check_bandwidth, half_squares, label_rows
from labelwise.training.data import Batch, TrainingData
from labelwise.training.recipe import BuildNetwork, Recipe

PARTNERS = ("all", "batch")


def label_similarity_matrix(y: Tensor, bandwidth: float, kernel: str = "gaussian", metric: str = "euclidean") -> Tensor:
    """Partner probabilities (n, n) float64 whose rows sum to 1, of labels (n,) or (n, K) float: all pairs, for small n.

    ``P_ij = exp(-|y_i - y_j|^2 / (2 bandwidth^2)) / sum_k``, the row itself included. The bandwidth is used as given.
    Raises InputError. Cost: O(n^2 K) time and memory; ``CMixupSampler`` does without.
    """
    if (kernel, metric) != ("gaussian", "euclidean"):
        raise InputError(f"kernel {kernel!r} and metric {metric!r} are not there; choose 'gaussian' and 'euclidean'")
    labels = label_rows(y)
    gaps = labels.unsqueeze(1) - labels.unsqueeze(0)  # (n, n, K)
    return torch.softmax(-half_squares(gaps, check_bandwidth(bandwidth)), dim=1)


def inverse_cdf(p: Tensor, u: Tensor) -> Tensor:
    """How many partial sums of each row of ``p`` (B, n) lie at or below ``u`` (B,), at most n - 1: (B,) int64.

    With uniform ``u`` that is a draw from each row.
    """
    sums = p.double().cumsum(dim=1)
    return torch.searchsorted(sums, u.double().unsqueeze(1), right=True)[:, 0].clamp(max=p.shape[1] - 1)


def batch_partners(y1: Tensor, y2: Tensor, bandwidth: float, generator: torch.Generator) -> Tensor:
    """Draw a partner for each row of ``y1`` among the rows of [y1; y2], by their labels: (len(y1),) int64.

    ``y1`` and ``y2`` (n,) or (n, K) float may differ in length. For images, where other rows than those at hand are
    dear, and within a task (queries and supports) in meta-regression. Cost: O(n1 (n1 + n2) K).
    """
    anchors, labels = label_rows(y1), label_rows(torch.cat([y1, y2]))
    gaps = anchors.unsqueeze(1) - labels.unsqueeze(0)  # (n1, n1 + n2, K)
    p = torch.softmax(-half_squares(gaps, check_bandwidth(bandwidth)), dim=1)
    return inverse_cdf(p, torch.rand(len(p), dtype=torch.float64, generator=generator))


def mixup_pairs(x1: Tensor, x2: Tensor, y1: Tensor, y2: Tensor, lam: float | Tensor) -> tuple[Tensor, Tensor]:
    """``lam * first + (1 - lam) * second`` of inputs (B, ...) and labels (B, ...).

    ``lam`` is one number, or (B,) for one a row (as published for out-of-domain images).
    """
    return _mix(x1, x2, lam), _mix(y1, y2, lam)


def manifold_mixup(network: nn.Module, layer: nn.Module, x1: Tensor, x2: Tensor, lam: float | Tensor) -> Tensor:
    """Outputs (B, ...) of ``network`` where the outputs of its ``layer`` for x1 and x2 (B, ...) are mixed.

    One forward pass of 2B rows up to the layer, of B rows after it.
    """

    def mix_halves(hidden: Tensor) -> Tensor:
        first, second = hidden.chunk(2)
        return _mix(first, second, lam)

    with changed_output(layer, mix_halves):
        return network(torch.cat([x1, x2]))


def meta_regression_batch(
    support: tuple[Tensor, Tensor],
    query: tuple[Tensor, Tensor],
    alpha: float,
    bandwidth: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """The mixed query rows of one task, for the outer loss of meta-learning: inputs and labels as ``query`` has them.

    Adapt on the clean ``support`` (inputs, labels), then take the squared error on what this returns. Partners of the
    query rows are drawn among query and support rows of the task; one weight from Beta(alpha, alpha).
    """
    (x_support, y_support), (x_query, y_query) = support, query
    lam = draw_weight(alpha, generator)
    partner = batch_partners(y_query, y_support, bandwidth, generator)
    x, y = torch.cat([x_query, x_support]), torch.cat([y_query, y_support])
    return mixup_pairs(x_query, x[partner], y_query, y[partner], lam)


class CMixup(Recipe):
    """Squared error on mixed rows; one weight from Beta(alpha, alpha) a batch, no clean rows besides.

    ``partners``: ``all`` draws them among all training rows, ``batch`` among the batch and as many random rows.
    ``manifold`` mixes after the network's first activation instead of the inputs. An infinite bandwidth is mixup.
    """

    def __init__(
        self,
        build_network: BuildNetwork,
        *,
        bandwidth: float = 0.5,
        alpha: float = 2.0,
        partners: str = "all",
        manifold: bool = False,
    ) -> None:
        super().__init__(build_network)
        if partners not in PARTNERS:
            raise InputError(f"partners is {partners!r}; choose one of {', '.join(PARTNERS)}")
        if not 0 <= alpha < math.inf:
            raise InputError(f"alpha is {alpha}; give a number of 0 (no mixing) or more")
        if manifold:
            first_hidden_layer(self.network)
        self.bandwidth, self.alpha = check_bandwidth(bandwidth), alpha
        self.partners, self.manifold = partners, manifold

    def begin(self, data: TrainingData, validation: TrainingData | None, epochs: int) -> None:
        """Keep the rows to draw partners from, and part their labels into boxes."""
        # Partners are few a batch: processes that load them would cost more than they save.
        self.data = replace(data, workers=0)
        self.sampler = CMixupSampler(data.labels, self.bandwidth) if self.partners == "all" else None

    def loss(self, batch: Batch) -> Tensor:
        """Mean squared error of the mixed rows, over batch and outputs."""
        lam = draw_weight(self.alpha, self.generator)
        inputs = batch["inputs"] if self.manifold else batch["inputs"].float()
        rows = self.partner_rows(batch["index"].cpu())
        (partner,) = self.data.batches([rows])
        others = partner["inputs"].to(inputs)
        labels = _mix(batch["labels"], partner["labels"].to(batch["labels"]), lam)
        if self.manifold:
            outputs = manifold_mixup(self.network, first_hidden_layer(self.network), inputs, others, lam)
        else:
            outputs = self.network(_mix(inputs, others, lam))  # (B, outputs)
        return (outputs - labels.reshape(outputs.shape)).square().mean()

    def partner_rows(self, index: Tensor) -> Tensor:
        """Draw the row of a partner for each of ``index`` (B,) int64."""
        if self.sampler is not None:
            return self.sampler.sample_partners(index, self.generator)
        others = torch.randint(len(self.data), (len(index),), generator=self.generator)
        labels = self.data.labels
        chosen = batch_partners(labels[index], labels[others], self.bandwidth, self.generator)
        return torch.cat([index, others])[chosen]


def _mix(first: Tensor, second: Tensor, lam: float | Tensor) -> Tensor:
    if isinstance(lam, Tensor):
        lam = lam.reshape(-1, *[1] * (first.ndim - 1)).to(first)
    return lam * first + (1 - lam) * second


RECIPES = {"c-mixup": CMixup}

CARD = Card(
    number=25,
    slug="c-mixup",
    title="C-Mixup",
    task="regression",
    fault="few labels, or labels from other domains",
    recipe=("c-mixup",),
    idea="Mix each row with a partner whose label is near, in the inputs or in the first hidden layer.",
    paper="C-Mixup: Improving generalization in regression, NeurIPS 2022",
    link="https://arxiv.org/abs/2210.05775",
    authors_code="huaxiuyao/C-Mixup",
    licence="MIT",
    defaults={"bandwidth": 0.5, "alpha": 2.0, "partners": "all", "manifold": False},
    cost="as squared error, and about sqrt(n) kernel values a row to draw its partner",
)

"""Compressing features for learning with noisy labels (Chen et al., TNNLS 2022, https://arxiv.org/abs/2206.13140).

Squeeze the last features (dropout, or nested dropout, which keeps a random prefix of the channels) so that there is
no room to store wrong labels; then fine-tune two such networks by Co-teaching, where each passes the examples it
finds easy to the other. Answers wrong labels. The official classifier has no bias, so neither has the head here.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from labelwise.card import Card
from labelwise.errors import InputError
from labelwise.memory.gather import everywhere
from labelwise.training.data import Batch, TrainingData, in_order
from labelwise.training.recipe import BuildNetwork, Optimise, Recipe


def nested_prefix_distribution(num_features: int, std: float, mean: float = 0.0) -> Tensor:
    """Probability of keeping the first 1..D channels, ``exp(-((k - mean) / std)^2)`` scaled to sum 1; (D,) float64."""
    lengths = torch.arange(1, num_features + 1, dtype=torch.float64)
    return torch.softmax(-(((lengths - mean) / std) ** 2), dim=0)


class NestedDropout(nn.Module):
    """Keep a prefix of the feature channels: a random length for the whole batch in training, ``keep`` in evaluation.

    Nothing is rescaled. ``keep`` None keeps all channels. The length is drawn by ``draw`` or, without it, on each call.
    """

    distribution: Tensor

    def __init__(
        self, num_features: int, std: float, mean: float = 0.0, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        if std <= 0:
            raise InputError(f"std is {std}; give a number above 0")
        self.register_buffer("distribution", nested_prefix_distribution(num_features, std, mean), persistent=False)
        self.generator = generator
        self.keep: int | None = None
        self.drawn: int | None = None

    def draw(self, generator: torch.Generator | None = None) -> int:
        """Draw the prefix length (1..D) that training calls use until the next draw."""
        self.drawn = int(torch.multinomial(self.distribution.cpu(), 1, generator=generator or self.generator)) + 1
        return self.drawn

    def forward(self, features: Tensor) -> Tensor:
        """Return features (B, D) with the channels beyond the prefix set to 0."""
        if not self.training:
            return keep_prefix(features, self.keep)
        return keep_prefix(features, self.drawn or self.draw())


def keep_prefix(features: Tensor, length: int | None) -> Tensor:
    """Set channels beyond the first ``length`` to 0; ``features`` (B, D); None keeps all."""
    if length is None or length >= features.shape[1]:
        return features
    return functional.pad(features[:, :length], (0, features.shape[1] - length))


def prefix_logits(features: Tensor, weight: Tensor) -> Tensor:
    """Logits for every prefix length 1..D by a running sum over channels.

    ``features`` (B, D), ``weight`` (D, C); returns (D, B, C). Cost and memory: D x B x C.
    """
    return torch.cumsum(features.T.unsqueeze(2) * weight.unsqueeze(1), dim=0)  # (D, B, C)


def select_prefix(accuracy: Tensor, penalty: float = 1e-5) -> int:
    """Number of channels k (1..D) with the best ``accuracy[k - 1] - penalty (k - 1)``; the shortest of equal ones."""
    return int(penalised_accuracy(accuracy, penalty).argmax()) + 1


def penalised_accuracy(accuracy: Tensor, penalty: float = 1e-5) -> Tensor:
    """Accuracy of each prefix length (D,) less ``penalty`` for every channel after the first; (D,) float64."""
    return accuracy.double() - penalty * torch.arange(len(accuracy), dtype=torch.float64, device=accuracy.device)


def small_loss_selection(logits: Tensor, labels: Tensor, forget_rate: float) -> Tensor:
    """Indices of the ``floor((1 - forget_rate) n)`` examples of smallest cross-entropy, in order of increasing loss.

    ``logits`` (n, classes), ``labels`` (n,) int64; ties keep their order.
    """
    losses = functional.cross_entropy(logits, labels, reduction="none")  # (n,)
    return torch.argsort(losses, stable=True)[: num_kept(len(labels), forget_rate)]


def num_kept(count: int, forget_rate: float) -> int:
    """Return ``floor((1 - forget_rate) count)``."""
    return int((1.0 - forget_rate) * count)


def forget_rate_schedule(num_epochs: int, forget_rate: float, num_gradual: int) -> list[float]:
    """Forget rate of each epoch: rises evenly from 0 over ``num_gradual`` epochs, then constant; 0 epochs: constant."""
    rising = torch.linspace(0.0, forget_rate, num_gradual, dtype=torch.float64).tolist()
    return (rising + [forget_rate] * num_epochs)[:num_epochs]


def bias_variance(probs: Tensor, labels: Tensor) -> tuple[float, float]:
    """Squared bias and variance of predicted probabilities over repeated draws of label noise (section IV).

    ``probs`` (draws, n, classes), clean ``labels`` (n,) int64. Their sum is the mean squared distance to the one-hot
    label, exactly.
    """
    probs = probs.double()
    mean = probs.mean(dim=0)  # (n, classes)
    onehot = functional.one_hot(labels, probs.shape[2]).to(probs.dtype)
    bias = (mean - onehot).square().sum(dim=1).mean()
    variance = (probs - mean).square().sum(dim=2).mean()
    return float(bias), float(variance)


class CompressFeatures(Recipe):
    """Cross-entropy with compressed features (stage one of the paper).

    ``compression`` is ``nested`` (``std`` of the prefix distribution), ``dropout`` (``dropout`` probability) or
    ``none``. After each epoch of nested training, ``keep`` becomes the prefix that scores best on the validation
    examples' given labels; without a validation set all channels are kept.
    """

    keep: Tensor

    def __init__(
        self,
        build_network: BuildNetwork,
        *,
        compression: str = "nested",
        std: float = 10.0,
        dropout: float = 0.5,
        penalty: float = 1e-5,
    ) -> None:
        super().__init__(build_network)
        if compression not in ("nested", "dropout", "none"):
            raise InputError(f"compression is {compression!r}; choose 'nested', 'dropout' or 'none'")
        self.compression = compression
        self.std, self.dropout, self.penalty = std, dropout, penalty
        self.validation: TrainingData | None = None
        self.register_buffer("keep", torch.tensor(0))  # 0: all channels
        for name in self.networks():
            setattr(self, name, self._compress(self.network if name == "network" else build_network()))

    def _compress(self, network: Any) -> nn.Module:
        network.head = nn.Linear(network.num_features, network.num_classes, bias=False)
        if self.compression == "nested":
            network.compression = NestedDropout(network.num_features, self.std)
        elif self.compression == "dropout":
            network.compression = nn.Dropout(self.dropout)
        return network

    def begin(self, data: TrainingData, validation: TrainingData | None, epochs: int) -> None:
        """Remember the examples on which the prefix is chosen."""
        self.validation = validation

    def begin_epoch(self, epoch: int) -> None:
        """Use the prefix chosen last."""
        self.keep_channels(int(self.keep) or None)

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy of the given labels, one prefix for the batch."""
        self.draw_prefix()
        return functional.cross_entropy(self.network(batch["inputs"]), batch["labels"])

    def end_epoch(self, epoch: int) -> None:
        """Choose the prefix anew."""
        if self.compression != "nested" or self.validation is None or len(self.validation) == 0:
            return
        self.keep.fill_(select_prefix(self.prefix_accuracy(self.validation), self.penalty))

    @torch.no_grad()
    def prefix_accuracy(self, data: TrainingData, *, batch_size: int = 256) -> Tensor:
        """Accuracy of the averaged logits on the labelled examples of ``data`` for each prefix length, (D,) float64."""
        networks = [self.plain(name) for name in self.networks()]
        modes = [network.training for network in networks]
        num_features, num_classes = networks[0].num_features, networks[0].num_classes
        device = self.keep.device
        correct, total = torch.zeros(num_features, dtype=torch.float64, device=device), 0
        # The logits of all prefixes are held at once: at most 64 MB of them.
        batch_size = max(1, min(batch_size, 2**24 // (num_features * num_classes)))
        for network in networks:
            network.eval()
        for batch in data.batches(in_order(len(data), batch_size)):
            labels = batch["labels"].to(device)
            known = labels >= 0
            by_prefix = self.prefix_logits(batch["inputs"].to(device))  # (D, B, classes)
            correct += (by_prefix.argmax(dim=2) == labels)[:, known].sum(dim=1)
            total += int(known.sum())
        for network, mode in zip(networks, modes, strict=True):
            network.train(mode)
        return correct / max(total, 1)

    def prefix_logits(self, inputs: Tensor) -> Tensor:
        """Return logits averaged over the networks for every prefix length, (D, B, classes)."""
        networks = [self.plain(name) for name in self.networks()]
        by_network = [prefix_logits(network.features(inputs), network.head.weight.T) for network in networks]
        return torch.stack(by_network).mean(dim=0) if len(by_network) > 1 else by_network[0]

    def predict(self, inputs: Tensor) -> Tensor:
        """Return logits averaged over the networks, with the chosen prefix, (B, classes)."""
        self.keep_channels(int(self.keep) or None)
        return torch.stack([getattr(self, name)(inputs) for name in self.networks()]).mean(dim=0)

    def extra_manifest(self) -> dict[str, Any]:
        """Report how many channels are kept."""
        return {"channels_kept": int(self.keep) or self.plain("network").num_features}

    def draw_prefix(self, length: int | None = None) -> None:
        """Set the prefix length of the next training passes, the same for every network; drawn where not given."""
        if self.compression != "nested":
            return
        layers = [self.plain(name).compression for name in self.networks()]
        length = length or layers[0].draw(self.generator)
        for layer in layers:
            layer.drawn = length

    def keep_channels(self, length: int | None) -> None:
        """Set the prefix length that evaluation uses; None keeps all channels."""
        if self.compression == "nested":
            for name in self.networks():
                self.plain(name).compression.keep = length

    def plain(self, name: str) -> Any:
        """Return a network itself, also while a device wrapper stands in its place."""
        network = getattr(self, name)
        return getattr(network, "_original_module", network)


class CoTeaching(CompressFeatures):
    """Two compressed networks: at first each alone, then each on the examples that the other finds easy (stage two).

    The first ``alone`` share of the epochs trains both networks on everything. After it, each network ranks one half
    of a batch and the ``1 - forget_rate`` share of smallest loss goes to the other network; the rate rises from 0
    over ``num_gradual`` epochs. ``stage_two_rate`` scales the learning rate of that stage, and ``freeze_norm`` keeps
    BatchNorm's statistics in it, as the authors do when fine-tuning.
    """

    def __init__(
        self,
        build_network: BuildNetwork,
        *,
        compression: str = "none",
        std: float = 10.0,
        dropout: float = 0.5,
        penalty: float = 1e-5,
        forget_rate: float = 0.2,
        num_gradual: int = 5,
        alone: float = 0.0,
        stage_two_rate: float = 1.0,
        freeze_norm: bool = False,
    ) -> None:
        super().__init__(build_network, compression=compression, std=std, dropout=dropout, penalty=penalty)
        if not 0 <= forget_rate < 1:
            raise InputError(f"forget_rate is {forget_rate}; give a number from 0 to below 1")
        self.forget_rate, self.num_gradual = forget_rate, num_gradual
        self.alone, self.stage_two_rate, self.freeze_norm = alone, stage_two_rate, freeze_norm
        self.first_exchange = 0
        self.forget_rates: list[float] = []
        self.epoch = 0

    def networks(self) -> list[str]:
        """Both networks train."""
        return ["network", "peer"]

    def begin(self, data: TrainingData, validation: TrainingData | None, epochs: int) -> None:
        """Lay out the two stages."""
        super().begin(data, validation, epochs)
        self.first_exchange = round(self.alone * epochs)
        self.forget_rates = forget_rate_schedule(epochs - self.first_exchange, self.forget_rate, self.num_gradual)

    def begin_epoch(self, epoch: int) -> None:
        """Use the prefix chosen last."""
        super().begin_epoch(epoch)
        self.epoch = epoch

    def learning_rate_factor(self, epoch: int) -> float:
        """Slow down in the second stage."""
        return 1.0 if epoch < self.first_exchange else self.stage_two_rate

    def step(self, batch: Batch, optimise: Optimise) -> dict[str, Tensor]:
        """Train both networks alone, or let them exchange what they find easy."""
        self.draw_prefix()
        if self.epoch >= self.first_exchange:
            return self.exchange(batch, optimise, self.forget_rates[self.epoch - self.first_exchange])
        losses = {}
        for name in self.networks():
            loss = functional.cross_entropy(getattr(self, name)(batch["inputs"]), batch["labels"])
            optimise(loss, name)
            losses[f"loss_{name}"] = loss.detach()
        return losses

    def exchange(self, batch: Batch, optimise: Optimise, forget_rate: float) -> dict[str, Tensor]:
        """Let each network select from its own half of the batch, then train it on the other's selection.

        Both select before either steps. Halves are equal: the last example of an odd batch sits out, and of a half
        too small to keep an example (in any process) nobody learns.
        """
        half = len(batch["index"]) // 2
        own = {"network": slice(0, half), "peer": slice(half, 2 * half)}
        kept = {name: self._select(name, batch, rows, forget_rate) for name, rows in own.items()}
        losses = {}
        for name, other in (("network", "peer"), ("peer", "network")):
            inputs, labels = batch["inputs"].index_select(0, kept[other]), batch["labels"][kept[other]]
            some = everywhere(len(labels) > 0, labels.device)
            losses[f"loss_{name}"] = self._train_on(name, inputs, labels, optimise) if some else torch.zeros(())
        return losses

    @torch.no_grad()
    def _select(self, name: str, batch: Batch, rows: slice, forget_rate: float) -> Tensor:
        """Positions in the batch of those of ``rows`` that a network keeps."""
        # The network itself, not the device wrapper, which takes longer to switch than a small network to run.
        network = self.plain(name)
        mode = network.training
        network.eval()
        labels = batch["labels"][rows]
        kept = labels
        if len(labels):
            kept = small_loss_selection(getattr(self, name)(batch["inputs"][rows]), labels, forget_rate) + rows.start
        network.train(mode)
        return kept

    def _train_on(self, name: str, inputs: Tensor, labels: Tensor, optimise: Optimise) -> Tensor:
        network = getattr(self, name)
        # One example has no batch statistics, so BatchNorm falls back on its running ones.
        frozen = norm_layers(network) if self.freeze_norm or len(labels) == 1 else []
        for layer in frozen:
            layer.eval()
        loss = functional.cross_entropy(network(inputs), labels)
        optimise(loss, name)
        for layer in frozen:
            layer.train()
        return loss.detach()


def norm_layers(network: nn.Module) -> list[nn.Module]:
    """The BatchNorm layers of a network."""
    return [layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]


RECIPES = {"compress-features": CompressFeatures, "co-teaching": CoTeaching}

CARD = Card(
    number=3,
    slug="compress-features",
    title="Compressing features (dropout, nested dropout, Co-teaching)",
    task="classification",
    fault="wrong labels",
    recipe=("compress-features", "co-teaching"),
    idea="Leave the last features no room to store wrong labels; let two networks pick easy examples for each other.",
    paper="Compressing features for learning with noisy labels, IEEE TNNLS 2022",
    link="https://arxiv.org/abs/2206.13140",
    authors_code="yingyichen-cyy/Nested-Co-teaching",
    licence="MIT",
    defaults={"compression": "nested", "std": 10.0, "dropout": 0.5, "penalty": 1e-5, "forget_rate": 0.2},
    cost="compression is free; Co-teaching ranks a batch once and goes backward on the kept share only",
)

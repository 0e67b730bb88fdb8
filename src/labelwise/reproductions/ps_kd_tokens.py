"""PS-KD token by token: decimal numbers translated into Roman numerals, letter by letter, by a small recurrent network.

The sequences are `1984=MCMLXXXIV.`; every character of the numeral and the closing stop is a classification. A table of
predictions for each token of each sequence would be large, so the teacher is a snapshot of the last epoch's network,
which reads the true characters before each token (teacher forcing).
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from labelwise.certainty.calibration import expected_calibration_error, negative_log_likelihood
from labelwise.methods.classification.ps_kd import progressive_alpha, refine_targets
from labelwise.numerics.losses import soft_cross_entropy
from labelwise.training.data import epoch_batches
from labelwise.training.seeding import generator, seeded

ALPHABET = ".=0123456789CDILMVX"
STOP, EQUALS = ALPHABET.index("."), ALPHABET.index("=")
LARGEST = 1999
# The best of 0.005, 0.01 and 0.02 for cross-entropy, on draws that are not run here.
LEARNING_RATE = 1e-2

_VALUES = (1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1)
_LETTERS = ("M", "CM", "D", "CD", "C", "XC", "L", "XL", "X", "IX", "V", "IV", "I")


class Sequences(NamedTuple):
    """Characters read (n, T) int64, characters to say (n, T) int64, and whether each is part of the numeral (n, T)."""

    read: Tensor
    said: Tensor
    mask: Tensor


def in_roman(number: int) -> str:
    """Roman numeral of a positive number."""
    numeral = ""
    for value, letters in zip(_VALUES, _LETTERS, strict=True):
        numeral += letters * (number // value)
        number %= value
    return numeral


def encode(numbers: list[int]) -> Sequences:
    """The sequences of some numbers, padded with stops that the mask leaves out."""
    texts = [f"{number}={in_roman(number)}." for number in numbers]
    longest = max(map(len, texts))
    codes = torch.full((len(texts), longest), STOP)
    mask = torch.zeros(len(texts), longest, dtype=torch.bool)
    for row, text in enumerate(texts):
        codes[row, : len(text)] = torch.tensor([ALPHABET.index(letter) for letter in text])
        mask[row, text.index("=") + 1 : len(text)] = True
    return Sequences(codes[:, :-1], codes[:, 1:], mask[:, 1:])


class TokenNetwork(nn.Module):
    """Embedding, one GRU layer, a linear head over the alphabet."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(ALPHABET), 32)
        self.recurrent = nn.GRU(32, width, batch_first=True)
        self.head = nn.Linear(width, len(ALPHABET))

    def forward(self, read: Tensor) -> Tensor:
        """Return logits (B, T, alphabet) for the character after each one of ``read`` (B, T)."""
        return self.head(self.recurrent(self.embedding(read))[0])


@torch.no_grad()
def token_targets(said: Tensor, read: Tensor, snapshot: nn.Module | None, alpha: float) -> Tensor:
    """Targets (B, T, alphabet): the true characters ``said`` (B, T), refined by the snapshot's predictions if any."""
    onehot = functional.one_hot(said, len(ALPHABET)).float()  # (B, T, alphabet)
    return onehot if snapshot is None else refine_targets(onehot, snapshot(read).softmax(dim=-1), alpha)


def train_tokens(data: Sequences, *, alpha_T: float, epochs: int, seed: int) -> TokenNetwork:
    """Train a network from scratch; ``alpha_T`` 0 is cross-entropy. Weights and order depend on ``seed`` alone."""
    with seeded(seed):
        network = TokenNetwork()
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for epoch in range(epochs):
        snapshot = copy.deepcopy(network) if epoch > 0 and alpha_T > 0 else None
        alpha = progressive_alpha(epoch, epochs, alpha_T)
        for rows in epoch_batches(len(data.read), 32, generator(seed, "order", epoch)):
            read, said, mask = data.read[rows], data.said[rows], data.mask[rows]
            loss = soft_cross_entropy(network(read), token_targets(said, read, snapshot, alpha), mask)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return network


@torch.no_grad()
def measure_tokens(network: TokenNetwork, data: Sequences) -> dict[str, float]:
    """Accuracy, NLL (nats) and ECE (percent) of the tokens, and the share of numerals right from end to end."""
    probs = network(data.read).softmax(dim=-1)  # (n, T, alphabet)
    is_right = probs.argmax(dim=-1) == data.said  # (n, T)
    token_probs, tokens = probs[data.mask].double().numpy(), data.said[data.mask].numpy()
    return {
        "token_accuracy": float(is_right[data.mask].double().mean()),
        "token_nll": negative_log_likelihood(token_probs, tokens),
        "token_ece_percent": 100 * expected_calibration_error(token_probs, tokens),
        "numerals_right": float((is_right | ~data.mask).all(dim=1).double().mean()),
    }


def translate(seed: int, *, num_train: int, epochs: int, alpha_T: float = 0.8) -> dict[str, dict[str, float]]:
    """Cross-entropy and PS-KD from the same weights and order, scored on up to 600 numbers that neither has seen."""
    numbers = np.random.default_rng(seed).permutation(np.arange(1, LARGEST + 1)).tolist()
    train, test = encode(numbers[:num_train]), encode(numbers[num_train : num_train + 600])
    return {
        name: measure_tokens(train_tokens(train, alpha_T=alpha, epochs=epochs, seed=seed), test)
        for name, alpha in (("cross-entropy", 0.0), ("ps-kd", alpha_T))
    }

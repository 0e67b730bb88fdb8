"""One seed for a run, and a seed of its own for every part of it."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_seed(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed for a named part of a run; the same names give the same seed on every machine."""
    text = ":".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generators, which layers such as dropout draw from, and give them back as they were."""
    with torch.random.fork_rng(devices=list(range(torch.cuda.device_count()))):
        torch.manual_seed(seed)
        yield


def generator(seed: int, *names: str | int) -> torch.Generator:
    """Return a CPU generator for a named part of a run."""
    return torch.Generator().manual_seed(derive_seed(seed, *names))

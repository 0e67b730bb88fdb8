"""Rows from every process, so that a memory is the same on all of them."""

import torch
import torch.distributed as dist
from torch import Tensor


def gather_rows(index: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the indices (B,) and rows (B, ...) of all processes, in process order.

    Alone, or outside a process group, what comes in goes out. Processes may bring different numbers of rows.
    Cost: one exchange of the rows of a global batch.
    """
    if _alone():
        return index, rows
    world = dist.get_world_size()
    count = torch.tensor([len(index)], device=index.device)
    counts = [torch.zeros_like(count) for _ in range(world)]
    dist.all_gather(counts, count)
    longest = int(max(counts).item())

    def gather(values: Tensor) -> Tensor:
        padded = values.new_zeros((longest, *values.shape[1:]))
        padded[: len(values)] = values
        parts = [torch.empty_like(padded) for _ in range(world)]
        dist.all_gather(parts, padded)
        return torch.cat([part[: int(n)] for part, n in zip(parts, counts, strict=True)])

    return gather(index), gather(rows)


def sum_processes(values: Tensor) -> Tensor:
    """Return the sum of ``values`` (...) over all processes; what comes in where there is one."""
    if _alone():
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total


def everywhere(holds: bool, device: torch.device | str = "cpu") -> bool:
    """Return whether ``holds`` is true in every process: whoever takes a step must take it with all the others."""
    if _alone():
        return holds
    agreed = torch.tensor(int(holds), device=device)
    dist.all_reduce(agreed, op=dist.ReduceOp.MIN)
    return bool(agreed)


def part() -> None:
    """Leave the group of processes once all have come here: one that ends within it may abort, its threads running."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def _alone() -> bool:
    return not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1

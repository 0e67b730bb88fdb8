"""Look at, or change, what passes through one layer of a network during a forward pass."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from labelwise.errors import InputError

ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.ELU, nn.Tanh, nn.Hardswish)


@contextmanager
def changed_output(layer: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within the block, what ``layer`` gives is replaced by ``change`` of it."""
    handle = layer.register_forward_hook(lambda _layer, _inputs, output: change(output))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def recorded_input(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Within the block, the list that it is given collects the inputs of ``layer``, one a forward pass."""
    found: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _layer, inputs: found.append(inputs[0]))
    try:
        yield found
    finally:
        handle.remove()


def first_hidden_layer(network: nn.Module) -> nn.Module:
    """The first activation of a network; raises InputError where it has none."""
    for layer in network.modules():
        if isinstance(layer, ACTIVATIONS):
            return layer
    raise InputError("the network has no hidden layer to mix in; choose a network such as 'mlp', or mix the inputs")

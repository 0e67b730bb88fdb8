"""Rows of a table as tokens, and the transformer over them."""

import math

import pytest
import torch
from torch import Tensor

from labelwise.errors import InputError
from labelwise.networks.tabular import (
    TabularEncoder,
    TabularTokenizer,
    TokenTransformer,
    concatenated_positions,
    gather_tokens,
    interleaved_positions,
)

NAN = float("nan")


def filled(module: torch.nn.Module, seed: int = 0) -> None:
    """Other parameters than the initial ones, of which some are zero."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)


def tokens_by_loop(tokenizer: TabularTokenizer, row: list[float], cardinalities: list[int]) -> Tensor:
    n_reg, n_numeric = tokenizer.n_reg_tokens, tokenizer.n_numeric
    found = [tokenizer.weight[r] for r in range(n_reg)]
    first = 0
    for column, value in enumerate(row):
        token = tokenizer.bias[column].clone()
        if column < n_numeric:
            token += (tokenizer.fill[column] if math.isnan(value) else value) * tokenizer.weight[n_reg + column]
            is_missing = math.isnan(value)
        else:
            size = cardinalities[column - n_numeric]
            is_missing = math.isnan(value) or not 0 <= value < size
            if not is_missing:
                token += tokenizer.embedding[first + int(value)]
            first += size
        found.append(token + tokenizer.missing[column] if is_missing else token)
    return torch.stack(found) + tokenizer.positions


@pytest.mark.parametrize(
    ("n_numeric", "cardinalities", "n_reg"), [(2, [3, 1], 1), (0, [2, 2], 0), (3, [], 2), (1, [4], 1)]
)
def test_tokens_against_a_loop(n_numeric: int, cardinalities: list[int], n_reg: int) -> None:
    fill = [0.1 * (column + 1) for column in range(n_numeric)]
    tokenizer = TabularTokenizer(n_numeric, cardinalities, 4, n_reg, fill)
    filled(tokenizer)
    numbers = [[0.0, 1.0, NAN], [0.3, NAN, 2.0], [NAN, -1.0, 0.5]]
    codes = [[0.0, 0.0], [NAN, -1.0], [1.0, 7.0]]
    rows = [a[:n_numeric] + b[: len(cardinalities)] for a, b in zip(numbers, codes, strict=True)]
    expected = torch.stack([tokens_by_loop(tokenizer, row, cardinalities) for row in rows])
    torch.testing.assert_close(tokenizer(torch.tensor(rows)), expected)


def test_learned_tokens_do_not_depend_on_the_row_and_zero_is_the_bias() -> None:
    tokenizer = TabularTokenizer(2, [2], 6)
    first, second = tokenizer(torch.tensor([[0.0, 0.0, 1.0], [3.0, NAN, 0.0]]))
    assert torch.equal(first[0], second[0])
    torch.testing.assert_close(first[1:3], tokenizer.bias[:2] + tokenizer.positions[1:3])
    torch.testing.assert_close(tokenizer(torch.zeros(1, 3))[0, 0], tokenizer.weight[0] + tokenizer.positions[0])


def test_a_column_never_missing_in_training_falls_back_to_its_median() -> None:
    tokenizer = TabularTokenizer(1, [2], 4, fill=[0.25])
    assert torch.equal(tokenizer(torch.tensor([[NAN, 1.0]])), tokenizer(torch.tensor([[0.25, 1.0]])))


def test_no_rows_give_no_tokens() -> None:
    assert TabularEncoder(1, [2], dim=4, heads=1)(torch.zeros(0, 2)).shape == (0, 3, 4)


def test_columns_outside_the_context_have_no_say() -> None:
    encoder = TabularEncoder(3, [2], dim=8, heads=2, layers=2, feedforward=8).eval()
    x = torch.rand(2, 4)
    changed = x.clone()
    changed[:, [1, 3]] = torch.tensor([5.0, 1.0])
    index = torch.tensor([[0, 1, 3], [3, 0, 1]])
    assert torch.equal(encoder(x, index), encoder(changed, index))
    assert not torch.allclose(encoder(x), encoder(changed))


def test_the_order_of_chosen_tokens_is_the_order_of_what_comes_out() -> None:
    encoder = TabularEncoder(4, dim=8, heads=2, layers=2, feedforward=8).eval()
    x = torch.rand(1, 4)
    straight, turned = encoder(x, torch.tensor([[1, 2, 4]])), encoder(x, torch.tensor([[4, 1, 2]]))
    torch.testing.assert_close(straight[:, [2, 0, 1]], turned)
    torch.testing.assert_close(encoder(x), encoder(x, torch.arange(5)[None]))


def test_what_comes_out_is_normalised() -> None:
    out = TokenTransformer(16, 4, 2, 8).eval()(
        5 + 3 * torch.randn(3, 6, 16, generator=torch.Generator().manual_seed(0))
    )
    torch.testing.assert_close(out.mean(dim=2), torch.zeros(3, 6), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(dim=2, correction=0), torch.ones(3, 6), atol=1e-3, rtol=0)


def test_layers_start_apart() -> None:
    transformer = TokenTransformer(8, 2, 2, 8)
    first, second = transformer.layers
    assert not torch.equal(first.linear1.weight, second.linear1.weight)


def test_gather_tokens_against_a_loop() -> None:
    tokens, index = torch.randn(2, 5, 3), torch.tensor([[[0, 4], [2, 2]], [[1, 0], [3, 4]], [[4, 4], [0, 1]]])
    found = gather_tokens(tokens, index)
    assert found.shape == (3, 2, 2, 3)
    for mask in range(3):
        for row in range(2):
            assert torch.equal(found[mask, row], tokens[row, index[mask, row]])
    assert torch.equal(gather_tokens(tokens, index[0]), found[0])


@pytest.mark.parametrize("positions", [interleaved_positions, concatenated_positions])
def test_positions_are_apart_and_of_one_length(positions) -> None:
    table = positions(50, 16)
    assert table.dtype == torch.float32
    torch.testing.assert_close(table.square().sum(dim=1), torch.full((50,), 8.0))
    assert torch.cdist(table, table).add(torch.eye(50) * 9).min() > 0.3
    assert positions(0, 4).shape == (0, 4)
    for odd in (0, 3):
        with pytest.raises(InputError, match="even number"):
            positions(2, odd)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(InputError, match="3 heads cannot share a width of 8"):
        TokenTransformer(8, 3, 1, 8)

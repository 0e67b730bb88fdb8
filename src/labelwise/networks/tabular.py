"""A transformer for tables: every column of a row becomes a token."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from labelwise.errors import InputError


def interleaved_positions(count: int, dim: int, base: float = 100.0) -> Tensor:
    """Sine positions (count, dim) float32: ``[p, 2i] = sin(p base^(-2i/dim))`` and ``[p, 2i + 1]`` its cosine."""
    angles = _angles(count, dim, base)  # (count, dim / 2)
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1).float()


def concatenated_positions(count: int, dim: int, base: float = 10_000.0) -> Tensor:
    """The positions of ``interleaved_positions``, all sines first, then all cosines."""
    angles = _angles(count, dim, base)  # (count, dim / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


def _angles(count: int, dim: int, base: float) -> Tensor:
    if dim % 2 or dim < 2:
        raise InputError(f"tokens have a width of {dim}: give an even number, half for sines and half for cosines")
    rates = base ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)  # (dim / 2,)
    return torch.arange(count, dtype=torch.float64)[:, None] * rates


def gather_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    """Tokens (B, T, H) at positions ``index`` (..., B, k) int64, as (..., B, k, H); leading axes share the tokens."""
    return torch.take_along_dim(tokens.expand(*index.shape[:-2], *tokens.shape), index[..., None], dim=-2)


class TokenTransformer(nn.Module):
    """Transformer layers that normalise after each part, then a linear map between two normalisations.

    Tokens (B, T, dim) to the same shape. Cost: ``layers`` times T^2 dim for attention and T dim (dim + feedforward)
    for the rest, a row. Raises InputError where ``heads`` does not divide ``dim``.
    """

    def __init__(
        self, dim: int, heads: int, layers: int, feedforward: int, dropout: float = 0.0, activation: str = "relu"
    ) -> None:
        super().__init__()
        if dim % heads:
            raise InputError(f"{heads} heads cannot share a width of {dim}: give a width that they divide")
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, heads, feedforward, dropout, activation, batch_first=True)
            for _ in range(layers)
        )
        self.norm1 = nn.LayerNorm(dim)
        self.fc = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens that know of each other, (B, T, dim)."""
        for layer in self.layers:
            tokens = layer(tokens)
        return self.norm2(self.dropout(self.fc(self.norm1(self.dropout(tokens)))))


class TabularTokenizer(nn.Module):
    """Rows of a table to tokens: ``n_reg_tokens`` learned ones, then a token for each column.

    A row x (D,) float holds the ``n_numeric`` numbers first, about 0 to 1, then a code 0 to C - 1 for each entry C of
    ``cardinalities``. The token of a number is ``x w + b``, of a category ``E[x] + b``. A number that is NaN, or a code
    that is none of these, is missing: its token is that of ``fill`` (n_numeric,), by default 0.5, or for a category
    ``b``, plus a learned vector that starts at zero. Positions of sines are added to all tokens.
    """

    offsets: Tensor
    fill: Tensor
    positions: Tensor

    def __init__(
        self,
        n_numeric: int,
        cardinalities: Sequence[int],
        dim: int,
        n_reg_tokens: int = 1,
        fill: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.n_numeric = n_numeric
        self.n_columns = n_numeric + len(cardinalities)
        self.n_reg_tokens = n_reg_tokens
        sizes = torch.tensor([0, *cardinalities], dtype=torch.int64)
        self.weight = nn.Parameter(torch.empty(n_reg_tokens + n_numeric, dim))
        self.bias = nn.Parameter(torch.empty(self.n_columns, dim))
        # One table for all categorical columns, so that one lookup serves them.
        self.embedding = nn.Parameter(torch.empty(int(sizes.sum()), dim))
        self.missing = nn.Parameter(torch.zeros(self.n_columns, dim))
        # What columns hold must not drown in the positions, and numbers in [0, 1] lie within some 0.3 of their mean.
        nn.init.normal_(self.weight, std=3.0)
        nn.init.normal_(self.embedding)
        nn.init.uniform_(self.bias, -(dim**-0.5), dim**-0.5)
        self.register_buffer("fill", torch.tensor([0.5] * n_numeric if fill is None else fill))
        self.register_buffer("offsets", sizes.cumsum(0), persistent=False)  # (categorical columns + 1,)
        positions = interleaved_positions(n_reg_tokens + self.n_columns, dim)
        self.register_buffer("positions", positions, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens (B, n_reg_tokens + D, dim) of rows ``x`` (B, D) float."""
        x = x.to(self.weight.dtype)
        reg, weight = self.weight.split([self.n_reg_tokens, self.n_numeric])
        numbers, codes = x.split([self.n_numeric, self.n_columns - self.n_numeric], dim=1)
        known = torch.cat([~numbers.isnan(), (codes >= 0) & (codes < self.offsets.diff())], dim=1)  # (B, D)
        filled = torch.where(known[:, : self.n_numeric], numbers, self.fill)
        rows = torch.where(known[:, self.n_numeric :], codes, 0).long() + self.offsets[:-1]  # (B, categorical)
        embedded = self.embedding[rows] * known[:, self.n_numeric :, None]
        columns = torch.cat([filled[:, :, None] * weight, embedded], dim=1)  # (B, D, dim)
        columns = columns + self.bias + ~known[:, :, None] * self.missing
        return torch.cat([reg.expand(len(x), -1, -1), columns], dim=1) + self.positions


class TabularEncoder(nn.Module):
    """Tokens of some columns of a row, or of all, through a transformer.

    ``n_numeric``, ``cardinalities``, ``n_reg_tokens`` and ``fill`` as for ``TabularTokenizer``; ``dim``, ``heads``,
    ``layers``, ``feedforward``, ``dropout`` and ``activation`` as for ``TokenTransformer``.
    """

    def __init__(
        self,
        n_numeric: int,
        cardinalities: Sequence[int] = (),
        *,
        dim: int = 32,
        heads: int = 2,
        layers: int = 2,
        feedforward: int = 64,
        dropout: float = 0.0,
        activation: str = "relu",
        n_reg_tokens: int = 1,
        fill: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.n_columns = n_numeric + len(cardinalities)
        self.n_reg_tokens = n_reg_tokens
        self.tokenizer = TabularTokenizer(n_numeric, cardinalities, dim, n_reg_tokens, fill)
        self.transformer = TokenTransformer(dim, heads, layers, feedforward, dropout, activation)

    def forward(self, x: Tensor, token_index: Tensor | None = None) -> Tensor:
        """Return tokens (B, T, dim) of rows ``x`` (B, D): all, or those at ``token_index`` (B, T) int64.

        Position 0 is the first learned token, position ``n_reg_tokens`` the first column. Tokens that are not chosen
        have no say in the others.
        """
        tokens = self.tokenizer(x)
        return self.transformer(tokens if token_index is None else gather_tokens(tokens, token_index))

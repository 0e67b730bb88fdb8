"""The estimator for tables without labels: it turns rows into representations that a model with few labels can use."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from labelwise.data.columns import ColumnEncoder
from labelwise.errors import InputError
from labelwise.estimators.base import NetworkEstimator
from labelwise.estimators.inputs import sklearn_errors
from labelwise.networks.network import Standardize
from labelwise.networks.tabular import TabularEncoder
from labelwise.numerics.collapse import CollapseMetrics, collapse_metrics
from labelwise.training.data import TrainingData
from labelwise.training.loop import Watch
from labelwise.training.predict import predict_outputs
from labelwise.training.resume import Row
from labelwise.training.task import PRETRAINING

# So many rows, evenly spaced, are measured for signs of collapse.
ROWS_TO_MEASURE = 1000


class TJEPA(ClassNamePrefixFeaturesOutMixin, TransformerMixin, NetworkEstimator):
    """Learn representations of the rows of a table without labels (T-JEPA), by predicting columns from columns.

    X is a pandas frame or an array (n, columns) of numbers and categories, with at least two columns. Columns of words
    are categories, and so are those named in ``categorical`` (names, or positions). Missing cells (NaN, None) are
    allowed. Numbers are brought to [0, 1] by their range, of categories the 50 most frequent are told apart.

    A row becomes ``reg_tokens`` learned tokens and one token a column, each ``dim`` wide, in a transformer of
    ``layers`` layers with ``heads`` heads and an inner width of ``feedforward``. ``recipe_options`` go to the recipe,
    ``labelwise.methods.pretraining.t_jepa.TJEPARecipe``. The other parameters are those of
    ``labelwise.estimators.base.NetworkEstimator``; rows held out by ``validation_fraction`` do not train, and the
    spread of their representations, ``validation_score`` in ``history_``, falls to 0 where training collapses.

    Attributes: ``history_`` (one dict an epoch), ``collapse_`` (``CollapseMetrics`` of up to 1000 training rows),
    ``recipe_``, ``columns_`` (how columns are encoded), ``train_rows_``, ``n_features_in_``, ``feature_names_in_``
    (of a frame). Fitting costs ``epochs`` passes over the rows, times the card's ``cost``.
    """

    task = PRETRAINING
    default_recipe = "t-jepa"

    def __init__(
        self,
        recipe: str = "auto",
        *,
        categorical: Sequence[str | int] = (),
        dim: int = 32,
        heads: int = 2,
        layers: int = 2,
        feedforward: int = 64,
        dropout: float = 0.0,
        reg_tokens: int = 1,
        recipe_options: dict[str, Any] | None = None,
        epochs: int = 60,
        batch_size: int = 256,
        optimizer: str = "adamw",
        learning_rate: float = 3e-4,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        schedule: str = "cosine",
        warmup_epochs: int = 5,
        gradient_clip: float | None = None,
        validation_fraction: float = 0.0,
        accelerator: str = "auto",
        devices: int = 1,
        precision: str = "32-true",
        checkpoint_folder: str | Path | None = None,
        checkpoint_seconds: float = 10.0,
        resume: bool = False,
        random_state: int | None = 0,
    ) -> None:
        super().__init__(
            recipe,
            recipe_options=recipe_options,
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            learning_rate=learning_rate,
            momentum=momentum,
            nesterov=nesterov,
            weight_decay=weight_decay,
            schedule=schedule,
            warmup_epochs=warmup_epochs,
            gradient_clip=gradient_clip,
            validation_fraction=validation_fraction,
            standardize=False,
            accelerator=accelerator,
            devices=devices,
            precision=precision,
            checkpoint_folder=checkpoint_folder,
            checkpoint_seconds=checkpoint_seconds,
            resume=resume,
            random_state=random_state,
        )
        self.categorical = categorical
        self.dim = dim
        self.heads = heads
        self.layers = layers
        self.feedforward = feedforward
        self.dropout = dropout
        self.reg_tokens = reg_tokens

    def fit(
        self, X: Any, y: Any = None, *, watch: Watch | None = None, on_epoch: Callable[[Row], None] | None = None
    ) -> Self:
        """Train on rows ``X``; ``y`` is ignored, ``watch(recipe, epoch)`` adds numbers to each epoch's history row.

        Raises InputError for tables of one column, infinite numbers, and options that do not fit.
        """
        settings = self._settings()
        self._check_sizes()
        self._check_validation(None)
        frame = self._read_frame(X, reset=True)
        self.columns_ = ColumnEncoder().fit(frame, self.categorical)
        inputs = torch.from_numpy(self.columns_.transform(frame))  # (n, D)
        self._set_shape(tuple(inputs.shape[1:]))
        self.network_, self.backbone_name_, self.backbone_ = "tabular-transformer", None, None
        rows, validation = np.arange(len(inputs)), None
        if self.validation_fraction > 0:
            rows, held = self._hold_out(rows, settings.seed)
            validation = self._unlabelled(inputs[torch.from_numpy(held)])
        data = self._unlabelled(inputs[torch.from_numpy(rows)])
        self._train(data, settings, validation=validation, pretrained=None, watch=watch, on_epoch=on_epoch)
        self.train_rows_ = rows
        self.corrections_ = None
        sample = inputs[torch.from_numpy(rows)][:: max(1, -(-len(rows) // ROWS_TO_MEASURE))]
        representations = predict_outputs(self.recipe_, self._unlabelled(sample)).numpy()
        self.collapse_ = collapse_metrics(representations, np.random.default_rng(settings.seed))
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the representation of each row, its tokens end to end: (n, (reg_tokens + columns) * dim) float32."""
        check_is_fitted(self, "recipe_")
        inputs = torch.from_numpy(self.columns_.transform(self._read_frame(X, reset=False)))
        return predict_outputs(self.recipe_, self._unlabelled(inputs)).numpy()

    def transform_tokens(self, X: Any) -> np.ndarray:
        """Return the tokens of each row, (n, reg_tokens + columns, dim) float32: learned ones, numbers, categories."""
        flat = np.asarray(self.transform(X))
        return flat.reshape(len(flat), -1, self.dim)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    @property
    def _n_features_out(self) -> int:
        return self._num_outputs()

    def _read_frame(self, X: Any, *, reset: bool) -> Any:
        """X as a frame, held against the columns of training unless ``reset``."""
        import pandas as pd

        is_frame = isinstance(X, pd.DataFrame)
        least = 2 if reset else 1
        with sklearn_errors():
            checked = validate_data(
                self,
                X,
                reset=reset,
                dtype=None,
                ensure_all_finite=False,
                ensure_min_features=least,
                skip_check_array=is_frame,
            )
        if not is_frame:
            return pd.DataFrame(checked)
        if len(X) == 0:
            raise InputError("X has no rows: give at least one")
        if X.shape[1] < least:
            raise InputError(f"X has {X.shape[1]} column, but columns are predicted from others: give at least 2")
        return X

    def _check_sizes(self) -> None:
        for name, least in (("dim", 2), ("heads", 1), ("layers", 1), ("feedforward", 1), ("reg_tokens", 0)):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or value < least:
                raise InputError(f"{name} is {value!r}; give a whole number of at least {least}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout is {self.dropout}; give a number from 0 to below 1")

    def _unlabelled(self, inputs: Tensor) -> TrainingData:
        return self._data(inputs, np.zeros((len(inputs), 0), dtype=np.float32))

    def _num_outputs(self) -> int:
        return (self.reg_tokens + self.input_shape_[0]) * self.dim

    def _build_network(
        self, shape: tuple[int, ...], standardize: Standardize | None, pretrained: nn.Module | None
    ) -> nn.Module:
        return TabularEncoder(
            len(self.columns_.numbers),
            self.columns_.cardinalities,
            dim=self.dim,
            heads=self.heads,
            layers=self.layers,
            feedforward=self.feedforward,
            dropout=self.dropout,
            n_reg_tokens=self.reg_tokens,
            fill=self.columns_.fill,
        )

    def _task_state(self) -> dict[str, Any]:
        names = getattr(self, "feature_names_in_", None)
        return {
            "columns": self.columns_.to_state()[0],
            "feature_names": None if names is None else names.tolist(),
            "collapse": list(self.collapse_),
        }

    def _set_task_state(self, state: Mapping[str, Any]) -> None:
        self.columns_ = ColumnEncoder.from_state(state["columns"], {})
        if state["feature_names"] is not None:
            self.feature_names_in_ = np.array(state["feature_names"], dtype=object)
        self.collapse_ = CollapseMetrics(*state["collapse"])

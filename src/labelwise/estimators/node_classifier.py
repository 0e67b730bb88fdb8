"""The estimator for labels of a graph's nodes: any recipe of its task, any network for graphs."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.utils.data import Dataset

from labelwise.errors import InputError
from labelwise.estimators.classifier import Classifier, find_classes
from labelwise.estimators.inputs import read_labels
from labelwise.estimators.node_inputs import read_nodes
from labelwise.networks.graph import DEFAULT_GRAPH_NETWORK, RowShares, build_graph_network
from labelwise.networks.network import Standardize
from labelwise.networks.nodes import Nodes
from labelwise.training.loop import Watch
from labelwise.training.predict import predict_outputs
from labelwise.training.resume import Row
from labelwise.training.task import NODES


class NodeClassifier(Classifier):
    """Train a graph network on nodes whose labels may be wrong, with any recipe of its task; default ``erase``.

    X holds the nodes' features, (n, features), as an array or SciPy sparse matrix; ``graph`` is their adjacency matrix
    (SciPy sparse, symmetric; a networkx graph will do) or edges (m, 2) of row numbers, each given once. y holds class
    labels of any kind, -1 where unknown: those nodes take part as neighbours. The whole graph is one batch, whatever
    ``batch_size`` says; memory grows with nodes and edges, never with their square.

    ``network`` is ``gat`` (what ``auto`` means), ``gcn``, ``mlp`` or one with widths, such as ``gat-8x32`` and
    ``gcn-64``. ``standardize`` shifts and scales the columns of an array; a sparse X, which mostly counts words, has
    each row divided by its sum instead. The other parameters are those of ``Classifier``. An epoch is one step, so
    many are needed; it costs a forward and a backward pass over the graph, times the card's ``cost``.

    Attributes: those of ``Classifier``; ``train_rows_`` are the labelled nodes trained on, ``corrections_`` speak of
    all n nodes, labelled or not.
    """

    task = NODES
    default_recipe = "erase"

    def __init__(
        self,
        recipe: str = "auto",
        *,
        network: str = "auto",
        recipe_options: dict[str, Any] | None = None,
        epochs: int = 200,
        batch_size: int = 128,
        optimizer: str = "adamw",
        learning_rate: float = 0.005,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 5e-4,
        schedule: str = "constant",
        warmup_epochs: int = 0,
        gradient_clip: float | None = None,
        early_stopping: int | None = None,
        validation_fraction: float = 0.0,
        standardize: bool = True,
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
            network=network,
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
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            standardize=standardize,
            accelerator=accelerator,
            devices=devices,
            precision=precision,
            checkpoint_folder=checkpoint_folder,
            checkpoint_seconds=checkpoint_seconds,
            resume=resume,
            random_state=random_state,
        )

    def fit(  # type: ignore[override]
        self,
        X: Any,
        y: Any,
        *,
        graph: Any = None,
        y_val: Any = None,
        classes: Any = None,
        watch: Watch | None = None,
        on_epoch: Callable[[Row], None] | None = None,
    ) -> Self:
        """Train on the nodes ``X`` of a ``graph`` and labels ``y`` (n,), -1 where unknown.

        ``y_val`` (n,) are labels to measure each epoch on, -1 elsewhere; nodes that have one do not train with theirs.
        ``classes`` are all that there may be, where ``y`` may lack some. Raises InputError where nodes, graph and
        labels do not match, where there are fewer than two classes, or where the options do not fit the recipe.
        """
        settings = self._settings()
        self._check_validation(y_val)
        nodes = read_nodes(self, X, graph, reset=True)
        given = read_labels(nodes, y)
        self.classes_ = find_classes(given, classes)
        labels = self._positions(given, "y")
        self._choose_graph_network(nodes)
        rows, held = np.flatnonzero(labels >= 0), np.full(len(labels), -1)
        if y_val is not None:
            held = self._positions(read_labels(nodes, y_val, suffix="_val"), "y_val")
        elif self.validation_fraction > 0:
            _, chosen = self._hold_out(rows, settings.seed, labels[rows])
            held[chosen] = labels[chosen]
        has_validation = y_val is not None or self.validation_fraction > 0
        trained = np.where(held < 0, labels, -1)
        self._train(
            self._data(nodes, trained),
            settings,
            validation=self._data(nodes, held) if has_validation else None,
            pretrained=None,
            watch=watch,
            on_epoch=on_epoch,
        )
        self.train_rows_ = np.flatnonzero(trained >= 0)
        found = self.recipe_.corrections()
        self.corrections_ = None if found is None else found.spread(np.arange(len(nodes)), len(nodes))
        self.nodes_ = nodes
        return self

    def predict_logits(self, X: Any = None, graph: Any = None) -> np.ndarray:
        """Return logits (n, classes) float32 of the nodes of fit, or of other nodes ``X`` in their ``graph``."""
        check_is_fitted(self, "recipe_")
        nodes = self._nodes(X, graph)
        return predict_outputs(self.recipe_, self._data(nodes, np.full(len(nodes), -1))).numpy()

    def predict_proba(self, X: Any = None, graph: Any = None) -> np.ndarray:
        """Return class probabilities (n, classes) float64 whose rows sum to 1; nodes as for ``predict_logits``."""
        nodes: Any = self._nodes(X, graph)
        return super().predict_proba(nodes)

    def predict(self, X: Any = None, graph: Any = None) -> np.ndarray:
        """Return the most probable class of each node, (n,); nodes as for ``predict_logits``."""
        nodes: Any = self._nodes(X, graph)
        return super().predict(nodes)

    def score(self, X: Any, y: Any, graph: Any = None) -> float:  # type: ignore[override]
        """Return the accuracy on the nodes of ``X`` whose label in ``y`` is known; 0 where none is."""
        nodes = self._nodes(X, graph)
        truth = self._positions(read_labels(nodes, y), "y")
        is_right = self.predict_logits(nodes).argmax(axis=1) == truth
        return float(is_right[truth >= 0].mean()) if (truth >= 0).any() else 0.0

    def _nodes(self, X: Any, graph: Any) -> Nodes:
        check_is_fitted(self, "recipe_")
        if X is None:
            if not hasattr(self, "nodes_"):
                raise InputError("a model read from a file holds no nodes: give X and graph")
            return self.nodes_
        nodes = read_nodes(self, X, graph, reset=False)
        if nodes.features.shape[1:] != self.input_shape_ or nodes.features.is_sparse != self.is_sparse_:
            kind = "sparse" if self.is_sparse_ else "not sparse"
            raise InputError(
                f"X has {nodes.features.shape[1]} features and is {'' if nodes.features.is_sparse else 'not '}sparse, "
                f"but the model was trained on {self.input_shape_[0]} and {kind}: give X as it was in training"
            )
        return nodes

    def _task_state(self) -> dict[str, Any]:
        return super()._task_state() | {"is_sparse": self.is_sparse_}

    def _set_task_state(self, state: Mapping[str, Any]) -> None:
        super()._set_task_state(state)
        self.is_sparse_ = bool(state["is_sparse"])

    def _choose_graph_network(self, nodes: Nodes) -> None:
        self._set_shape(tuple(nodes.features.shape[1:]))
        self.is_sparse_ = nodes.features.is_sparse
        self.network_ = DEFAULT_GRAPH_NETWORK if self.network == "auto" else self.network
        self.backbone_name_, self.backbone_ = None, None

    def _standardize(self, inputs: Tensor | Dataset | Nodes | None, shape: tuple[int, ...]) -> Standardize | None:
        return None if self.is_sparse_ else super()._standardize(inputs, shape)

    def _build_network(
        self, shape: tuple[int, ...], standardize: Standardize | None, pretrained: nn.Module | None
    ) -> nn.Module:
        scale = RowShares() if self.is_sparse_ and self.standardize else standardize
        return build_graph_network(self.network_, shape[0], self._num_outputs(), standardize=scale)

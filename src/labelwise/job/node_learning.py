"""Trainings on the nodes of a graph: the whole graph takes part in each, labels of some nodes are hidden."""

from typing import Any

import numpy as np
from scipy import sparse

from labelwise.data.examples import Examples
from labelwise.data.links import adjacency
from labelwise.estimators.classifier import Classifier
from labelwise.estimators.node_classifier import NodeClassifier
from labelwise.job.learning import Task, Trainer
from labelwise.job.options import Options
from labelwise.job.progress import Progress
from labelwise.job.workspace import Workspace
from labelwise.training.loop import Watch

EPOCHS = 200  # an epoch is one step
# With fewer zeros a dense array is smaller.
SPARSE_SHARE = 0.7
HOPS = 2


class NodeTrainer(Trainer):
    """Trains on nodes of one graph with the settings of one run."""

    estimator_class: type[Classifier] = NodeClassifier
    baseline_recipe = "node-cross-entropy"

    def __init__(
        self, task: Task, examples: Examples, options: Options, workspace: Workspace, progress: Progress
    ) -> None:
        super().__init__(task, options, options.network, workspace, progress)
        self.epochs = options.epochs or EPOCHS
        self.graph = adjacency(examples.edges, len(task.labels)) if examples.edges is not None else None
        raw = examples.inputs if examples.kind == "arrays" else task.inputs
        mostly_zero = (raw == 0).mean() > SPARSE_SHARE and raw.min() >= 0
        self.nodes = sparse.csr_array(raw) if mostly_zero else raw

    def classic_inputs(self, rows: np.ndarray) -> np.ndarray:
        """Features averaged over neighbours twice, as in simplified graph convolution."""
        links = self.graph + sparse.eye_array(len(self.task.labels), format="csr")
        degrees = np.asarray(links.sum(axis=1)).ravel()
        smoothed: Any = self.nodes
        for _ in range(HOPS):
            smoothed = sparse.diags_array(1 / degrees) @ (links @ smoothed)
        dense = smoothed.toarray() if sparse.issparse(smoothed) else np.asarray(smoothed)
        return dense[rows].astype(np.float32)

    def _steps(self) -> dict[str, Any]:
        """Those of the estimator: a step is an epoch."""
        return {}

    def _fit(self, model: Any, rows: np.ndarray, validation_rows: np.ndarray | None) -> None:
        held = {} if validation_rows is None else {"y_val": self._only(validation_rows)}
        alone = self.options.devices == 1
        model.fit(
            self.nodes,
            self._only(rows),
            graph=self.graph,
            classes=np.arange(self.task.num_classes),
            watch=self._watch(rows) if alone else None,
            on_epoch=self._advance if alone else None,
            **held,
        )

    def _logits(self, model: Any, rows: np.ndarray) -> np.ndarray:
        return np.asarray(model.predict_logits(self.nodes, self.graph)[rows])

    def _only(self, rows: np.ndarray) -> np.ndarray:
        """The given labels (n,) of ``rows``, -1 elsewhere."""
        labels = np.full(len(self.task.labels), -1, dtype=np.int64)
        labels[rows] = self.task.labels[rows]
        return labels

    def _watch(self, rows: np.ndarray) -> Watch | None:
        """Nothing: each look would cost as much as an epoch."""
        return None

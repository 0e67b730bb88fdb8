"""The settings table: every recipe with a tiny network and tiny data. Tests over all rows live in
`training/test_every_recipe.py`; a new recipe needs a row here and nothing else.
"""

from dataclasses import dataclass, field
from typing import Any

from labelwise.methods import find_recipe
from labelwise.training.data import TrainingData
from labelwise.training.recipe import Recipe
from labelwise.training.seeding import seeded
from labelwise.training.settings import Settings
from toys import FEW_MASKS, GRAPHS, GROUPS, LABEL_SETS, NUMBERS, POINTS, SCENES, TABLES, TWO_CLASSES, TWO_NUMBERS, Toy


@dataclass(frozen=True)
class Row:
    """One recipe with options; `differs` says why two processes do not take the steps that one takes."""

    name: str
    recipe: str
    options: dict[str, Any] = field(default_factory=dict)
    network: str = "mlp-12"
    epochs: int = 6
    differs: str = ""
    toy: Toy = POINTS
    changes: dict[str, Any] = field(default_factory=dict)  # of the settings

    def settings(self, **changes: Any) -> Settings:
        fixed: dict[str, Any] = {"batch_size": 16, "learning_rate": 0.05, "weight_decay": 1e-4, "accelerator": "cpu"}
        return Settings(**(fixed | {"epochs": self.epochs} | self.changes | changes))

    def data(self, seed: int = 0, per_class: int = 22) -> TrainingData:
        """66 examples by default, so that the last batch is odd."""
        return self.toy.data(self.network, seed, per_class)

    def build(self, data: TrainingData, seed: int = 0) -> Recipe:
        with seeded(seed):
            return find_recipe(self.recipe)(lambda: self.toy.network(self.network, data), **self.options)


NORM = "BatchNorm sees one process's share"
HALVES = "the halves that teach each other are halves of each process's share of a batch"
PAIRS = "partners are drawn within each process's share of a batch"
PARTNERS = "each process draws partners for its share of a batch"
VIEWS = "each process draws views of its own, and compares the rows of its share of a batch"
KNOWN = "processes know different numbers of labels in their shares of a batch, and each takes the mean of its own"
SHARES = "means over the batch inside the loss are means over each process's share of it"
CONFIDENCE = "the threshold follows the mean confidence of each process's share of a batch"
MASKS = "each process draws masks of its own"
ADAM = {"optimizer": "adamw"}

TABLE = [
    Row("cross-entropy", "cross-entropy"),
    Row("cross-entropy-cnn", "cross-entropy", network="cnn", epochs=3, differs=NORM),
    Row("label-smoothing", "label-smoothing"),
    Row("label-smoothing-0", "label-smoothing", {"smoothing": 0.0}),
    Row("mixup", "mixup", differs=PAIRS),
    Row("mixup-off", "mixup", {"alpha": 0.0}),
    Row(
        "segmentation-cross-entropy",
        "segmentation-cross-entropy",
        network="unet-8-8",
        toy=SCENES,
        differs=NORM,
        changes={"batch_size": 8},
    ),
    Row(
        "logit-margin",
        "logit-margin",
        {"margin": 1.0},
        network="unet-8-8",
        toy=SCENES,
        differs=NORM,
        changes={"batch_size": 8},
    ),
    Row("squared-error", "squared-error", toy=NUMBERS),
    Row("squared-error-two", "squared-error", toy=TWO_NUMBERS),
    Row("elr", "elr"),
    Row("elr-strong", "elr", {"lambda_": 7.0, "beta": 0.9}),
    Row("elr-plus", "elr-plus", differs=PAIRS),
    Row("elr-plus-ramps", "elr-plus", {"mixup_alpha": 0.0, "ema_ramp_steps": 20, "ramp_steps": 10}),
    Row("elr-plus-reweighted", "elr-plus", {"mixup_alpha": 0.0, "reweight_labels": True, "ema_decay": 0.9}),
    Row("nacl", "nacl", network="unet-8-8", toy=SCENES, differs=NORM, changes={"batch_size": 8}),
    Row(
        "nacl-by-image",
        "nacl",
        {"kernel": "image_proportions_l1", "distance": "l2", "schedule": "add", "mu": 0.05},
        network="unet-8-8",
        toy=SCENES,
        differs=NORM,
        changes={"batch_size": 8},
    ),
    Row("svls", "svls", network="unet-8-8", toy=SCENES, differs=NORM, changes={"batch_size": 8}),
    Row("adele", "adele", network="unet-8-8", toy=SCENES, differs=NORM, changes={"batch_size": 8}),
    Row(
        "adele-given",
        "adele",
        {"skip_flat": None, "r": 0.5, "tau": 0.5, "from_given": True, "learn_scales": True, "correct_every": 1}
        | {"mode": "new", "scales": (1.0, 0.5)},
        network="unet-8-8",
        toy=SCENES,
        differs=NORM,
        changes={"batch_size": 8},
    ),
    Row("cw-bass", "cw-bass", network="unet-8-8", toy=FEW_MASKS, epochs=9, changes={"batch_size": 8}, differs=VIEWS),
    Row(
        "cw-bass-decay",
        "cw-bass",
        {"base_threshold": 1.3, "use_confidence_decay": True, "progressive": True, "warmup_epochs": 0, "jitter": 0.0}
        | {"frame": False, "ema_decay": 0.9, "gamma": 0.5},
        network="unet-8-8",
        epochs=9,
        toy=FEW_MASKS,
        changes={"batch_size": 8},
        differs=CONFIDENCE,
    ),
    Row("nested", "compress-features", {"compression": "nested", "std": 6.0}),
    Row("dropout", "compress-features", {"compression": "dropout", "dropout": 0.3}, differs=MASKS),
    Row("uncompressed", "compress-features", {"compression": "none"}),
    Row("co-teaching", "co-teaching", differs=HALVES),
    Row("co-teaching-cnn", "co-teaching", {"freeze_norm": True, "alone": 0.5}, network="cnn", epochs=4, differs=HALVES),
    Row(
        "co-teaching-nested",
        "co-teaching",
        {"compression": "nested", "std": 6.0, "alone": 0.5, "num_gradual": 2, "stage_two_rate": 0.5},
        differs=HALVES,
    ),
    Row("co-teaching-dropout", "co-teaching", {"compression": "dropout", "forget_rate": 0.5}, epochs=8, differs=HALVES),
    Row("co-teaching-alone", "co-teaching", {"alone": 1.0}),
    Row("ps-kd", "ps-kd"),
    Row("ps-kd-snapshot", "ps-kd", {"teacher": "snapshot"}),
    Row("ps-kd-mixup", "ps-kd", {"teacher": "snapshot", "smoothing": 0.1, "mixup_alpha": 1.0}, differs=PAIRS),
    Row("log-confidence", "log-confidence", {"warmup_steps": 10}),
    Row("log-confidence-two", "log-confidence", {"warmup_steps": 0}, toy=TWO_CLASSES),
    Row("conr", "conr", toy=NUMBERS, differs=VIEWS),
    Row(
        "conr-weighted",
        "conr",
        {"density": "sqrt_inv", "smoothing": (5, 1.0), "loss": "squared", "strict_denominator": True, "w": 0.3},
        toy=NUMBERS,
        differs=VIEWS,
    ),
    Row("conr-two", "conr", {"w": 0.5, "distance": "max"}, toy=TWO_NUMBERS, differs=VIEWS),
    Row("c-mixup", "c-mixup", toy=NUMBERS, differs=PARTNERS),
    Row("c-mixup-manifold", "c-mixup", {"manifold": True}, toy=TWO_NUMBERS, differs=PARTNERS),
    Row("c-mixup-batch", "c-mixup", {"partners": "batch"}, toy=NUMBERS, differs=PARTNERS),
    Row("c-mixup-uniform", "c-mixup", {"bandwidth": float("inf"), "alpha": 0.5}, toy=NUMBERS, differs=PARTNERS),
    Row("multilabel-cross-entropy", "multilabel-cross-entropy", toy=LABEL_SETS, differs=KNOWN),
    Row("multilabel-assume-negative", "multilabel-cross-entropy", {"unknown": "negative"}, toy=LABEL_SETS),
    Row("multilabel-mixup", "multilabel-cross-entropy", {"mixup_alpha": 0.3}, toy=LABEL_SETS, differs=PAIRS),
    Row("pu-mlc", "pu-mlc", network="mlp-24", epochs=8, toy=LABEL_SETS, differs=SHARES, changes={"optimizer": "adamw"}),
    Row(
        "pu-mlc-averaged",
        "pu-mlc",
        {"ema_decay": 0.5, "alpha": 2.0, "gamma": 0.85, "detach_targets": True},
        network="mlp-24",
        epochs=8,
        toy=LABEL_SETS,
        differs=SHARES,
        changes={"optimizer": "adamw"},
    ),
    Row(
        "pu-mlc-local-global",
        "pu-mlc",
        {"local_global": True, "num_heads": 4, "consistency": 0.0},
        network="cnn",
        epochs=4,
        toy=LABEL_SETS,
        differs=SHARES,
        changes={"optimizer": "adamw", "learning_rate": 0.003},
    ),
    Row("dllp", "dllp", toy=GROUPS, epochs=12),
    Row("llp-bp", "llp-bp", toy=GROUPS, epochs=12),
    Row(
        "llp-bp-pairs",
        "llp-bp",
        {"bag_factor": "pairs", "bag_lambda": 1.0, "sim_lambda": 1.0, "rounds": 1, "start": "zero", "loss_lambda": 1.0},
        toy=GROUPS,
    ),
    Row("node-cross-entropy", "node-cross-entropy", network="gcn-16", epochs=30, toy=GRAPHS, differs=MASKS),
    Row("node-cross-entropy-gat", "node-cross-entropy", network="gat-2x8", epochs=30, toy=GRAPHS, differs=MASKS),
    Row("erase", "erase", {"embedding_size": 12, "refit_every": 4}, "gat-2x8", 30, MASKS, GRAPHS, ADAM),
    Row(
        "erase-by-prototypes",
        "erase",
        {"embedding_size": 8, "gam1": 2.0, "eps": 0.4, "alpha": 1.0, "beta": 0.0, "num_steps": 0},
        network="gcn-16-16",
        epochs=30,
        toy=GRAPHS,
        differs=MASKS,
        changes=ADAM,
    ),
    Row(
        "t-jepa",
        "t-jepa",
        {"pred_dim": 8, "pred_heads": 2, "pred_layers": 1, "pred_feedforward": 16, "ema_start": 0.9},
        toy=TABLES,
        differs=MASKS,
        changes={"optimizer": "adamw", "learning_rate": 0.01},
    ),
    Row(
        "t-jepa-shared",
        "t-jepa",
        {"pred_dim": 4, "pred_heads": 1, "pred_layers": 1, "pred_feedforward": 4, "pred_dropout": 0.0}
        | {"context_share": (0.1, 0.9), "target_share": (0.1, 0.9), "n_targets": 2, "shared_targets": True},
        toy=TABLES,
        differs=MASKS,
        changes={"optimizer": "adamw", "learning_rate": 0.01},
    ),
]

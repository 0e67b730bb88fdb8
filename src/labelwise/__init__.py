"""labelwise: learning from imperfect labels. Audit them, train models that do not inherit their faults, know how sure.

Names are imported when first used, so that ``import labelwise`` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from labelwise.audit.audit import Audit, audit
    from labelwise.audit.multilabel import MultilabelAudit, audit_multilabel
    from labelwise.audit.regression import RegressionAudit, audit_regression
    from labelwise.audit.segmentation import SegmentationAudit, audit_segmentation
    from labelwise.certainty.conformal import SplitConformal
    from labelwise.certainty.forest_smoothers import forest_smoother
    from labelwise.certainty.label_powerset import LabelPowersetICP
    from labelwise.errors import InputError
    from labelwise.estimators.bag_classifier import BagClassifier
    from labelwise.estimators.classifier import Classifier
    from labelwise.estimators.local_clusterer import LocalClusterer
    from labelwise.estimators.multilabel_classifier import MultiLabelClassifier
    from labelwise.estimators.node_classifier import NodeClassifier
    from labelwise.estimators.regressor import Regressor
    from labelwise.estimators.segmenter import Segmenter
    from labelwise.estimators.t_jepa import TJEPA
    from labelwise.methods import cards as methods

_HOMES = {
    "Audit": "audit.audit",
    "audit": "audit.audit",
    "audit_multilabel": "audit.multilabel",
    "audit_regression": "audit.regression",
    "audit_segmentation": "audit.segmentation",
    "BagClassifier": "estimators.bag_classifier",
    "Classifier": "estimators.classifier",
    "InputError": "errors",
    "LabelPowersetICP": "certainty.label_powerset",
    "LocalClusterer": "estimators.local_clusterer",
    "MultiLabelClassifier": "estimators.multilabel_classifier",
    "MultilabelAudit": "audit.multilabel",
    "NodeClassifier": "estimators.node_classifier",
    "RegressionAudit": "audit.regression",
    "Regressor": "estimators.regressor",
    "SegmentationAudit": "audit.segmentation",
    "Segmenter": "estimators.segmenter",
    "SplitConformal": "certainty.conformal",
    "TJEPA": "estimators.t_jepa",
    "forest_smoother": "certainty.forest_smoothers",
    "methods": "methods",
}

__all__ = [
    "TJEPA",
    "Audit",
    "BagClassifier",
    "Classifier",
    "InputError",
    "LabelPowersetICP",
    "LocalClusterer",
    "MultiLabelClassifier",
    "MultilabelAudit",
    "NodeClassifier",
    "RegressionAudit",
    "Regressor",
    "SegmentationAudit",
    "Segmenter",
    "SplitConformal",
    "audit",
    "audit_multilabel",
    "audit_regression",
    "audit_segmentation",
    "forest_smoother",
    "methods",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'labelwise' has no attribute {name!r}")
    home = import_module(f"labelwise.{_HOMES[name]}")
    return getattr(home, "cards" if name == "methods" else name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]

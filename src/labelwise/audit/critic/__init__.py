"""Label Critic: which of two labels is better, which of many is best, and whether a single one is good enough.

Names are imported when first used: the judges that learn need torch, the one behind HTTP needs the extra `critic`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labelwise.audit.critic.critic import Case, LabelCritic
    from labelwise.audit.critic.http_judge import BudgetError, HttpJudge
    from labelwise.audit.critic.judges import CallableJudge, Judge, Turn, UnreliableJudge
    from labelwise.audit.critic.pairs import choose_examples, round_robin_scores, select_pairs, sequential_best
    from labelwise.audit.critic.projections import dice, overlay, project_mask, project_volume, window_ct
    from labelwise.audit.critic.prompts import ORGANS, Prompt, read_captions
    from labelwise.audit.critic.results import Best, Comparison, Curation, Quality
    from labelwise.audit.critic.rule_judge import RuleJudge
    from labelwise.audit.critic.trained_judge import TrainedJudge
    from labelwise.audit.critic.verdicts import combine_dual, parse_comparison, parse_quality
    from labelwise.audit.critic.views import Drawing, View

_HOMES = {
    "critic": ("Case", "LabelCritic"),
    "http_judge": ("BudgetError", "HttpJudge"),
    "judges": ("CallableJudge", "Judge", "Turn", "UnreliableJudge"),
    "pairs": ("choose_examples", "round_robin_scores", "select_pairs", "sequential_best"),
    "projections": ("dice", "overlay", "project_mask", "project_volume", "window_ct"),
    "prompts": ("ORGANS", "Prompt", "read_captions"),
    "results": ("Best", "Comparison", "Curation", "Quality"),
    "rule_judge": ("RuleJudge",),
    "trained_judge": ("TrainedJudge",),
    "verdicts": ("combine_dual", "parse_comparison", "parse_quality"),
    "views": ("Drawing", "View"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ORGANS",
    "Best",
    "BudgetError",
    "CallableJudge",
    "Case",
    "Comparison",
    "Curation",
    "Drawing",
    "HttpJudge",
    "Judge",
    "LabelCritic",
    "Prompt",
    "Quality",
    "RuleJudge",
    "TrainedJudge",
    "Turn",
    "UnreliableJudge",
    "View",
    "choose_examples",
    "combine_dual",
    "dice",
    "overlay",
    "parse_comparison",
    "parse_quality",
    "project_mask",
    "project_volume",
    "read_captions",
    "round_robin_scores",
    "select_pairs",
    "sequential_best",
    "window_ct",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)

"""The card of Label Critic."""

from labelwise.card import Card

CARD = Card(
    number=35,
    slug="label-critic",
    title="Label Critic: which of two labels is better",
    task="audit",
    fault="several automatic labels, none trusted",
    recipe=(),
    idea="Draw rival labels in red, let a judge compare two at a time in both orders, and send people what it doubts.",
    paper="Label Critic: Design data before models, ISBI 2025",
    link="https://arxiv.org/abs/2411.02753",
    authors_code="ariellubonja/LabelCritic (a copy of the authors' repository)",
    licence="CC BY-NC-ND 4.0",
    defaults={"dual": True, "conservative": False, "dice_threshold": 0.5, "region_check": True},
    use="from labelwise.audit.critic import HttpJudge, LabelCritic\n\n"
    'critic = LabelCritic(HttpJudge("http://localhost:8000/v1", "a-vision-model", cache="answers"))\n'
    'critic.compare(volume, first_mask, second_mask, "liver").verdict',
    cost="at most 2 (K - 1) comparisons of a judge for K labels, and one check",
)

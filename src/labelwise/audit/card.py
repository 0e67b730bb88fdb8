"""The card of confident learning and of the label-errors study."""

from labelwise.card import Card

CARD = Card(
    number=27,
    slug="label-errors",
    title="Pervasive label errors in test sets (confident learning, crowd votes, benchmark stability)",
    task="audit",
    fault="wrong labels, also in test sets",
    recipe=(),
    idea="Count the examples that a model, tested on what it has not seen, is confidently sure belong elsewhere.",
    paper="Pervasive label errors in test sets destabilize machine learning benchmarks, NeurIPS 2021",
    link="https://arxiv.org/abs/2103.14749",
    authors_code="cleanlab/label-errors",
    licence="Apache-2.0",
    defaults={"min_examples_per_class": 1, "frac_noise": 1.0},
    use="found = labelwise.audit(labels, pred_probs)",
    cost="one read of the probabilities; out-of-sample probabilities cost one training a fold",
)

"""What a judge is asked, in words: one prompt a task, with what is known of an organ's shape, unity and place.

Every prompt's first line names its task and subject, so that a judge that is no language model can tell what is asked.
After Bassi et al., ISBI 2025: the steps are theirs, the words are not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

REGION, DESCRIBE, COMPARE, SUMMARY, QUALITY, QUALITY_SUMMARY = (
    "region",
    "describe",
    "compare",
    "summary",
    "quality",
    "quality summary",
)
PRESENT, UPPER = "present", "upper part"
_HEADER = re.compile(r"Task: ([a-z ]+)\. Subject: (.*)\.$")
_CAPTION = re.compile(r"^Overlay ([12]) is labelled: (.*)$", flags=re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a judge is told of a subject (an organ, a class).

    ``description``: expected shape, unity and place. ``together``: both overlays in one message; else one after the
    other, with a description of each one's errors. ``solid``: draw in pure red (thin vessels). ``upper_part``: what
    must be in view for ``description`` to apply; where it is not, ``lower_description`` does.
    """

    description: str
    together: bool = True
    solid: bool = False
    upper_part: str = ""
    lower_description: str = ""


class Header(NamedTuple):
    """First line of a prompt: which of the tasks, and of what."""

    task: str
    subject: str


ORGANS = MappingProxyType(
    {
        "aorta": Prompt(
            description="A single tube without gaps or branches as wide as itself. It leaves the heart upwards, bends "
            "over in an arch like a walking stick, and runs down just left of the spine (right in the picture) to "
            "about the navel, where it divides. It gets a little thinner on its way.",
            solid=True,
            upper_part="the lungs and the arch of the aorta",
            lower_description="A single straight tube without gaps in front of the spine, a little left of it (right "
            "in the picture). It enters at the upper edge of the picture and ends about the navel, where it divides. "
            "There is no arch in this field of view.",
        ),
        "liver": Prompt(
            description="One large connected piece, the largest organ of the belly, under the right ribs (left in the "
            "picture) and reaching over the midline. Roughly a wedge: thick and rounded on the right, thin on the "
            "left. Its upper border is a smooth dome, its lower border slopes. No holes, no separate islands.",
            together=False,
        ),
        "kidneys": Prompt(
            description="Two separate beans of about the same size, one on each side of the spine at the height of the "
            "lowest ribs, the hollow sides facing the spine. Outlines are smooth. One alone is a fault unless the "
            "other is out of view or was removed.",
            together=False,
        ),
        "spleen": Prompt(
            description="One smooth piece like a fist or a coffee bean, under the left ribs (right in the picture), "
            "beside the stomach and much smaller than the liver. No islands across the midline.",
        ),
        "pancreas": Prompt(
            description="One thin, long piece lying across the body at the height of the upper loins: a thick head on "
            "the right (left in the picture) and a tail that rises to the left towards the spleen. It may be bent, "
            "but it is one piece, and it is far smaller than the liver.",
            together=False,
        ),
        "postcava": Prompt(
            description="A single tube without gaps that runs straight up just right of the spine (left in the "
            "picture), from where the two pelvic veins meet, behind the liver, to the heart. No arch.",
            solid=True,
        ),
        "stomach": Prompt(
            description="One hollow bag shaped like a J, in the upper left belly (right in the picture) below the "
            "diaphragm, its lower end turning to the midline. Size changes with filling. One piece, smooth outline.",
        ),
        "gall_bladder": Prompt(
            description="One small smooth pear under the lower edge of the liver, on the right (left in the picture). "
            "It is no longer than a finger; anything large, or far from the liver, is a fault.",
        ),
    }
)

PLAIN = Prompt(
    description="The label should cover all of the subject and nothing else: no missing part, no islands away from it, "
    "no holes that the subject does not have, and an outline that follows its border."
)
PLAIN_BOX = Prompt(
    description="The box should hold all of the subject and touch its outermost points, with as little else as can be."
)
PLAIN_CLASS = Prompt(
    description="The label is a name. It should name what the picture shows, not something else that looks alike, and "
    "what stands out in it, not what is beside or behind it."
)


def read_header(text: str) -> Header:
    """Task and subject of a prompt; both empty where its first line is none of ours."""
    found = _HEADER.match(text.split("\n", 1)[0])
    return Header(found[1], found[2]) if found else Header("", "")


def read_captions(text: str) -> tuple[str, str]:
    """The captions of overlays 1 and 2 in a prompt, such as the names of two rival classes; empty without them."""
    found = dict(_CAPTION.findall(text))
    return found.get("1", ""), found.get("2", "")


def region_text(subject: str, prompt: Prompt) -> str:
    """Ask what a picture without any label shows, and whether the subject can be in it."""
    questions = [
        "Which bones do you see: skull, neck, ribs, spine of the loins, hips, thighs?",
        "Which part of the body is it, from where to where?",
        f"Should the {subject}, or part of it, lie in this part of the body?",
    ]
    answers = [f'"{PRESENT}: yes" or "{PRESENT}: no" for the {subject}']
    if prompt.upper_part:
        questions.append(f"Does the picture reach up to {prompt.upper_part}?")
        answers.append(f'"{UPPER}: yes" or "{UPPER}: no" for {prompt.upper_part}')
    lines = ["The picture is a frontal projection of a CT scan: bones are bright, the patient's right is on the left."]
    lines += [f"{number}. {question}" for number, question in enumerate(questions, start=1)]
    return _joined(REGION, subject, [*lines, f"Answer each one, then end with {' and '.join(answers)}."])


def describe_text(subject: str, description: str, caption: str = "") -> str:
    """Ask for the faults of overlay 1, before the other one is shown."""
    lines = [f"This is overlay 1: a label of the {subject}, drawn in red.", *_captions((caption,)), description]
    return _joined(
        DESCRIBE, subject, [*lines, "Compare shape, unity and place with this description and list the faults."]
    )


def compare_text(subject: str, description: str, captions: Sequence[str] = ("", ""), *, is_second: bool = False) -> str:
    """Ask which of two overlays is better; ``is_second``: the first was shown a message ago."""
    shown = "This is overlay 2, another label" if is_second else "The pictures are overlay 1 and overlay 2, two labels"
    lines = [f"{shown} of the same {subject} in the same picture.", *_captions(captions), description]
    lines.append("Look at each one's shape, unity and place, think thoroughly, and justify what you say.")
    return _joined(COMPARE, subject, [*lines, "Which label is better: Overlay 1, Overlay 2, or Neither?"])


def summary_text(subject: str, answer: str) -> str:
    """Ask what a free answer to a comparison comes to."""
    ask = 'Which one does this text prefer? Answer "Overlay 1", "Overlay 2" or "Neither", and nothing else.'
    return _joined(SUMMARY, subject, [ask, "", answer])


def quality_text(subject: str, description: str, caption: str = "") -> str:
    """Ask whether a single overlay is good."""
    lines = [f"The picture shows a label of the {subject}.", *_captions((caption,)), description]
    return _joined(
        QUALITY, subject, [*lines, "Is it a good annotation or a bad annotation? Think thoroughly and justify it."]
    )


def quality_summary_text(subject: str, answer: str) -> str:
    """Ask what a free answer on a single overlay comes to."""
    ask = 'What does this text conclude? Answer "good annotation" or "bad annotation", and nothing else.'
    return _joined(QUALITY_SUMMARY, subject, [ask, "", answer])


def _captions(captions: Sequence[str]) -> list[str]:
    return [f"Overlay {number} is labelled: {_one_line(text)}" for number, text in enumerate(captions, 1) if text]


def _joined(task: str, subject: str, lines: Sequence[str]) -> str:
    return "\n".join([f"Task: {task}. Subject: {_one_line(subject)}.", *lines])


def _one_line(text: str) -> str:
    return " ".join(text.split())

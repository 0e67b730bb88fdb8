"""Conversations with a judge: the region check, a comparison in one order, a single label's check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from labelwise.audit.critic import prompts
from labelwise.audit.critic.judges import Judge, Turn
from labelwise.audit.critic.projections import Floats
from labelwise.audit.critic.prompts import PLAIN, PRESENT, UPPER, Prompt
from labelwise.audit.critic.verdicts import is_bare, parse_yes_no
from labelwise.audit.critic.views import View


class Region(NamedTuple):
    """Whether the subject is expected in the picture, and whether its upper part is in view."""

    is_expected: bool = True
    shows_upper_part: bool = True


class Said(NamedTuple):
    """A verdict in words, and what was said before it (nothing where the verdict came at once)."""

    answer: str
    reason: str


class Subject(NamedTuple):
    """What is labelled, and what the judge is told of it."""

    name: str
    prompt: Prompt = PLAIN

    def description(self, region: Region) -> str:
        """What to expect, in this field of view."""
        if region.shows_upper_part or not self.prompt.lower_description:
            return self.prompt.description
        return self.prompt.lower_description


def ask_region(judge: Judge, clean: Floats, subject: Subject) -> Region:
    """Ask whether the subject can lie in a picture (3, H, W) without label; an unclear answer counts as yes."""
    answer = judge.ask([clean], prompts.region_text(subject.name, subject.prompt))
    shows_upper_part = not subject.prompt.upper_part or parse_yes_no(answer, UPPER)
    return Region(parse_yes_no(answer, PRESENT), shows_upper_part)


def ask_comparison(
    judge: Judge, first: View, second: View, subject: Subject, region: Region, examples: Sequence[Turn] = ()
) -> Said:
    """Ask once which of two views is better, in this order: together, or one after the other in a conversation."""
    description = subject.description(region)
    captions = (first.caption, second.caption)
    if subject.prompt.together:
        text = prompts.compare_text(subject.name, description, captions)
        reason = judge.ask([first.image, second.image], text, list(examples))
    else:
        text = prompts.describe_text(subject.name, description, first.caption)
        faults = judge.ask([first.image], text, list(examples))
        history = [*examples, Turn([first.image], text, faults)]
        text = prompts.compare_text(subject.name, description, captions, is_second=True)
        reason = judge.ask([second.image], text, history)
    return _summarised(judge, reason, prompts.summary_text(subject.name, reason))


def ask_quality(judge: Judge, view: View, subject: Subject, region: Region, examples: Sequence[Turn] = ()) -> Said:
    """Ask whether one view is a good label."""
    text = prompts.quality_text(subject.name, subject.description(region), view.caption)
    reason = judge.ask([view.image], text, list(examples))
    return _summarised(judge, reason, prompts.quality_summary_text(subject.name, reason))


def example(view: View, subject: Subject, *, is_good: bool) -> Turn:
    """A view whose quality is known, as an earlier turn that shows a judge how to answer."""
    text = prompts.quality_text(subject.name, subject.prompt.description, view.caption)
    return Turn([view.image], text, "good annotation" if is_good else "bad annotation")


def _summarised(judge: Judge, reason: str, summary: str) -> Said:
    """A verdict that stands alone is taken as it is; a longer answer is sent back alone to be summarised."""
    if is_bare(reason) or not reason.strip():
        return Said(reason, "")
    return Said(judge.ask([], summary), reason)

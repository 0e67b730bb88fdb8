"""What was found in plain words, and how text and numbers from outside are made fit to be shown."""

import math
import unicodedata
from dataclasses import dataclass

from markupsafe import Markup

from labelwise.report.findings import AuditFindings, Findings, Intervals, LearnFindings, ReviewFindings, TrustFindings

_JOINERS = "\u200c\u200d"  # they hold emoji and Indic letters together
_SPACES = "\t\n\r "
_MARKS_IN_A_ROW = 4
_NOUNS = {"pictures": "pictures", "texts": "texts", "nodes": "nodes"}
_SAME = 0.01
_Z95 = 1.959964


@dataclass(frozen=True)
class Headline:
    """One thing found: the claim, what supports it, and which part of the page shows it."""

    part: str
    claim: str
    support: tuple[str, ...]


def clean(text: str, limit: int) -> tuple[str, int]:
    """Text safe to lay out, at most `limit` characters of it, and how many were cut off.

    Control, bidirectional, private and unpaired characters become visible marks such as ‹U+202E›; piled-up
    accents are counted instead of drawn; runs of white space become one space.
    """
    shown: list[str] = []
    marks = 0
    for character in text[:limit]:
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if character in _SPACES:
            if not shown or shown[-1] != " ":
                shown.append(" ")
        elif marks > _MARKS_IN_A_ROW:
            shown[-1] = f"‹+{marks - _MARKS_IN_A_ROW} marks›"
        elif marks == _MARKS_IN_A_ROW:
            shown.extend((character, ""))
        elif category in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") and character not in _JOINERS:
            shown.append(f"‹U+{ord(character):04X}›")
        else:
            shown.append(character)
    return "".join(shown), max(0, len(text) - limit)


def shown(text: object, limit: int = 60) -> Markup:
    """Outside text as HTML: escaped, bidirectionally isolated, cut visibly, its edge spaces made visible."""
    body, cut = clean(str(text), limit)
    if not body:
        return Markup('<span class="none">(empty)</span>')
    if body.startswith(" "):
        body = "␣" + body[1:]
    if body.endswith(" ") and not cut:
        body = body[:-1] + "␣"
    tail = Markup('<span class="cut">… +{} characters</span>').format(f"{cut:,}") if cut else Markup("")
    return Markup("<bdi>{}</bdi>{}").format(body, tail)


def short(text: str, limit: int = 14) -> str:
    """Outside text as a plain label of a figure."""
    body, cut = clean(text, limit)
    return f"{body[: limit - 1]}…" if cut or len(body) > limit else body or "(empty)"


def percent(share: float | None) -> str:
    """A share as a percentage with one decimal; a dash where it is not known."""
    if share is None or not math.isfinite(share):
        return "–"
    return f"{100 * share:.1f}%"


def capitalised(words: str) -> str:
    """Words as the beginning of a sentence; names such as R^2 and mIoU stay as they are."""
    return words if words[:1].isupper() or words[1:2].isupper() else words[:1].upper() + words[1:]


def measured(value: float, metric: str) -> str:
    """A score: accuracy as a percentage, all others as a number."""
    if metric == "accuracy":
        return percent(value)
    return f"{value:.3f}" if math.isfinite(value) else "–"


def score(quality: float) -> str:
    """A label's quality with three decimals; a dash where it is not known."""
    return f"{quality:.3f}" if math.isfinite(quality) else "–"


def about(share: float) -> str:
    """A share as a round percentage, never rounded to nothing or to everything."""
    if not math.isfinite(share):
        return "–"
    if 0 < share < 0.01 or 0.99 < share < 1:
        return percent(share)
    return f"{100 * share:.0f}%"


def between(low: float, high: float) -> str:
    """An interval of shares, as precise as it must be for its ends to differ."""
    if about(low) == about(high):
        return f"{percent(low)[:-1]}–{percent(high)}"
    return f"{about(low)[:-1]}–{about(high)}"


def count(number: int) -> str:
    """A whole number with its thousands set apart."""
    return f"{number:,}"


def counted(number: int, singular: str, plural: str) -> str:
    """A number with its noun."""
    return f"{number:,} {singular if number == 1 else plural}"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def noun(kind: str) -> str:
    """What one example is called, in the plural."""
    return _NOUNS.get(kind, "rows")


def wilson(share: float, rows: int | None) -> tuple[float, float] | None:
    """Wilson's 95% interval of a share measured on so many rows; None where that cannot be told."""
    if not rows or not math.isfinite(share):
        return None
    shrink = 1 + _Z95**2 / rows
    centre = (share + _Z95**2 / (2 * rows)) / shrink
    half = _Z95 * math.sqrt(share * (1 - share) / rows + _Z95**2 / (4 * rows**2)) / shrink
    return max(0.0, centre - half), min(1.0, centre + half)


def headlines(findings: Findings) -> list[Headline]:
    """What was found, most important first, one entry for each step that ran."""
    found: list[Headline] = []
    if findings.audit is not None:
        found.append(_audit_headline(findings.audit))
    if findings.learn is not None:
        found.append(_learn_headline(findings.learn, findings.audit))
    if findings.trust is not None:
        found.append(_trust_headline(findings.trust))
    return found


def decisions(review: ReviewFindings) -> list[str]:
    """What people decided on, in sentences."""
    people = counted(review.reviewers, "person", "people")
    found = [
        f"{people} decided on {counted(review.decided, 'label', 'labels')}: {count(review.changed)} changed, "
        f"{count(review.excluded)} taken out, {count(review.left)} left as given because nobody could tell or people "
        "disagree, the others confirmed."
    ]
    if review.agreement is not None:
        found.append(f"Where two people looked at the same label, {about(review.agreement)} of the pairs agree.")
    return found


def _audit_headline(audit: AuditFindings) -> Headline:
    if audit.noise_rate is None:
        return Headline("audit", _named_suspects(audit), tuple(_found_of_wrong(audit)))
    one, many = audit.unit
    known = math.isfinite(audit.noise_rate_low) and math.isfinite(audit.noise_rate_high)
    interval = f" ({between(audit.noise_rate_low, audit.noise_rate_high)})" if known else ""
    claim = f"About {about(audit.noise_rate)} of the {many} look wrong{interval}."
    if audit.noise_rate == 0:
        claim = f"No {one} looks wrong{interval}."
    support = [_named_suspects(audit)]
    if audit.noise_rate_true is not None:
        support.append(_against_truth(audit, known))
    if audit.found_share is not None:
        support.append(f"Of the wrong {many}, {percent(audit.found_share)} are under suspicion.")
    if audit.corrected_share is not None:
        support.append(f"Of the wrong {many}, {percent(audit.corrected_share)} get their true {one} back.")
    if audit.wrongly_changed_share is not None:
        support.append(f"Of the right ones, {percent(audit.wrongly_changed_share)} would be changed wrongly.")
    return Headline("audit", claim, tuple(support))


def _found_of_wrong(audit: AuditFindings) -> list[str]:
    """How many are wrong in truth, and how many of those were found."""
    found = []
    if audit.noise_rate_true is not None:
        found.append(f"In truth {percent(audit.noise_rate_true)} are wrong.")
    if audit.found_share is not None:
        found.append(f"Of the wrong {audit.unit[1]}, {percent(audit.found_share)} are under suspicion.")
    return found


def _named_suspects(audit: AuditFindings) -> str:
    if audit.suspect_count == 0:
        return f"None of {counted(audit.labels_audited, *audit.unit)} is named as a suspect."
    verb = "is" if audit.suspect_count == 1 else "are"
    return (
        f"{audit.suspect_count:,} of {counted(audit.labels_audited, *audit.unit)} {verb} named as "
        f"{'a suspect' if audit.suspect_count == 1 else 'suspects'}, worst first, below."
    )


def _against_truth(audit: AuditFindings, interval_known: bool) -> str:
    true = audit.noise_rate_true or 0.0
    if not interval_known:
        return f"In truth {percent(true)} are wrong."
    inside = audit.noise_rate_low <= true <= audit.noise_rate_high
    return f"In truth {percent(true)} are wrong: {'inside' if inside else 'outside'} the interval."


def _learn_headline(learn: LearnFindings, audit: AuditFindings | None) -> Headline:
    baseline, robust = learn.accuracy_baseline, learn.accuracy_robust
    ending = f"the robust one {_rounded(robust, learn)}."
    if abs(robust - baseline) <= _SAME:
        ending = f"the robust one {_rounded(robust, learn)}: about the same here."
    elif robust < baseline:
        ending = f"the robust one {_rounded(robust, learn)}: it did not help here."
    claim = f"A model that trusts the labels {_scores(learn)} {_rounded(baseline, learn)}; {ending}"
    support = [_measured(learn, audit)]
    if learn.accuracy_early_stopped is not None:
        support.append(
            f"Stopped early on noisy validation labels, the trusting model scores "
            f"{measured(learn.accuracy_early_stopped, learn.metric)}."
        )
    memorised = {
        run.role: run.memorised[-1] for run in learn.runs if run.memorised and math.isfinite(run.memorised[-1])
    }
    if "baseline" in memorised and "robust" in memorised:
        support.append(
            f"By its last epoch the trusting model repeats {about(memorised['baseline'])} of the wrong labels "
            f"it was trained on, the robust one {about(memorised['robust'])}."
        )
    return Headline("learn", claim, tuple(support))


def _measured(learn: LearnFindings, audit: AuditFindings | None) -> str:
    rows = f" of {counted(learn.measured_rows, 'example', 'examples')}" if learn.measured_rows else ""
    if learn.measured_on == "true labels":
        return f"Measured on the true labels{rows} that training never saw."
    sentence = f"Measured on the given labels{rows} that training never saw, and some of those are wrong too"
    rate = None if audit is None else audit.noise_rate
    if learn.metric != "accuracy" or rate is None or not 0 < rate < 1:
        return f"{sentence}: compare the scores, do not take them at face value."
    return (
        f"{sentence}: even a perfect model would score only about {about(1 - rate)}. "
        "Compare the scores, do not take them at face value."
    )


def _trust_headline(trust: TrustFindings) -> Headline:
    promised = about(trust.coverage_promised)
    support = []
    if math.isfinite(trust.ece_before) and math.isfinite(trust.ece_after):
        support.append(
            f"Stated confidence was off by {100 * trust.ece_before:.1f} points on average and is off by "
            f"{100 * trust.ece_after:.1f} after calibration, measured on the {trust.measured_on}."
        )
    if trust.intervals is not None:
        return _interval_headline(trust, trust.intervals)
    sets = trust.sets_used
    if sets is None:
        return Headline("trust", "The model's confidence was calibrated.", tuple(support))
    size = f"They hold {sets.mean_size:.2f} {sets.members} on average."
    if sets.coverage_true is not None:
        verdict = _verdict(sets.coverage_true, trust)
        claim = f"Prediction sets promise {promised} and hold the true label {percent(sets.coverage_true)} of the time."
        return Headline("trust", claim, (verdict, size, *support))
    claim = f"Prediction sets promise to hold the true label {promised} of the time."
    checked = "Without true labels that promise rests on its assumptions; it cannot be checked here."
    if sets.coverage_given is not None:
        checked += (
            f" The given labels, wrong ones included, are in the sets {percent(sets.coverage_given)} of the time."
        )
    return Headline("trust", claim, (checked, size, *support))


def _interval_headline(trust: TrustFindings, intervals: Intervals) -> Headline:
    where = "true numbers" if trust.measured_on == "true labels" else "given numbers"
    claim = (
        f"Prediction intervals promise {about(trust.coverage_promised)} and hold {percent(intervals.coverage)} of the "
        f"{where}."
    )
    size = f"They are {intervals.mean_width:.4g} wide on average."
    if trust.measured_on == "true labels":
        return Headline("trust", claim, (_verdict(intervals.coverage, trust), size))
    return Headline("trust", claim, ("The promise and the count are about given numbers, wrong ones included.", size))


def _scores(learn: LearnFindings) -> str:
    return "scores" if learn.metric == "accuracy" else f"reaches {learn.metric}"


def _rounded(value: float, learn: LearnFindings) -> str:
    return about(value) if learn.metric == "accuracy" else measured(value, learn.metric)


def _verdict(coverage: float, trust: TrustFindings) -> str:
    if coverage >= trust.coverage_promised:
        return "The promise is kept."
    promised = trust.coverage_promised
    spread = 2 * math.sqrt(promised * (1 - promised) / trust.measured_rows) if trust.measured_rows else 0.0
    if coverage >= promised - spread:
        return "That is below the promise by no more than chance explains."
    return "That falls short of the promise by more than chance explains: do not rely on these sets."

import dataclasses
import math

import pytest

from labelwise.report.words import about, between, clean, duration, headlines, percent, score, short, shown, wilson

from .sample import audit_findings, digits_findings, learn_findings, trust_findings


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.0, "0%"), (0.362, "36%"), (0.004, "0.4%"), (0.997, "99.7%"), (1.0, "100%"), (math.nan, "–"), (math.inf, "–")],
)
def test_about_never_rounds_to_nothing_or_everything(share, expected):
    assert about(share) == expected


def test_percent_of_the_unknown_is_a_dash():
    assert [percent(None), percent(math.nan), percent(0.0), percent(1.0)] == ["–", "–", "0.0%", "100.0%"]
    assert score(math.nan) == "–"


def test_interval_is_precise_enough_for_its_ends_to_differ():
    assert between(0.338, 0.387) == "34–39%"
    assert between(0.3612, 0.3637) == "36.1–36.4%"


@pytest.mark.parametrize(
    ("seconds", "said"), [(4.25, "4.2 s"), (192.4, "3 min 12 s"), (3599.9, "1 h 0 min"), (7260, "2 h 1 min")]
)
def test_duration(seconds, said):
    assert duration(seconds) == said


def test_wilson_agrees_with_published_values():
    # Newcombe (1998), Statistics in Medicine 17: 81 of 263 and 0 of 20, score method
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0.0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(0.5, None) is None
    assert wilson(math.nan, 10) is None


def test_dangerous_characters_become_visible():
    assert clean("a\u202eb", 10)[0] == "a‹U+202E›b"
    assert clean("\x00\ud800\u2066\ue000", 10)[0] == "‹U+0000›‹U+D800›‹U+2066›‹U+E000›"
    assert clean("one\n\t two", 10)[0] == "one two"


def test_emoji_and_accents_are_kept_but_not_piled_up():
    assert clean("👩‍👧 café é", 20)[0] == "👩‍👧 café é"
    assert clean("e" + "\u0301" * 4, 20)[0] == "e" + "\u0301" * 4
    assert clean("e" + "\u0301" * 9 + "z", 20)[0] == "e" + "\u0301" * 4 + "‹+5 marks›z"


@pytest.mark.parametrize(("length", "cut"), [(0, 0), (9, 0), (10, 0), (11, 1), (1_000_000, 999_990)])
def test_cut_is_counted(length, cut):
    text, missing = clean("x" * length, 10)
    assert (len(text), missing) == (min(length, 10), cut)


def test_shown_escapes_isolates_and_tells_what_was_cut():
    html = shown("<b>&\"'" + "y" * 100, 10)
    assert html.startswith("<bdi>&lt;b&gt;&amp;")
    assert "+96 characters" in html
    assert "<b>" not in html
    assert "(empty)" in shown("", 10)
    assert shown(" a ", 10) == "<bdi>␣a␣</bdi>"


def test_short_fits_its_limit():
    assert short("w" * 50, 14) == "w" * 13 + "…"
    assert len(short("\u202e" * 14, 14)) == 14
    assert short("", 14) == "(empty)"


def test_headlines_say_what_was_found():
    claims = [headline.claim for headline in headlines(digits_findings())]
    assert claims == [
        "About 36% of the labels look wrong (34–39%).",
        "A model that trusts the labels scores 71%; the robust one 94%.",
        "Prediction sets promise 90% and hold the true label 91.7% of the time.",
    ]


def only(**parts):
    nothing = {"check": None, "audit": None, "learn": None, "trust": None}
    return headlines(dataclasses.replace(digits_findings(), **{**nothing, **parts}))[0]


def test_an_estimate_that_missed_the_truth_says_so():
    audit = dataclasses.replace(audit_findings(), noise_rate_true=0.41)
    assert "In truth 41.0% are wrong: outside the interval." in only(audit=audit).support


@pytest.mark.parametrize(
    ("robust", "ending"),
    [(0.60, "it did not help here."), (0.715, "about the same here."), (0.94, "the robust one 94%.")],
)
def test_a_robust_recipe_that_did_not_help_says_so(robust, ending):
    learn = dataclasses.replace(learn_findings(), accuracy_robust=robust)
    assert only(learn=learn).claim.endswith(ending)


def test_scores_on_noisy_labels_come_with_their_ceiling():
    support = " ".join(only(learn=learn_findings(truth=False), audit=None).support)
    assert "Measured on the given labels of 360 examples" in support
    both = headlines(digits_findings(truth=False))
    assert "even a perfect model would score only about 64%" in " ".join(both[1].support)


@pytest.mark.parametrize(
    ("coverage", "verdict"),
    [(0.9, "The promise is kept."), (0.88, "no more than chance explains"), (0.80, "falls short")],
)
def test_coverage_is_judged_against_chance(coverage, verdict):
    trust = trust_findings()
    used = dataclasses.replace(trust.sets[1], coverage_true=coverage)
    found = only(trust=dataclasses.replace(trust, sets=(used,)))
    assert verdict in found.support[0]


def test_coverage_without_truth_is_not_claimed():
    found = only(trust=trust_findings(truth=False))
    assert "cannot be checked here" in found.support[0]
    assert "58.8%" in found.support[0]


def test_clean_labels_have_no_alarm():
    audit = dataclasses.replace(
        audit_findings(), noise_rate=0.0, noise_rate_low=0.0, noise_rate_high=0.004, suspect_count=0
    )
    assert only(audit=audit).claim == "No label looks wrong (0–0.4%)."

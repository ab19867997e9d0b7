"""Findings as lines for a terminal and as JSON."""

import json
import math

from backend.study.findings import SCORES, TRANSITIONS, ClaimResult
from backend.study.judging import judge
from backend.study.reference import SOURCE
from backend.study.report import as_json, as_text
from tests.study.test_findings import finding

FOUND = (finding(0.001), finding(0.9, sentence="a\nb\x1b[31m c"))
OWN = judge([ClaimResult(SCORES, FOUND, ("one note", "another"))])
NONE = ClaimResult(TRANSITIONS, (), ("a note that is longer than a line " * 4,))


def flat(lines):
    return " ".join(" ".join(lines).split())


def test_text_has_every_claim_with_its_findings_and_notes():
    text = as_text([*OWN, NONE])
    lines = text.split("\n")
    assert lines[0] == f"{SCORES.title}: {OWN[0].summary}" and lines[1] == ""
    second = lines.index(f"{TRANSITIONS.title}: {NONE.summary}")
    assert lines[second - 1] == ""
    first = flat(lines[2:second])
    assert first.startswith(f"Claim: {SCORES.statement} {SCORES.method}"[:60])
    assert OWN[0].multiplicity in first
    for one in OWN[0].findings:
        assert f"- [{one.verdict}] {' '.join(one.sentence.split())[:1]}" in first
    assert "a b [31m c" in first and "\x1b" not in text
    assert "note: one note" in first and "note: another" in first
    noted = [line for line in lines[second:] if line.startswith("  note: a note")]
    assert len(noted) == 1 and not text.endswith("\n")
    assert all(len(line) <= 96 for line in lines if line.startswith(" "))
    later = lines[lines.index(noted[0]) + 1]
    assert later.startswith("    ") and "long" in flat(lines[second:])
    assert "Published" not in text


def test_published_numbers_stand_below_their_claim_and_their_source_at_the_end():
    theirs = judge([ClaimResult(SCORES, (finding(0.04, sentence="theirs"),))])
    text = as_text([*OWN, NONE], [*theirs, ClaimResult(TRANSITIONS, ())])
    lines = text.split("\n")
    told = [line for line in lines if line.startswith("  Published numbers: ")]
    assert told[0] == f"  Published numbers: {theirs[0].summary}"
    assert told[1] == "  Published numbers: not asked"
    assert lines[lines.index(told[0]) - 1] == ""
    assert "theirs" in lines[lines.index(told[0]) + 1]
    assert flat(lines).endswith(" ".join(f"Published numbers: {SOURCE}".split()))
    alone = as_text(OWN, [ClaimResult(TRANSITIONS, ())])
    assert "not asked" not in alone and "theirs" not in alone


def test_json_has_everything_and_null_for_what_is_not_known():
    theirs = judge([ClaimResult(SCORES, (finding(math.nan),))])
    text = as_json([*OWN, NONE], theirs)
    told = json.loads(text, parse_constant=lambda name: pytest_fail(name))
    assert list(told) == ["claims", "published", "source"] and told["source"] == SOURCE
    first, none = told["claims"]
    assert list(first) == [
        "claim", "title", "statement", "method", "summary", "multiplicity", "findings", "notes",
    ]  # fmt: skip
    claim = SCORES
    assert (first["claim"], first["title"]) == (claim.key, claim.title)
    assert (first["statement"], first["method"]) == (claim.statement, claim.method)
    assert (first["summary"], first["multiplicity"]) == (OWN[0].summary, OWN[0].multiplicity)
    assert [row["verdict"] for row in first["findings"]] == [f.verdict for f in OWN[0].findings]
    assert first["findings"][0]["p"] == 0.001 and first["findings"][0]["sentence"] == "…"
    assert none["findings"] == [] and none["notes"] == list(NONE.notes)
    (row,) = told["published"][0]["findings"]
    assert row["p"] is None and row["value"] == 1.0
    assert "…" in text and text.split("\n")[1].startswith('  "claims"')


def pytest_fail(name):
    raise AssertionError(f"{name} is no JSON")

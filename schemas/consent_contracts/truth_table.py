"""docs/truth-table.md, written from the verdict vectors: ``python -m consent_contracts.truth_table``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

_INTRO = """\
# The truth table

What the decisions on one address mean, case by case. This page is written from
`schemas/consent_contracts/vectors/verdict.json`, and every row of it is a test: a reader in another language can
run the same file. Times are seconds on a common clock; the question is asked at 100 s unless the row has another.
A permission counts as 2 s older than its stated time, so that at a near tie the person is left alone.

Regenerate: `python -m consent_contracts.truth_table > docs/truth-table.md`.
"""


def vectors(name: str) -> list[dict[str, Any]]:
    """The cases of ``vectors/<name>.json``."""
    cases: list[dict[str, Any]] = json.loads((files(__package__) / "vectors" / f"{name}.json").read_text("utf-8"))[
        "cases"
    ]
    return cases


def lines() -> Iterator[str]:
    """The page, line by line."""
    yield from _INTRO.splitlines()
    rule = None
    for case in vectors("verdict"):
        if case["rule"] != rule:
            rule = case["rule"]
            yield ""
            yield f"## {rule}"
            yield ""
            yield "| case | decisions | asked for | answer | reason | decided by |"
            yield "|---|---|---|---|---|---|"
        expect = case["expect"]
        decisions = "<br>".join(_decision(each, case["at"]) for each in case["decisions"]) or "none"
        answer = "**yes**" if expect["permitted"] else "no"
        if expect["permitted"] and expect["expires_at"] is not None:
            answer += f", until {_seconds(expect['expires_at'], case['at'])}"
        cells = [case["title"], decisions, f"`{case['purpose']}`", answer]
        cells += [f"`{expect['reason']}`", expect["decision_id"] or "-"]
        yield "| " + " | ".join(cells) + " |"


def _decision(decision: dict[str, Any], at: int) -> str:
    who = decision["subject_ref"] or "(address)"
    text = f"{decision['decision_id']}: {who} `{decision['purpose']}` **{decision['status']}** "
    text += f"at {_seconds(decision['effective_at'], at)}"
    if decision["expires_at"] is not None:
        text += f", ends {_seconds(decision['expires_at'], at)}"
    return text


def _seconds(micros: int, at: int) -> str:
    return f"{100 + (micros - at) / 1_000_000:.10g} s"


if __name__ == "__main__":
    import sys

    sys.stdout.writelines(f"{line}\n" for line in lines())

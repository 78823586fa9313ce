"""docs/provider-answers.md, written from the facts: ``python -m tests.contract.provider_answers_page``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from propagator.connectors.base import PERMIT, SUPPRESS, Action
from tests.contract.documented_answers import SEVERAL, Provider, providers, wanted

INTRO = """\
# What each answer of a provider means

Written from the facts in `tests/contract/providers`, which are written from the providers' specifications; a test gives
every answer to the real connector over HTTP, and holds this page to them:
`python -m tests.contract.provider_answers_page > docs/provider-answers.md`.

* **accepted**: the provider has it.
* **retried**: tried again by itself, for as long as it takes.
* **held**: nothing ends and a person must act; `destination_verified` is 0, the log names cause and cure, and the
  destination (or the target alone) is probed, so that it goes on by itself.
* **ended**: for this address alone; it gets the receipt `impossible`. What is refused together, or in a row, never is
  (`sending/refusals.py`).

*one* is a call of one push, *several* of three: all of them, or the one that the answer is about and the others. In
brackets what differs for permissions. `assumed`: no document describes the answer."""


def lines() -> Iterator[str]:
    """The page, line by line."""
    yield from INTRO.splitlines()
    for provider in providers():
        yield ""
        yield f"## {provider.name}"
        yield ""
        for key, source in provider.facts["sources"].items():
            yield f"* `{key}`: {source}"
        yield ""
        yield "| answer | source | one | several |"
        yield "|---|---|---|---|"
        for answer in provider.answers():
            yield "| " + " | ".join(_cells(provider, answer)) + " |"


def _cells(provider: Provider, answer: dict[str, Any]) -> Iterator[str]:
    status = str(answer["status"])
    yield answer["name"] if answer["name"].startswith(status) else f"{status}: {answer['name']}"
    yield f"`{answer['source']}`"
    if answer.get("lookup"):
        yield f"at start: {answer['expected']['verify']}"
        yield ""
        return
    for size in (1, SEVERAL):
        given = {
            action: _text(wanted(answer, action, size)) for action, tried in provider.action_sizes if tried == size
        }
        yield _both(given)


def _both(given: dict[Action, str]) -> str:
    suppress, permit = given.get(SUPPRESS, ""), given.get(PERMIT, "")
    return suppress if permit in ("", suppress) else f"{suppress} ({permit})".strip()


def _text(classes: tuple[str, ...]) -> str:
    return classes[0] if len(set(classes)) == 1 else f"{classes[0]}, others {classes[1]}"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in lines())

"""Every answer that a provider documents, and those that none documents, through the real connector over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from propagator.connectors import CATALOGUE
from tests.contract.documented_answers import (
    CLASSES,
    Provider,
    Server,
    call,
    expanded,
    form_of,
    providers,
    start,
    wanted,
)
from tests.contract.provider_answers_page import lines

PAGE = Path(__file__).parents[2] / "docs" / "provider-answers.md"

ANSWERS = [
    pytest.param(provider, answer, id=f"{provider.name}-{answer['name']}")
    for provider in providers()
    for answer in provider.answers()
    if not answer.get("lookup")
]
LOOKUPS = [
    pytest.param(provider, answer, id=f"{provider.name}-{answer['name']}")
    for provider in providers()
    for answer in provider.answers()
    if answer.get("lookup")
]
REQUESTS = [
    pytest.param(provider, shape, id=f"{provider.name}-{shape['action']}-{shape['pushes']}")
    for provider in providers()
    for shape in provider.facts["requests"]
]


@pytest.mark.parametrize(("provider", "answer"), ANSWERS)
async def test_an_answer_means_for_each_push_what_the_table_has(
    provider: Provider, answer: dict[str, Any]
) -> None:  # R2, R26, R28
    async with Server(provider) as server:
        for action, size in provider.action_sizes:
            server.received.clear()
            result = await call(provider, server, provider.pushes(action, size), answer)
            tried = action, size
            assert (tried, result.classes) == (tried, wanted(answer, action, size))
            if set(result.classes) == {"held"}:
                assert answer.get("hint", "") in result.said, tried
            wish = answer.get("after_seconds")
            if wish is None or result.after_seconds is None:
                assert (tried, result.after_seconds) == (tried, wish)
            else:
                assert wish - 60 < result.after_seconds <= wish, tried
            assert len(server.received) <= 2 * size, tried


@pytest.mark.parametrize(("provider", "answer"), LOOKUPS)
async def test_an_answer_to_the_check_at_start(provider: Provider, answer: dict[str, Any]) -> None:
    async with Server(provider) as server:
        result = await start(provider, server, answer)
        assert result.classes == (answer["expected"]["verify"],)
        assert answer.get("hint", "") in result.said


@pytest.mark.parametrize(("provider", "shape"), REQUESTS)
async def test_a_request_has_the_documented_shape(provider: Provider, shape: dict[str, Any]) -> None:
    pushes = provider.pushes(shape["action"], shape["pushes"])
    async with Server(provider) as server:
        result = await call(provider, server, pushes, None)
        assert result.classes == ("accepted",) * len(pushes)
        (received,) = server.received
    values = {"target": provider.facts["target"], "address": pushes[0].address, "correlation_id": pushes[0].push_id}
    assert (received.method, received.path) == (shape["method"], expanded(shape["path"], values))
    for name, value in shape.get("headers", {}).items():
        assert received.headers[name.lower()] == expanded(value, values), name
    if "body" in shape:
        assert json.loads(received.body) == expanded(shape["body"], values, pushes)
    elif "form" in shape:
        assert form_of(received.body) == expanded(shape["form"], values, pushes)
    else:
        assert received.body == b""


@pytest.mark.parametrize("provider", providers(), ids=lambda each: each.name)
def test_the_facts_name_their_sources(provider: Provider) -> None:
    facts = provider.facts
    assert facts["connector"] in CATALOGUE
    names = [each["name"] for each in facts["answers"]]
    assert len(names) == len(set(names))
    for each in (*facts["requests"], *facts["answers"]):
        assert each["source"] in ("assumed", *facts["sources"])
    for each in provider.answers():
        for action, size in provider.action_sizes:
            assert each.get("lookup") or set(wanted(each, action, size)) <= set(CLASSES)


def test_the_page_is_the_one_the_facts_give() -> None:
    assert PAGE.read_text("utf-8").splitlines() == list(lines()), (
        "run: python -m tests.contract.provider_answers_page > docs/provider-answers.md"
    )

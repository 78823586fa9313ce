"""/docs loads nothing from anywhere, and can be switched off."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from consent_http import api_docs
from suppression.gate.app import create_app
from suppression.gate.contract import EXAMPLES
from suppression.gate.metrics import GateMetrics


def gate(*, docs: bool) -> TestClient:
    return TestClient(create_app(None, GateMetrics.on(CollectorRegistry()), docs=docs))  # type: ignore[arg-type]


def test_the_page_describes_every_path_without_scripts_or_other_hosts() -> None:
    answer = gate(docs=True).get("/docs")
    assert answer.status_code == 200
    assert "POST /v1/check" in answer.text
    assert '<details id="CheckRequest">' in answer.text
    assert not re.search(r"<script|<link|<img|<iframe|@import|url\(|https?://|javascript:|\son\w+=", answer.text)
    links = re.findall(r'href="([^"]+)"', answer.text)
    assert links
    for each in links:
        assert each == "openapi.json" or f'id="{each[1:]}"' in answer.text


def test_each_operation_has_a_call_to_copy_and_an_answer() -> None:
    answer = html.unescape(gate(docs=True).get("/docs").text)
    for example in EXAMPLES["CheckRequest"]:
        assert json.dumps(example, indent=2) in answer
    assert 'curl -s -X POST \\\n  "$URL/v1/check" \\\n  -H "Authorization: Bearer $KEY"' in answer
    assert json.dumps(EXAMPLES["CheckResponse"][0], indent=2) in answer


def test_its_policy_permits_its_style_and_nothing_else() -> None:
    answer = gate(docs=True).get("/docs")
    policy = answer.headers["content-security-policy"]
    style = re.search(r"<style>(.*)</style>", answer.text)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")
    assert not re.search(r"\sstyle=", answer.text)


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/redoc", "/docs/oauth2-redirect"])
def test_it_can_be_switched_off(path: str) -> None:
    assert gate(docs=False).get(path).status_code == 404


def test_there_is_no_page_of_the_framework() -> None:
    for path in ("/redoc", "/docs/oauth2-redirect"):
        assert gate(docs=True).get(path).status_code == 404


def test_texts_of_the_description_are_texts() -> None:
    app = FastAPI(title="<b>x</b>", description="a & <script>b</script>", **api_docs.urls(enabled=True))

    @app.get("/{name}", summary="<i>y</i>", description='"<u>z</u>"')
    def named(name: str) -> None:
        """Nothing."""

    shown = api_docs.page(app.openapi())
    assert "&lt;b&gt;x&lt;/b&gt;" in shown
    assert "GET /{name}" in shown
    assert not re.search(r"<b>|<i>|<u>|<script", shown)

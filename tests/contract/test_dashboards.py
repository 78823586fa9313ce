"""The dashboards that are shipped are those of the program beside them, and ask for what is exported. # R40"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.programs import loaded
from tests.support.prometheus import exported, selectors

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
PROGRAM = loaded(ROOT / "deploy" / "grafana" / "generate.py")


def test_the_files_are_what_the_program_writes() -> None:
    written = {f"{each.uid.removeprefix('consent-relay-')}.json": each for each in PROGRAM.ALL}
    assert {file.name for file in FILES} == set(written)
    for file in FILES:
        assert file.read_text("utf-8") == PROGRAM.rendered(written[file.name]), "python deploy/grafana/generate.py"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_panel_answers_a_question_with_what_is_exported(file: Path) -> None:
    known = exported((ROOT / "docs" / "metrics.md").read_text("utf-8"))
    recorded = {
        rule["record"] for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]
    }
    dashboard = json.loads(file.read_text("utf-8"))
    for panel in dashboard["panels"]:
        assert panel["title"].endswith("?")
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        for query in panel["targets"]:
            _check(query["expr"], known, recorded)


def _check(expression: str, known: dict[str, Any], recorded: set[str]) -> None:
    for name, selector in selectors(expression):
        assert name in known, expression
        assert set(re.findall(r"(\w+)\s*[=!]", selector)) <= known[name], expression
    assert set(re.findall(r"\w+:consent_relay_\w+:\w+", expression)) <= recorded


def test_each_dashboard_is_a_config_map_that_grafana_s_sidecar_finds() -> None:
    kustomization = yaml.safe_load((ROOT / "deploy" / "grafana" / "kustomization.yaml").read_text("utf-8"))
    maps = kustomization["configMapGenerator"]
    assert sorted(file for each in maps for file in each["files"]) == [f"dashboards/{file.name}" for file in FILES]
    for each in maps:
        assert each["options"] == {"labels": {"grafana_dashboard": "1"}, "disableNameSuffixHash": True}
    # What `kubectl apply` notes of an object in its annotations.
    assert max(file.stat().st_size for file in FILES) < 200_000

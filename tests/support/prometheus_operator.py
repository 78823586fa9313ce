"""The schemas that the Prometheus operator publishes for its resources, as a Go module carries them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from tests.support.foreign_runtimes import fetched, runtime

_MODULE, _VERSION = "github.com/prometheus-operator/prometheus-operator", "v0.86.1"
_SUM = "h1:pHUuiRErcFb3nFDox7RxoxpEN0FyT24GtYOkr2GBu04="
"""Of the module, as Go computes it. It takes the place of Go's database of sums, which is not everywhere to be had."""
_FILES = "example/prometheus-operator-crd/monitoring.coreos.com_{}s.yaml"


def operator_schemas(directory: Path, *kinds: str) -> dict[str, dict[str, Any]]:
    """By kind, the schema of its version v1, in which a field that it does not name is a fault. Where Go or the network
    cannot be had the test is left out."""
    words = ["env", f"GONOSUMDB={_MODULE}", "GOFLAGS=-mod=mod", runtime("go"), "mod", "download"]
    fetched([*words, f"{_MODULE}@{_VERSION}"], directory=directory)
    printed = subprocess.run(
        [*words, "-json", f"{_MODULE}@{_VERSION}"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    module = json.loads(printed.stdout)
    assert module["Sum"] == _SUM
    return {kind: _schema(Path(module["Dir"]) / _FILES.format(kind.lower())) for kind in kinds}


def _schema(file: Path) -> dict[str, Any]:
    definition = yaml.safe_load(file.read_text("utf-8"))
    [version] = [each for each in definition["spec"]["versions"] if each["name"] == "v1"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    _close(schema["properties"]["spec"])
    return schema


def _close(schema: dict[str, Any]) -> None:
    """The API server drops what is not named: a misspelt field would be lost without a word."""
    if "properties" in schema:
        schema.setdefault("additionalProperties", False)
    for each in (*schema.get("properties", {}).values(), schema.get("items")):
        if isinstance(each, dict):
            _close(each)


def faults(document: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    """What is wrong with it; of lists that are maps, keys that come twice, too."""
    found = [
        f"{'/'.join(map(str, each.absolute_path))}: {each.message}"
        for each in jsonschema.Draft202012Validator(schema).iter_errors(document)
    ]
    return found + list(_repeated(document, schema))


def _repeated(value: Any, schema: dict[str, Any]) -> list[str]:
    found = []
    keys = schema.get("x-kubernetes-list-map-keys", ())
    if keys and isinstance(value, list):
        named = [tuple(each.get(key) for key in keys) for each in value]
        found += [f"{each} comes twice" for each in {each for each in named if named.count(each) > 1}]
    if isinstance(value, dict):
        for name, each in value.items():
            found += _repeated(each, schema.get("properties", {}).get(name, {}))
    if isinstance(value, list):
        for each in value:
            found += _repeated(each, schema.get("items", {}))
    return found

"""Kustomizations: read as files, and built by the real program."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.support.foreign_runtimes import fetched, runtime

Document = dict[str, Any]
KUSTOMIZE = "sigs.k8s.io/kustomize/kustomize/v5@v5.7.1"


def read(directory: Path) -> list[Document]:
    """The resources that a kustomization without patches names, and its ConfigMaps, without what it adds to them."""
    kustomization = yaml.safe_load((directory / "kustomization.yaml").read_text())
    assert "patches" not in kustomization
    found = [
        document
        for name in kustomization.get("resources", ())
        for document in yaml.safe_load_all((directory / name).read_text())
    ]
    for each in kustomization.get("configMapGenerator", ()):
        data = dict(literal.split("=", 1) for literal in each["literals"])
        found.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": each["name"]}, "data": data})
    return found


def built(kustomization: Path, directory: Path) -> list[Document]:
    """What `kubectl apply -k` would send. The program is kubectl's or kustomize itself, or is built by Go in the
    directory; where none of the three can be had the test is left out."""
    done = subprocess.run(
        [*_program(directory), kustomization], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document is not None]


def _program(directory: Path) -> list[str | Path]:
    if kustomize := shutil.which("kustomize"):
        return [kustomize, "build"]
    if kubectl := shutil.which("kubectl"):
        return [kubectl, "kustomize"]
    go = runtime("go")
    fetched(["env", f"GOBIN={directory}", go, "install", KUSTOMIZE], directory=directory)
    return [directory / "kustomize", "build"]

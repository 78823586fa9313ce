"""consent-relay-client: what it requires, what it holds, and that it needs no more. # R31"""

from __future__ import annotations

import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.client_distribution import SOURCE, build, installed, run, unpacked_sdist

pytestmark = pytest.mark.long

REQUIRED = {"confluent-kafka", "cryptography", "fastavro", "phonenumbers"}
IMPORT_ALL = """
import importlib, pkgutil, sys
EXTRA = {"consent_client.metrics"}  # of the extra `metrics`
import consent_client, consent_contracts, consent_kafka, consent_privacy, consent_service
for package in (consent_client, consent_contracts, consent_kafka, consent_privacy, consent_service):
    for module in pkgutil.iter_modules(package.__path__):
        if (name := f"{package.__name__}.{module.name}") not in EXTRA:
            importlib.import_module(name)
from consent_contracts.schemas import RECORD_NAMES, released_schemas, schema_text
print(len([schema_text(name) for name in RECORD_NAMES if released_schemas(name)]))
from consent_privacy.addresses import canonical
print(canonical("email", "ann@straße.de", default_region="FR"), canonical("sms", "06 39 98 12 34", default_region="FR"))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", SOURCE, tmp_path_factory.mktemp("dist"))


def test_it_requires_four_distributions_and_no_more(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode())
        assert "consent_client/py.typed" in archive.namelist()
    assert metadata["Name"] == "consent-relay-client"
    required = [Requirement(each) for each in metadata.get_all("Requires-Dist", [])]
    assert {each.name for each in required if each.marker is None} == REQUIRED
    assert [str(each) for each in required if each.marker] == ['prometheus-client>=0.21; extra == "metrics"']
    assert "SuppressionList.open" in str(metadata.get_payload())


def test_it_has_the_version_of_the_services() -> None:
    ours, theirs = (
        tomllib.loads((directory / "pyproject.toml").read_text("utf-8"))["project"]["version"]
        for directory in (SOURCE, SOURCE.parents[1])
    )
    assert ours == theirs


def test_the_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    from_sdist = build("wheel", unpacked_sdist(tmp_path), tmp_path)
    assert contents(from_sdist) == contents(wheel)


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_all_of_it_imports_and_works_with_nothing_else(wheel: Path, tmp_path: Path) -> None:
    file = tmp_path / "import_all.py"
    file.write_text(IMPORT_ALL, encoding="utf-8")
    ended = run(installed(wheel, tmp_path / "site"), file)
    assert ended.stdout.split() == ["10", "ann@xn--strae-oqa.de", "+33639981234"], ended.stderr

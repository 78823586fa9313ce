"""The Java and the Go of docs/reading-the-list.md, and every way it shows to compute an address key, run unchanged.

An entry is read with Avro's own Java library, generic and by generated classes (R24)."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from consent_contracts import AddressEntry, Codec, Decision, Topics, entry_to_avro, schemas
from consent_contracts.truth_table import vectors
from local_stack.servers.java import BRIEF, java
from local_stack.servers.packages import installed
from tests.support.foreign_runtimes import fetched, runtime
from tests.support.shown_readers import PAGE, shown

pytestmark = pytest.mark.long

JAVA, GO = (Path(__file__).with_name(name) for name in ("java", "go"))
PURPOSES = {"given": "newsletter", "expired": "survey", "refused": "promotions"}
VERDICTS = [("newsletter", "true"), ("survey", "false"), ("promotions", "false"), ("unheard-of", "false")]
TOPIC = Topics().suppression("sms")
FAR = 4_000_000_000_000_000
"""The year 2096, in microseconds."""
KEYS = [case for case in vectors("addresses") if case["of"] == "address_key"]


class Ids:
    def id_of(self, subject: str, schema_text: str) -> int:
        return 1

    def schemas_of(self, subject: str) -> dict[int, str]:
        return {}


class JavaTool:
    """A directory of classes, compiled and run by the Java that comes as a wheel. It has no compiler: that is a jar."""

    def __init__(self, directory: Path) -> None:
        self._classes = directory / "classes"
        self._classes.mkdir()
        jars = [str(each) for each in installed("avro").glob("*.jar")]
        self._path = ":".join([*jars, str(self._classes)])

    def run(self, main: str, *arguments: object, **properties: str) -> subprocess.CompletedProcess[str]:
        given = [f"-D{name}={value}" for name, value in properties.items()]
        words = [BRIEF, *given, "-cp", self._path, main, *map(str, arguments)]
        return subprocess.run(
            java(heap="256m", arguments=words), capture_output=True, text=True, timeout=300, check=False
        )

    def compile(self, *sources: Path) -> None:
        main = "org.eclipse.jdt.internal.compiler.batch.Main"
        options = ("-source", "17", "-target", "17", "-nowarn", "-cp", self._path, "-d", self._classes)
        ended = self.run(main, *options, *sources)
        assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("java")


@pytest.fixture(scope="module")
def schema(directory: Path) -> Path:
    file = directory / "SuppressionEntry.avsc"
    file.write_text(schemas.schema_text("SuppressionEntry"), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def tool(directory: Path, schema: Path) -> JavaTool:
    """The reader of the page, with classes generated as the Maven plugin does."""
    generated = directory / "generated"
    sources = [directory / f"{name}.java" for name in ("Entries", "AddressKeys")]
    for source in sources:
        source.write_text(shown("java", f"class {source.stem}"), encoding="utf-8")
    tool = JavaTool(directory)
    tool.compile(JAVA / "Generate.java")
    ended = tool.run("Generate", schema, generated)
    assert ended.returncode == 0, ended.stderr
    tool.compile(generated, *sources, JAVA / "Harness.java", JAVA / "Keys.java")
    return tool


@pytest.fixture(scope="module")
def entry(directory: Path) -> Path:
    decisions = tuple(
        Decision(
            decision_id=f"d-{purpose}",
            subject_ref="ann",
            purpose=purpose,
            status="refused" if kind == "refused" else "given",
            effective_at=10_000_000,
            recorded_at=10_000_000,
            expires_at={"given": FAR, "expired": 20_000_000}.get(kind),
        )
        for kind, purpose in PURPOSES.items()
    )
    made = AddressEntry(
        tenant="acme", channel="sms", address_key="h1.q83v", sealed_address=b"s1:a", decisions=decisions
    )
    file = directory / "entry"
    file.write_bytes(Codec(Ids()).encode(TOPIC, entry_to_avro(made, written_at=11_000_000)))
    return file


@pytest.mark.parametrize(("purpose", "permitted"), VERDICTS)
def test_the_official_library_reads_an_entry_generic_and_by_generated_classes(  # R24
    tool: JavaTool, schema: Path, entry: Path, purpose: str, permitted: str
) -> None:
    trusted = {"org.apache.avro.SERIALIZABLE_PACKAGES": "relay.consent.v1"}
    ended = tool.run("Harness", schema, purpose, entry, **trusted)
    assert ended.stdout.split() == [permitted, permitted], ended.stderr


def test_generated_classes_are_refused_without_the_property_that_the_page_names(
    tool: JavaTool, schema: Path, entry: Path
) -> None:
    ended = tool.run("Harness", schema, "newsletter", entry)
    assert "Forbidden relay.consent.v1.SuppressionEntry!" in ended.stderr
    assert "-Dorg.apache.avro.SERIALIZABLE_PACKAGES=relay.consent.v1" in PAGE.read_text("utf-8")


def test_java_computes_the_address_keys(tool: JavaTool) -> None:  # R12
    assert tool.run("Keys", *(word for case in KEYS for word in words(case))).stdout.split() == wanted()


def test_python_computes_the_address_keys() -> None:  # R12
    names: dict[str, Any] = {}
    exec(shown("python", "def address_key"), names)  # Unchanged from the page.
    found = [
        names["address_key"](base64.b64decode(secret), *others) for secret, *others in (words(case) for case in KEYS)
    ]
    assert found == wanted()


def test_node_computes_the_address_keys(directory: Path) -> None:  # R12
    file = directory / "keys.js"
    main = (
        "for (const [secret, ...others] of JSON.parse(process.argv[2]))"
        " console.log(addressKey(Buffer.from(secret, 'base64'), ...others));"
    )
    file.write_text(shown("js", "addressKey =") + main, encoding="utf-8")
    printed = run([runtime("node"), file, json.dumps([words(case) for case in KEYS])])
    assert printed.split() == wanted()


def test_go_reads_an_entry_and_computes_the_address_keys(directory: Path, schema: Path, entry: Path) -> None:  # R12 R24
    """One test, as Go takes a while to compile."""
    source = directory / "go"
    shutil.copytree(GO, source)
    for number, part in enumerate(("func permits", "func addressKey")):
        (source / f"shown{number}.go").write_text(shown("go", part), encoding="utf-8")
    tool = directory / "reader"
    fetched([runtime("go"), "mod", "download"], directory=source)
    run([runtime("go"), "build", "-o", tool, "."], cwd=source)
    lines = "".join("\t".join(words(case)) + "\n" for case in KEYS)
    for purpose, permitted in VERDICTS:
        assert run([tool, schema, purpose, entry], given=lines).split() == [permitted, *wanted()]


def words(case: dict[str, str]) -> list[str]:
    return [case[name] for name in ("secret_base64", "key_id", "tenant", "channel", "canonical")]


def wanted() -> list[str]:
    return [case["address_key"] for case in KEYS]


def run(words: Sequence[str | Path], *, cwd: Path | None = None, given: str = "") -> str:
    ended = subprocess.run(words, cwd=cwd, input=given, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout

"""The Java of docs/reading-the-list.md, run with the official Avro library, generic and by generated classes (R24)."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from consent_contracts import Codec, Decision, Entry, Topics, schemas, suppression_datum
from local_stack.servers.java import BRIEF, java
from local_stack.servers.packages import installed
from tests.support.shown_readers import PAGE

SOURCES = Path(__file__).with_name("java")
PURPOSES = {"given": "newsletter", "expired": "survey", "refused": "promotions"}
TOPIC = Topics().suppression("sms")
FAR = 4_000_000_000_000_000
"""The year 2096, in microseconds."""


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
    file.write_text(schemas.text("SuppressionEntry"), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def tool(directory: Path, schema: Path) -> JavaTool:
    """The reader of the page, with classes generated as the Maven plugin does."""
    [shown] = re.findall(r"```java\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    entries, generated = directory / "Entries.java", directory / "generated"
    entries.write_text(shown, encoding="utf-8")
    tool = JavaTool(directory)
    tool.compile(SOURCES / "Generate.java")
    ended = tool.run("Generate", schema, generated)
    assert ended.returncode == 0, ended.stderr
    tool.compile(generated, entries, SOURCES / "Harness.java")
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
    made = Entry(tenant="acme", channel="sms", address_key="h1.q83v", sealed_address=b"s1:a", decisions=decisions)
    file = directory / "entry"
    file.write_bytes(Codec(Ids()).encode(TOPIC, suppression_datum(made, written_at=11_000_000)))
    return file


@pytest.mark.parametrize(
    ("purpose", "permitted"),
    [("newsletter", "true"), ("survey", "false"), ("promotions", "false"), ("unheard-of", "false")],
)
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

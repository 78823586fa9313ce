"""Writes packages.lock again after a change of versions here: `python -m local_stack.servers.lock`."""

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from local_stack.servers.packages import LOCK_FILE

# kafka-clients is named because the resolver, left alone, takes an older one that another artifact asks for.
KAFKA = (
    "org.apache.kafka:kafka_2.13:4.3.1",
    "org.apache.kafka:kafka-clients:4.3.1",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.2",
)
# No server: the official reader, its generator of classes, and a compiler (contract test of Java readers).
AVRO = ("org.apache.avro:avro:1.12.2", "org.apache.avro:avro-compiler:1.12.2", "org.eclipse.jdt:ecj:3.43.0")
# No server either: the generator of clients, and what a client of its needs (contract test of generated clients). The
# generator's jar holds all that it needs, so its dependencies are not asked for.
OPENAPI = (
    "com.fasterxml.jackson.core:jackson-databind:2.22.1",
    "com.fasterxml.jackson.datatype:jackson-datatype-jsr310:2.22.1",
    "jakarta.annotation:jakarta.annotation-api:3.0.0",
    "org.eclipse.jdt:ecj:3.43.0",
)
GENERATOR = ("org.openapitools", "openapi-generator-cli", "7.25.0", "", "jar")
REGISTRY = ("io.apicurio", "apicurio-registry-app", "3.3.3", "all", "tar.gz")
# Kafka's commands for operators (the drill of the runbooks). What they need is in the set of the broker.
TOOLS = ("org.apache.kafka", "kafka-tools", "4.3.1", "", "jar")
HEADER = """\
# What the local servers are made of: set, group, artifact, version, classifier, packaging, bytes, SHA-256.
# Written by `python -m local_stack.servers.lock`; do not edit by hand.
"""


def lines(context: Any) -> Iterator[str]:
    """One line a package, downloaded for its checksum."""
    for set_name, coordinates in (("kafka", KAFKA), ("avro", AVRO), ("openapi", OPENAPI)):
        asked, found = context.resolver.resolve([context.create_dependency(each) for each in coordinates])
        for each in [*asked, *(each for each in found if each.scope in ("compile", "runtime"))]:
            yield _line(set_name, each.artifact)
    alone = (("registry", REGISTRY), ("openapi", GENERATOR), ("kafka-tools", TOOLS))
    for set_name, (group, artifact, version, classifier, packaging) in alone:
        component = context.project(group, artifact).at_version(version)
        yield _line(set_name, component.artifact(classifier, packaging))


def _line(set_name: str, artifact: Any) -> str:
    content = Path(artifact.resolve()).read_bytes()
    name = f"{set_name} {artifact.groupId} {artifact.artifactId} {artifact.version} {artifact.classifier or '-'}"
    return f"{name} {artifact.packaging} {len(content)} {hashlib.sha256(content).hexdigest()}"


def main() -> None:
    from jgo.maven import MavenContext, PythonResolver

    with tempfile.TemporaryDirectory() as scratch:
        context = MavenContext(resolver=PythonResolver(), repo_cache=Path(scratch), timeout=60)
        LOCK_FILE.write_text(HEADER + "\n".join(sorted(lines(context))) + "\n")


if __name__ == "__main__":
    main()

"""The archive from which the Java servers start: written by the first run, used by the next, never half of one."""

from pathlib import Path

import pytest

from local_stack.servers.java import archive_of, java


def flags(archive: Path) -> list[str]:
    return [each for each in java(heap="64m", arguments=["-version"], archive=archive) if "AOT" in each]


def test_the_first_run_writes_the_archive(tmp_path: Path) -> None:
    assert flags(tmp_path / "kafka.aot") == [f"-XX:AOTCacheOutput={tmp_path / 'kafka.aot'}"]


def test_the_next_run_starts_from_it(tmp_path: Path) -> None:
    archive = tmp_path / "kafka.aot"
    archive.write_bytes(b"\xa2\xab\x0b\xf0 and so on")
    assert flags(archive) == [f"-XX:AOTCache={archive}"]


@pytest.mark.parametrize("left", [b"", bytes(4_096)])
def test_one_that_was_left_half_written_is_written_again(tmp_path: Path, left: bytes) -> None:
    archive = tmp_path / "kafka.aot"
    archive.write_bytes(left)
    assert flags(archive) == [f"-XX:AOTCacheOutput={archive}"]


def test_each_java_has_an_archive_of_its_own_beside_the_packages() -> None:
    archive = archive_of(Path("/cache/kafka-0123"))
    assert archive.parent == Path("/cache")
    assert archive.name.startswith("kafka-0123-java-")

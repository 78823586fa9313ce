"""The download cache: complete or absent."""

import threading
from pathlib import Path

import pytest

from local_stack.errors import DownloadFailedError
from local_stack.servers import packages
from local_stack.servers.download_bar import Download
from local_stack.servers.packages import Package


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "consent-relay"


def test_every_server_is_locked_to_one_version_and_a_checksum() -> None:
    kafka = {package.artifact: package for package in packages.locked("kafka")}
    assert kafka["kafka_2.13"].version == kafka["kafka-clients"].version == "4.3.1"
    assert [package.version for package in packages.locked("registry")] == ["3.3.3"]
    assert all(len(package.sha256) == 64 for package in kafka.values())


def test_a_set_appears_only_when_all_of_it_came(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def some_come(package: Package, scratch: Path, progress: Download, stop: threading.Event) -> Path:
        if package.artifact == "kafka_2.13":
            raise DownloadFailedError("the network failed")
        file = scratch / f"{package.artifact}.jar"
        file.write_bytes(b"")
        return file

    monkeypatch.setattr(packages, "fetch", some_come)
    with pytest.raises(DownloadFailedError, match="the network failed"):
        packages.installed("kafka")
    assert [path.name for path in cache.iterdir()] == ["kafka.lock"]


def test_a_set_in_the_cache_is_not_fetched_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []

    def comes(package: Package, scratch: Path, progress: Download, stop: threading.Event) -> Path:
        fetched.append(package.artifact)
        file = scratch / f"{package.artifact}.jar"
        file.write_bytes(b"jar")
        return file

    monkeypatch.setattr(packages, "fetch", comes)
    first = packages.installed("kafka")
    count = len(fetched)
    assert packages.installed("kafka") == first
    assert len(fetched) == count == len(list(first.glob("*.jar")))


def test_a_file_with_another_checksum_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "kafka.jar"
    file.write_bytes(b"something else")
    with pytest.raises(DownloadFailedError, match="SHA-256"):
        packages.verify(file, packages.locked("kafka")[0])

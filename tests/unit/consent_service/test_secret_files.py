"""A secret is replaced without a restart; a bad file changes nothing, and shows."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from consent_service.health import Health
from consent_service.secret_files import SecretFile, SecretWatch
from tests.support.certificates import Authority, end_of
from tests.support.waiting import until


class EmptyError(Exception):
    """What the reader of these tests raises."""


def secret(path: Path, *, kept: bool = True, clock: Callable[[], float] = time.monotonic) -> SecretFile[str]:
    def read() -> str:
        text = path.read_text().strip() if path.exists() else ""
        if not text:
            raise EmptyError(f"{path.name} is empty")
        return text

    return SecretFile("key", [path], read, errors=(EmptyError,), kept=kept, clock=clock)


def projected(directory: Path, revision: str, text: str) -> Path:
    """What Kubernetes mounts: the file is a link into `..data`, a link to the directory of one revision."""
    (directory / revision).mkdir()
    (directory / revision / "key").write_text(text)
    beside = directory / "..data_tmp"
    beside.symlink_to(revision)
    beside.replace(directory / "..data")
    path = directory / "key"
    if not path.is_symlink():
        path.symlink_to("..data/key")
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text("first")
    return path


def test_a_file_that_is_written_in_place_is_read_again(path: Path) -> None:
    file = secret(path)
    path.write_text("second")
    file.refresh()
    assert file.value == "second"


def test_a_change_that_the_time_of_modification_does_not_show_is_seen(path: Path) -> None:
    file = secret(path)
    file.refresh()
    before = path.stat()
    path.write_text("other")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    file.refresh()
    assert file.value == "other"


def test_a_file_that_is_replaced_by_a_rename_is_read_again(path: Path) -> None:
    file = secret(path)
    beside = path.with_name("beside")
    beside.write_text("second")
    beside.replace(path)
    file.refresh()
    assert file.value == "second"


def test_kubernetes_replaces_the_directory_behind_the_link(tmp_path: Path) -> None:
    file = secret(projected(tmp_path, "..1", "first"))
    assert file.value == "first"
    projected(tmp_path, "..2", "second")
    file.refresh()
    assert file.value == "second"


def test_the_value_is_the_same_object_until_the_contents_change(path: Path) -> None:
    file = secret(path)
    first, read_at = file.value, file.read_at
    for _ in range(3):
        path.touch()
        file.refresh()
    assert file.value is first
    assert file.read_at == read_at


@pytest.mark.parametrize("bad", ["empty", "missing"])
def test_a_bad_file_keeps_the_value_until_it_is_mended(path: Path, bad: str) -> None:
    file = secret(path)
    path.write_text("") if bad == "empty" else path.unlink()
    for _ in range(2):
        file.refresh()
    assert file.value == "first"
    assert file.error == "key is empty; the one before is in use"
    assert file.failures == 2
    path.write_text("second")
    file.refresh()
    assert (file.value, file.error) == ("second", "")


def test_a_bad_file_that_gets_its_old_contents_back_is_good_again(path: Path) -> None:
    file = secret(path)
    path.write_text("")
    file.refresh()
    path.write_text("first")
    file.refresh()
    assert (file.value, file.error) == ("first", "")


def test_what_a_bad_file_revokes_is_not_given_out(path: Path) -> None:
    file = secret(path, kept=False)
    path.write_text("")
    file.refresh()
    with pytest.raises(EmptyError):
        _ = file.value
    assert file.error == "key is empty; none is in use"
    path.write_text("first")
    file.refresh()
    assert file.value == "first"


def test_the_first_reading_raises(tmp_path: Path) -> None:
    with pytest.raises(EmptyError):
        secret(tmp_path / "missing")


@pytest.fixture
def watched(path: Path) -> Iterator[tuple[SecretFile[str], Health, CollectorRegistry]]:
    registry, health, file = CollectorRegistry(), Health(), secret(path)
    watch = SecretWatch(registry, health, every=0.01)
    watch.follow(file)
    watch.start()
    yield file, health, registry
    watch.close()


def test_it_is_known_for_how_long_a_file_could_not_be_used_whatever_the_reason(path: Path) -> None:
    now = 100.0
    file = secret(path, clock=lambda: now)
    assert file.failing_seconds == 0
    for fault in (lambda: path.write_text(""), lambda: path.write_bytes(b"\xff")):
        fault()
        for _ in range(3):
            with contextlib.suppress(UnicodeDecodeError):  # Which no reader of these tests foresees.
                file.refresh()
            now += 10
        assert file.failing_seconds == 30
        path.write_text("first")
        file.refresh()
        assert file.failing_seconds == 0


def test_the_watch_reads_again_and_reports(
    path: Path, watched: tuple[SecretFile[str], Health, CollectorRegistry]
) -> None:
    file, health, registry = watched

    def metric(name: str) -> float:
        return registry.get_sample_value(f"consent_relay_secret_file_{name}", {"secret": "key"}) or 0.0

    first = metric("last_read_timestamp_seconds")
    assert metric("reload_errors_total") == 0
    path.write_text("")
    until(lambda: metric("reload_errors_total") >= 2)
    assert health.notes() == ["secret key: key is empty; the one before is in use"]
    assert health.readiness() == (True, [])
    path.write_text("second")
    until(lambda: file.value == "second" and not health.notes())
    assert metric("last_read_timestamp_seconds") > first


def test_the_end_of_a_certificate_is_shown(tmp_path: Path) -> None:
    signed = Authority.create(tmp_path, "authority").sign("relay")
    registry = CollectorRegistry()
    watch = SecretWatch(registry, Health())
    watch.certificate("kafka-certificate", signed.both)
    watch.certificate("registry-certificate", None)
    name = "consent_relay_secret_file_valid_until_timestamp_seconds"
    assert registry.get_sample_value(name, {"secret": "kafka-certificate"}) == end_of(signed.certificate)
    assert registry.get_sample_value(name, {"secret": "registry-certificate"}) is None


def test_a_file_of_authorities_ends_with_the_last_and_one_that_cannot_be_read_has_no_end(tmp_path: Path) -> None:
    old, new = (Authority.create(tmp_path, name, days=days).file for name, days in (("old", 1), ("new", 90)))
    both, wrong = tmp_path / "both.pem", tmp_path / "wrong.pem"
    both.write_bytes(new.read_bytes() + old.read_bytes())
    wrong.write_text("no certificate")
    registry = CollectorRegistry()
    watch = SecretWatch(registry, Health())
    for name, path in {"both": both, "wrong": wrong, "absent": tmp_path / "absent.pem", "unset": None}.items():
        watch.authorities(name, path)
        watch.certificate(f"{name}-certificate", path)
    metric = "consent_relay_secret_file_valid_until_timestamp_seconds"
    shown = {
        each.labels["secret"]: each.value
        for found in registry.collect()
        for each in found.samples
        if each.name == metric
    }
    assert shown == {"both": end_of(new), "both-certificate": end_of(old)}


def test_a_secret_that_is_fetched_is_reported_as_one_in_a_file() -> None:
    registry, health = CollectorRegistry(), Health()
    report = SecretWatch(registry, health).fetched("access-token-keys")
    labels = {"secret": "access-token-keys"}
    report("its URL answers 500")
    assert registry.get_sample_value("consent_relay_secret_file_reload_errors_total", labels) == 1
    assert health.notes() == ["secret access-token-keys: its URL answers 500"]
    report("")
    assert registry.get_sample_value("consent_relay_secret_file_reload_errors_total", labels) == 1
    assert (registry.get_sample_value("consent_relay_secret_file_last_read_timestamp_seconds", labels) or 0) > 0
    assert health.notes() == []

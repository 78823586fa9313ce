"""A tool's own list, opened with one call, on real servers (R31)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consent_client import (
    AsyncSuppressionList,
    KeyFileError,
    ListNotReadyError,
    ListRefusedError,
    StalenessLimits,
    SuppressionList,
    ViewState,
    registers,
)
from consent_client.registers import RegisterLimit
from consent_contracts.topics import Topics
from consent_privacy import keyring_file
from local_stack.ports import free_port
from tests.client_distribution import SOURCE, build, installed, run
from tests.integration.gate.entries import Entries, decision
from tests.support.list_resolved import ResolvedWriter
from tests.support.waiting import until

PHONE = "06 39 98 00 01"
OTHER = "+33639980002"
Options = dict[str, Any]


@pytest.fixture(scope="session")
def key_file(keyring_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hash keys alone, of one tenant."""
    target = tmp_path_factory.mktemp("keys") / "acme.hash-keys.toml"
    _export(keyring_file, target)
    return target


def _export(source: Path, target: Path) -> None:
    keyring_file.export(source, target, ["acme"], hash_only=True)


@pytest.fixture
def options(kafka: str, registry_url: str, key_file: Path, topics: Topics) -> Options:
    return {
        "kafka": kafka,
        "registry": registry_url,
        "key_file": key_file,
        "channel": "sms",
        "topic_prefix": topics.prefix,
    }


def test_one_call_opens_a_list_that_can_be_asked(
    options: Options, entries: Entries, resolving: ResolvedWriter
) -> None:  # R31
    given = decision("promotions")
    entries.write("sms", PHONE, given)
    entries.write("sms", OTHER, decision("promotions", "withdrawn"))
    with SuppressionList.open(**options) as list_:
        until(lambda: list_.state.entries == 2)
        answers = list_.check([PHONE, OTHER, "+33639980003", "no number"], "promotions")
        assert [each.permits() for each in answers] == [True, False, False, False]
        assert [each.reason for each in answers] == ["given", "withdrawn", "unknown", "invalid_address"]
        assert answers[0].decision_id == given.decision_id
        assert list_.permits(PHONE, "promotions")
        assert list_.ready
        assert list_.age is not None
        with pytest.raises(TypeError, match="list"):
            list_.check(PHONE, "promotions")
    assert "view-sms" not in {each.name for each in threading.enumerate()}


def test_a_register_that_is_too_old_is_no_answer(
    options: Options, entries: Entries, resolving: ResolvedWriter, tmp_path: Path
) -> None:  # R22
    entries.write("sms", PHONE, decision("promotions"), decision("survey"))
    limit = RegisterLimit(name="tps", tenant="acme", channels=("sms",), purposes=("promotions",), stale_at=1)
    path = tmp_path / "registers.json"
    registers.write(path, [limit])
    with SuppressionList.open(**options, registers_file=path) as list_:
        until(lambda: list_.permits(PHONE, "survey"))
        with pytest.raises(ListNotReadyError, match="the register tps is older than it may be"):
            list_.permits(PHONE, "promotions")
        registers.write(path, [replace(limit, stale_at=None)])
        assert list_.permits(PHONE, "promotions")


async def test_the_same_for_asyncio(options: Options, entries: Entries, resolving: ResolvedWriter) -> None:  # R31
    entries.write("sms", PHONE, decision("promotions"))
    async with AsyncSuppressionList.open(**options) as list_:
        await list_.wait_ready(30)
        until(lambda: list_.state.entries == 1)
        assert list_.ready
        assert list_.age is not None
        assert [each.permits() for each in await list_.check([PHONE, OTHER], "promotions")] == [True, False]
        assert await list_.permits(PHONE, "promotions")


def test_a_stale_list_raises_or_denies_as_asked_and_reports_it(
    options: Options, entries: Entries, resolved: ResolvedWriter
) -> None:  # R31 R63
    entries.write("sms", PHONE, decision("promotions"))
    seen: list[ViewState] = []
    limits = StalenessLimits(live=1_000_000)
    with (
        SuppressionList.open(**options, ready_seconds=0, limits=limits, on_state=seen.append) as raising,
        SuppressionList.open(**options, ready_seconds=0, limits=limits, on_stale="deny") as denying,
    ):
        with resolved.running():
            raising.wait_ready(30)
            denying.wait_ready(30)
            until(lambda: denying.permits(PHONE, "promotions"), 30)
        until(lambda: not raising.ready and not denying.ready, 30)
        assert denying.check([PHONE], "promotions")[0].reason == "stale"
        with pytest.raises(ListNotReadyError, match="stale"):
            raising.check([PHONE], "promotions")
        with pytest.raises(ListNotReadyError, match="stale"):
            raising.wait_ready(0.1)
        until(lambda: seen and not seen[-1].usable, 30)
        assert seen[0].usable


def test_a_list_that_does_not_become_ready_is_not_opened(options: Options) -> None:
    with pytest.raises(ListNotReadyError, match=r"unknown|loading"):
        SuppressionList.open(**options, ready_seconds=1.0)
    with SuppressionList.open(**options, ready_seconds=0) as list_, pytest.raises(ListNotReadyError):
        list_.check([PHONE], "promotions")


def test_a_callback_that_fails_ends_no_thread(options: Options, resolving: ResolvedWriter) -> None:
    def fail(_: ViewState) -> None:
        raise RuntimeError("ours")

    with SuppressionList.open(**options, on_state=fail) as list_:
        until(lambda: list_.ready)


@pytest.fixture
def wrong(options: Options) -> Callable[..., SuppressionList]:
    return lambda **changes: SuppressionList.open(**{**options, "ready_seconds": 1.0, **changes})


def test_what_is_given_wrongly_is_named(wrong: Callable[..., SuppressionList], tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be read"):
        wrong(key_file=tmp_path / "nowhere.toml")
    with pytest.raises(KeyFileError, match="of acme"):
        wrong(tenant="globex")
    for name, value in {"on_stale": "ignore", "unknown": "yes", "default_region": "fr"}.items():
        with pytest.raises(ValueError, match=name):
            wrong(**{name: value})
    with pytest.raises(ListRefusedError, match=r"suppression\.smoke\.v1-value"):
        wrong(channel="smoke")
    with pytest.raises(ListNotReadyError, match="loading"):
        wrong(registry=f"http://127.0.0.1:{free_port()}", kafka=f"127.0.0.1:{free_port()}")


def test_it_is_named_what_a_list_waits_for(wrong: Callable[..., SuppressionList]) -> None:
    def waits_for() -> str:
        with pytest.raises(ListNotReadyError) as raised:
            list_.wait_ready(0)
        return raised.value.reason

    with wrong(kafka=f"127.0.0.1:{free_port()}", ready_seconds=0) as list_:
        until(lambda: waits_for() == "loading (Kafka: _TIMED_OUT)", 60)


def test_of_several_tenants_one_is_named(options: Options, tmp_path: Path) -> None:
    several = tmp_path / "several.toml"
    keyring_file.generate(several, ["acme", "globex"])
    with pytest.raises(KeyFileError, match="name one of acme, globex"):
        SuppressionList.open(**{**options, "key_file": several})


def test_the_example_runs_with_the_client_alone(
    options: Options, entries: Entries, resolving: ResolvedWriter, tmp_path: Path
) -> None:  # R31
    entries.write("sms", PHONE, decision("promotions"))
    entries.write("sms", OTHER, decision("promotions", "withdrawn"))
    numbers = tmp_path / "numbers.txt"
    numbers.write_text(f"{PHONE}\n{OTHER}\n+33639980003\nno-address\n", encoding="utf-8")
    site = installed(build("wheel", SOURCE, tmp_path), tmp_path / "site")
    where = [options[name] for name in ("kafka", "registry", "key_file")]

    def send() -> list[str]:
        ended = run(site, SOURCE / "examples" / "campaign.py", *where, numbers, options["topic_prefix"])
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.splitlines()

    # Usable as of some seconds ago, a list may still have to read what was written since.
    until(
        lambda: (
            send()
            == [
                f"sent to {PHONE}",
                f"not sent to {OTHER} withdrawn",
                "not sent to +33639980003 unknown",
                "not sent to no-address invalid_address",
            ]
        ),
        60,
    )

"""Which hash keys a view knows to be in use, and what a checker with an older keyring makes of it (R4, R12)."""

from collections.abc import Callable
from typing import cast

import pytest

from consent_client import Checker, ResolvedTimestamps, SuppressionView
from consent_contracts.codec import Codec
from consent_contracts.topics import Topics
from consent_privacy.keyring import Key, Keyring

MAC = b"." + b"A" * 43


@pytest.fixture
def view() -> SuppressionView:
    """A view that never reads."""
    codec = cast(Codec, None)
    timestamps = ResolvedTimestamps(topics=Topics(), codec=codec, bootstrap="127.0.0.1:1")
    return SuppressionView("sms", topics=Topics(), codec=codec, bootstrap="127.0.0.1:1", timestamps=timestamps)


@pytest.fixture
def checker(view: SuppressionView) -> Callable[..., Checker]:
    def of(*ids: str, tenant: str = "acme") -> Checker:
        keys = [Key(id=each, secret=bytes(32), primary=each == ids[-1]) for each in ids]
        keyring = Keyring(seal_keys=[Key(id="s1", secret=bytes(32))], hash_keys={tenant: keys})
        return Checker(view, keyring, tenant, default_region="FR")

    return of


def see(view: SuppressionView, tenant: str, *keys: bytes) -> None:
    for key in keys:
        view.key_ids.add(tenant, key)


def test_the_newest_key_id_is_kept_for_each_tenant(view: SuppressionView) -> None:
    see(view, "acme", b"h9" + MAC, b"h10" + MAC, b"h9" + MAC, b"h2" + MAC)
    see(view, "other", b"h1" + MAC)
    assert [view.newest_key_id(tenant) for tenant in ("acme", "other", "third")] == ["h10", "h1", None]


def test_what_is_no_key_id_is_not_kept(view: SuppressionView) -> None:  # R13
    see(view, "acme", b"h1" + MAC, b"+33639980001", b"+33639980001.x", b"someone@example.com", b"\xff\xfe\xfd.", b"h3")
    assert view.newest_key_id("acme") == "h1"


def test_a_checker_is_outdated_by_a_newer_key_only_and_only_its_own_tenant_s(
    view: SuppressionView, checker: Callable[..., Checker]
) -> None:
    assert checker("h2").is_older_than() is None
    see(view, "acme", b"h1" + MAC, b"h2" + MAC)
    assert [checker(*ids).is_older_than() for ids in (["h1"], ["h1", "h2"], ["h2"], ["h3"])] == ["h2", None, None, None]
    assert checker("h1", tenant="other").is_older_than() is None


def test_it_is_said_once_for_each_key(
    view: SuppressionView, checker: Callable[..., Checker], caplog: pytest.LogCaptureFixture
) -> None:
    behind = checker("h1")
    for key_id in (b"h2", b"h2", b"h3"):
        see(view, "acme", key_id + MAC)
        behind.is_older_than()
    assert [record.__dict__["key_id"] for record in caplog.records] == ["h2", "h3"]


def test_a_forged_key_id_makes_no_tenant_unavailable(
    view: SuppressionView, checker: Callable[..., Checker]
) -> None:  # R4 R45
    """The writer of one record can name any key in it; a key that is in use has as many entries as the older one."""
    see(view, "acme", *(b"h1." + b"%043d" % number for number in range(6)))
    see(view, "acme", b"z9" + MAC, b"h77" + MAC)
    assert checker("h1").is_older_than() is None
    see(view, "acme", b"h2" + MAC)
    assert checker("h1").is_older_than() == "h77"
    assert checker("h1", tenant="other").is_older_than() is None


def test_entries_that_have_gone_leave_their_key_in_use(view: SuppressionView, checker: Callable[..., Checker]) -> None:
    see(view, "acme", b"h1" + MAC, b"h2" + MAC)
    view.key_ids.remove("acme", b"h2" + MAC)
    assert checker("h1").is_older_than() == "h2"
    see(view, "acme", b"h1" + MAC, b"h1" + MAC, b"h2" + MAC)
    assert checker("h1").is_older_than() is None


def test_an_entry_that_is_written_again_counts_once(view: SuppressionView) -> None:
    for _ in range(3):
        see(view, "acme", b"h2" + MAC)
        view.key_ids.remove("acme", b"h2" + MAC)
    assert view.key_ids.most("acme") == {b"h2": 1}

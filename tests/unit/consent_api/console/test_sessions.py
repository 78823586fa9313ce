"""The ids of pages about a person."""

from __future__ import annotations

from consent_api.console import sessions
from consent_api.console.sessions import PAGE_MICROS, Subject
from consent_privacy.keyring import Keyring

NOW = 1_760_000_000_000_000
TOKEN, OTHER = "a-token-of-a-session", "the-token-of-another"
ADDRESS = Subject(address="+33639980001", channels=("sms", "voice"))


def test_the_id_of_a_page_opens_in_its_session_alone_and_not_for_long(keyring: Keyring) -> None:
    page_id = sessions.seal(keyring, TOKEN, ADDRESS, now=NOW)
    assert sessions.unseal(keyring, TOKEN, page_id, now=NOW + PAGE_MICROS - 1) == ADDRESS
    assert sessions.unseal(keyring, TOKEN, page_id, now=NOW + PAGE_MICROS) is None
    assert sessions.unseal(keyring, OTHER, page_id, now=NOW) is None
    changed = ("B" if page_id[20] != "B" else "C").join((page_id[:20], page_id[21:]))
    for wrong in ("", "x", changed, page_id[:-3], "A" * 3_000, "é", "../login", "=" * 9):
        assert sessions.unseal(keyring, TOKEN, wrong, now=NOW) is None


def test_the_id_of_a_page_shows_nothing_of_whom_it_is_about(keyring: Keyring) -> None:
    of = [Subject(subject_ref="c"), Subject(subject_ref="customer-4711"), ADDRESS]
    ids = [sessions.seal(keyring, TOKEN, each, now=NOW) for each in of]
    assert len({len(each) for each in ids}) == 1
    assert "4711" not in repr(of)
    assert "3363" not in repr(of)

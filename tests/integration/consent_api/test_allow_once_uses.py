"""One text confirms a STOP, in whichever form the number is written. # R18"""

from __future__ import annotations

from consent_api.ledger import allow_once
from consent_api.ledger.ledger import Ledger
from tests.integration.consent_api.accepted import decision

FORMS = ("+541155550100", "+5491155550100")


def test_one_text_confirms_a_stop_in_whichever_form_the_number_is_written(ledger: Ledger) -> None:
    ledger.record([decision("withdrawn", address=FORMS[0], purpose="*", evidence={"capture_method": "reply"})])
    keyring = ledger.context.keyring

    def issued(form: str) -> allow_once.AllowOnce | None:
        return ledger.transact(lambda c: allow_once.issue(c, keyring, ("acme", "sms", form)))

    tokens = [issued(each) for each in FORMS]

    def is_permitted(form: str) -> bool:
        (address_key,) = keyring.live_address_keys("acme", "sms", form)
        (token,) = {each.token for each in tokens if each is not None}
        return ledger.transact(
            lambda c: allow_once.redeem(c, keyring, tenant="acme", channel="sms", address_key=address_key, token=token)
        )

    assert [is_permitted(each) for each in (*FORMS, *FORMS)] == [True, False, False, False]

"""A failure that is about the address, and one that is not (R21)."""

import pytest

from consent_api.inbound.providers.base import Kind
from consent_api.inbound.providers.delivery_status import bounce

HARD, SOFT = Kind.HARD_BOUNCE, Kind.SOFT_BOUNCE


@pytest.mark.parametrize(
    ("status", "word", "expected"),
    [
        *((code, SOFT, HARD) for code in ("5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1", "5.01.01")),
        *((code, HARD, SOFT) for code in ("5.2.2", "5.2.3", "5.3.4", "5.6.1", "5.7.1", "5.7.26", "4.4.1", "4.1.1")),
        *((code, word, word) for code in ("5.0.0", "5.1.0", "5.4.1", "5.5.0") for word in (HARD, SOFT)),
        *((text, word, word) for text in ("", "no such user", "10.5.1.1") for word in (HARD, SOFT)),
        (None, HARD, HARD),
        (550, SOFT, SOFT),
        (["5.1.1"], SOFT, SOFT),
        ("smtp; 550 5.1.1 <x>: no such user", SOFT, HARD),
        ("550-5.7.26 unauthenticated", HARD, SOFT),
    ],
)
def test_a_status_code_counts_before_the_provider_s_word(status: object, word: Kind, expected: Kind) -> None:
    assert bounce(status, word) is expected

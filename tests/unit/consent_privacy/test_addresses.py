"""One spelling for each address, whatever way people write it (R10, R11), and no address in an error (R13)."""

import re
import unicodedata

import idna
import phonenumbers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consent_privacy import phones
from consent_privacy.addresses import canonical
from consent_privacy.errors import InvalidAddressError
from consent_privacy.invisible import REMOVED
from tests.support.tables import each_of


def read(channel: str, address: str, region: str = "FR") -> str:
    return canonical(channel, address, default_region=region)


def outcome(channel: str, address: str, region: str = "FR") -> str:
    try:
        return read(channel, address, region)
    except InvalidAddressError as error:
        return error.reason


@pytest.mark.parametrize(
    "written",
    [
        "06 39 98 12 34",
        "0639981234",
        "0033639981234",
        "+33 (0)6 39 98 12 34",
        "(+33) 6.39.98.12.34",
        "+33639981234",
        "33639981234",
        "０６３９９８１２３４",
        "+٣٣ ٦ ٣٩ ٩٨ ١٢ ٣٤",
        "06\u00a039\u202f98\u200912 34",
        "\u200e+33 6 39 98 12 34\u202c",
        "06\u201139\u201198\u201112\u201134",
        "＋33（0）639981234",
        "tel:+33639981234",
        "TEL: +33-6-39-98-12-34",
        "sms:0639981234",
        "'0639981234",
        '"+33 6 39 98 12 34"',
        "+33\u200c639\ufe0f98\u2062\u00ad12\u3164\U000e003134",
    ],
)
def test_every_way_to_write_a_french_number_is_one_number(written: str) -> None:  # R10
    assert read("sms", written) == read("voice", written) == "+33639981234"


@pytest.mark.parametrize(
    ("prefix", "code"),
    [
        ("692", "262"),
        ("693", "262"),
        ("690", "590"),
        ("691", "590"),
        ("696", "596"),
        ("697", "596"),
        ("694", "594"),
        ("639", "262"),
        ("262", "262"),
        ("590", "590"),
        ("594", "594"),
        ("596", "596"),
    ],
)
def test_numbers_that_exist_only_overseas_get_the_overseas_code(prefix: str, code: str) -> None:  # R10
    expected = f"+{code}{prefix}012345"
    for written in (f"0{prefix}012345", f"0{prefix[0]} {prefix[1:]} 01 23 45", f"+33{prefix}012345", expected):
        assert read("sms", written) == expected
        assert read("sms", written, "RE") == expected


def test_a_metropolitan_number_written_in_an_overseas_region_is_metropolitan() -> None:  # R10
    assert read("sms", "06 12 34 56 78", "RE") == read("sms", "0612345678", "MQ") == "+33612345678"


def test_reserved_ranges_are_accepted() -> None:  # R10
    assert read("sms", "+44 7700 900123") == "+447700900123"
    assert read("sms", "+44 (0)7700 900123") == "+447700900123"
    assert read("voice", "(201) 555-0123", "US") == "+12015550123"


def test_a_leading_zero_that_belongs_to_the_number_stays() -> None:
    assert read("voice", "+39 06 1234 5678") == "+390612345678"


@each_of(
    ("written", "reason"),
    [
        ("1-800-FLOWERS", "not_a_phone_number"),
        ("+33 6 39 98 12 3O", "not_a_phone_number"),
        ("+33639981234;ext=1", "not_a_phone_number"),
        ("tel:+33639981234;phone-context=+33", "not_a_phone_number"),
        ("tel:%2B33639981234", "not_a_phone_number"),
        ("whatsapp:+33639981234", "not_a_phone_number"),
        ("+33639981234 tel:", "not_a_phone_number"),
        ("3.36399812E+10", "not_a_phone_number"),
        ("+33639981234.0", "not_a_phone_number"),
        ("+33639981234 .00", "not_a_phone_number"),
        ("+33 6 3 9 9 8 1 2 3 4.0", "not_a_phone_number"),
        ("+4915112345678.0", "not_a_phone_number"),
        ("+4915112345678.00", "not_a_phone_number"),
        ("15 1234 5678", "too_short"),
        ("+33 6 39 98 \ufffd 12 34", "unreadable_characters"),
        ("06 39 98 12 34 / 06 39 98 12 35", "not_a_phone_number"),
        ("+", "not_a_phone_number"),
        ("+999 123456789", "not_a_phone_number"),
        ("12", "too_short"),
        ("3615", "too_short"),
        ("06399812", "too_short"),
        ("+3363998123456789", "too_long"),
        ("", "empty"),
        (" \u200e ", "empty"),
        ("0639981234\x00", "invalid_characters"),
        ("06\ud80039981234", "invalid_characters"),
        ("0" * 5000, "too_long"),
        ("someone@example.com", "not_a_phone_number"),
    ],
)
def test_what_is_no_phone_number_is_refused_with_a_code(written: str, reason: str) -> None:  # R10
    assert outcome("sms", written, "AR" if written.startswith("15") else "FR") == reason


def test_a_local_number_without_area_code_is_refused() -> None:
    assert outcome("voice", "555-0123", "US") == "too_short"


@each_of(
    ("written", "expected"),
    [
        (" Ann.Example+News@EXAMPLE.com\n", "ann.example+news@example.com"),
        ("ann@straße.de", "ann@xn--strae-oqa.de"),
        ("ann@STRAẞE.de", "ann@xn--strae-oqa.de"),
        ("ann@xn--strae-oqa.de", "ann@xn--strae-oqa.de"),
        ("ann@XN--STRAE-OQA.DE", "ann@xn--strae-oqa.de"),
        ("ann@example.com.", "ann@example.com"),
        ("E\u0301LODIE@example.com", "élodie@example.com"),
        ("ann＠example．com", "ann@example.com"),
        ("\ufeffann@example.com\u200b", "ann@example.com"),
        ("o'neil..x@example.com", "o'neil..x@example.com"),
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ("müller@example.com", "müller@example.com"),
        ("muller@example.com", "muller@example.com"),
        ("ａｎｎ．ｅｘａｍｐｌｅ＠example.com", "ann.example@example.com"),
        ("𝐚𝓷Ⓝ@example.com", "ann@example.com"),
        ("ﬁona@example.com", "fiona@example.com"),
        ("o’neil@example.com", "o'neil@example.com"),
        ("o‘neil@example.com", "o'neil@example.com"),
        ("oʼneil@example.com", "o'neil@example.com"),
        ("o´neil@example.com", "o'neil@example.com"),
        ("jean‑luc@exam‐ple.com", "jean-luc@exam-ple.com"),
        ("ann。b@example。com", "ann.b@example.com"),
        ("mailto:Ann@example.com", "ann@example.com"),
        ("Jean <jean@example.com>", "jean@example.com"),
        ('"Doe, Jean" <jean@example.com>', "jean@example.com"),
        ("<jean@example.com>", "jean@example.com"),
        ("Jean@Example.com <mailto:jean@example.com>", "jean@example.com"),
        ("'jean@example.com' <jean@example.com>", "jean@example.com"),
        ("＜jean@example.com＞", "jean@example.com"),
        ("'ann@example.com'", "ann@example.com"),
        ('"ann@example.com"', "ann@example.com"),
        ("“ann@example.com”", "ann@example.com"),
        ("‘ann@example.com’", "ann@example.com"),
        ("ann@example.com,", "ann@example.com"),
        ("ann@example.com ;", "ann@example.com"),
        ("ann@example.com.,", "ann@example.com"),
        ("50%deal@example.com", "50%deal@example.com"),
        ("mailto://ann@example.com", "ann@example.com"),
        ("İNCİ@example.com", "inci@example.com"),
        ("ınci@example.com", "ınci@example.com"),
        ("İNCİ@MAİL.EXAMPLE.COM", "inci@mail.example.com"),
        ("inci@mai\u0307l.example.com", "inci@mail.example.com"),
        ("o\ua78cneil@example.com", "o'neil@example.com"),
        ("o\u0374neil@example.com", "o'neil@example.com"),
        ("田中taro@example.com", "田中taro@example.com"),
        ("スーパー@example.com", "スーパー@example.com"),
        ("иван.ivanov@example.com", "иван.ivanov@example.com"),
        ("ann.@example.com", "ann.@example.com"),
        ("ｶﾞ@example.com", "ガ@example.com"),
        ("نامه\u200cای@example.com", "نامهای@example.com"),
    ],
)
def test_an_email_has_one_spelling(written: str, expected: str) -> None:  # R11
    assert read("email", written) == expected


@each_of(
    ("written", "reason"),
    [
        ("ann", "no_domain"),
        ("ann@", "no_domain"),
        ("@example.com", "no_local_part"),
        ("ann@localhost", "invalid_domain"),
        ("ann@192.0.2.1", "invalid_domain"),
        ("ann@[192.0.2.1]", "invalid_domain"),
        ("ann@exa_mple.com", "invalid_domain"),
        ("ann@-example.com", "invalid_domain"),
        ("ann@ab--cd.com", "invalid_domain"),
        ("ann@xn--a.com", "invalid_domain"),
        ("ann@example..com", "invalid_domain"),
        ("Ann <ann@example.com> or <ann@example.org>", "invalid_local_part"),
        ("marie@example.com <jean@example.com>", "invalid_local_part"),
        ("ann@example.com, bob@example.com", "invalid_local_part"),
        ("ann @example.com", "invalid_local_part"),
        ("ann@ example.com", "invalid_domain"),
        ("ann\u00a0b@example.com", "invalid_local_part"),
        ("ann\u2800@example.com", "invalid_local_part"),
        ("ann\u2028b@example.com", "invalid_local_part"),
        ("ann—b@example.com", "invalid_local_part"),
        ("'ann@example.com", "invalid_local_part"),
        ("`ann@example.com", "invalid_local_part"),
        ("«ann@example.com»", "invalid_local_part"),
        ("\u0301ann@example.com", "invalid_local_part"),
        ("ann²@example.com", "invalid_local_part"),
        ("ann™@example.com", "invalid_local_part"),
        ("ann\ufffc@example.com", "invalid_local_part"),
        ("ann\ue000@example.com", "invalid_local_part"),
        ("ann\u0378@example.com", "invalid_local_part"),
        ("m\ufffdller@example.com", "unreadable_characters"),
        ("m?ller@example.com", "unreadable_characters"),
        ("?????@example.com", "unreadable_characters"),
        ("\u0430nn@example.com", "mixed_alphabets"),
        ("ann@ex\u0430mple.com", "mixed_alphabets"),
        ("ν\u03bfam@example.com", "mixed_alphabets"),
        ("o''neil@example.com", "invalid_local_part"),
        ("O\u2019'Neil@example.com", "invalid_local_part"),
        ("o\u02beneil@example.com", "mixed_alphabets"),
        ("o\u02caneil@example.com", "mixed_alphabets"),
        ("o\u07f4neil@example.com", "mixed_alphabets"),
        ("o\u16ccneil@example.com", "mixed_alphabets"),
        ("jean\u2cbaluc@example.com", "mixed_alphabets"),
        ("jean\u30fcluc@example.com", "mixed_alphabets"),
        ("jean\uff70luc@example.com", "mixed_alphabets"),
        ("ann@a\u30fc\u30fcb.com", "mixed_alphabets"),
        ("jean\u3161luc@example.com", "mixed_alphabets"),
        ("ann@ex\u30fcample.com", "mixed_alphabets"),
        ("\u1d00\u0274\u0274@example.com", "invalid_local_part"),
        ("ann\u1e9b@example.com", "invalid_local_part"),
        ("ann@ex\ufffdmple.com", "unreadable_characters"),
        ("mÃ¼ller@example.com", "unreadable_characters"),
        ("josÃ\u00ads@example.com", "unreadable_characters"),
        ("oâ€™neil@example.com", "unreadable_characters"),
        ("ann%40example.com", "encoded"),
        ("ann%2Bnews@example.com", "encoded"),
        ("m%c3%bcller@example.com", "encoded"),
        ("=?utf-8?q?m=C3=BCller?=@example.com", "encoded"),
        ("ann&amp;bob@example.com", "invalid_local_part"),
        ("mailto:ann@example.com?subject=hi", "invalid_domain"),
        ("[ann@example.com](mailto:ann@example.com)", "invalid_local_part"),
        ("ann example@example.com", "invalid_local_part"),
        ("ann@ann@example.com", "invalid_local_part"),
        ('"ann"@example.com', "invalid_local_part"),
        ("a" * 65 + "@example.com", "too_long"),
        ("ann@" + "a." * 126 + "com", "too_long"),
        ("ann\x00@example.com", "invalid_characters"),
        ("+33639981234", "no_domain"),
    ],
)
def test_what_is_no_email_is_refused_with_a_code(written: str, reason: str) -> None:  # R11
    assert outcome("email", written) == reason


INVISIBLE = [
    "\u00ad",
    "\u034f",
    "\u115f",
    "\u1160",
    "\u17b4",
    "\u180b",
    "\u180f",
    "\u200b",
    "\u200c",
    "\u200d",
    "\u200e",
    "\u202e",
    "\u2060",
    "\u2061",
    "\u2064",
    "\u2067",
    "\u3164",
    "\ufe0f",
    "\ufeff",
    "\uffa0",
    "\U0001d173",
    "\U000e0001",
    "\U000e0061",
    "\U000e01ef",
]


@each_of("character", INVISIBLE)
def test_invisible_characters_change_no_address(character: str) -> None:  # R10 R11
    for channel, spelled in (("email", "ann.example@example.com"), ("sms", "+33639981234"), ("push", "device-7")):
        for at in range(len(spelled) + 1):
            assert read(channel, f"{spelled[:at]}{character}{spelled[at:]}") == spelled


@pytest.mark.long
def test_the_table_of_invisible_characters_holds_all_that_idna_ignores() -> None:
    """IDNA's table of ignored characters comes from a file of its own."""
    assert all(unicodedata.category(chr(code)) in ("Cf", "Mn", "Lo", "Cn") for code in REMOVED)
    candidates = (code for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cf", "Mn"))
    ignored = {code for code in candidates if _is_ignored_by_idna(chr(code))}
    assert len(ignored) > 200
    assert ignored <= REMOVED.keys()


def _is_ignored_by_idna(character: str) -> bool:
    try:
        return idna.uts46_remap(f"a{character}b", std3_rules=False) == "ab"
    except idna.IDNAError:
        return False


def test_a_joiner_that_distinguishes_domains_stays_and_any_other_goes() -> None:  # R11
    persian = read("email", "ann@نامه\u200cای.com")
    assert persian == "ann@xn--mgba3gch31f060k.com"
    assert read("email", "ann@نامهای.com") != persian
    assert read("email", "ann@\u200cنامه\u200cای\u200d.c\u200com") == persian


def test_other_channels_keep_their_text_trimmed_and_composed() -> None:
    assert read("push", "  De\u0301vice-7 ") == "Dévice-7"
    assert outcome("push", "\t") == "empty"


@pytest.mark.parametrize(
    "address", ["+33 6 39 98 12 3O", "marked-77 x@example.com", "marked-77@localhost", "marked-77"]
)
def test_an_error_never_holds_the_address(address: str) -> None:  # R13
    for channel in ("sms", "email"):
        with pytest.raises(InvalidAddressError) as caught:
            read(channel, address)
        text = f"{caught.value!r} {caught.value} {caught.value.cure} {caught.value.__context__!r}"
        assert "marked-77" not in text
        assert "98 12" not in text


emails = st.one_of(
    st.emails(),
    st.text(min_size=1).map(lambda text: f"{text}@example.com"),
    st.text(min_size=1).map(lambda text: f"ann@{text}.example"),
    st.text(alphabet="aAéÉßẞİıΣσς\u0301-.x1@\u200d\u05d0", min_size=1).map(lambda text: f"{text}@{text}.de"),
)
codes = st.sampled_from(sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE))
international = st.builds(
    lambda code, national: f"+{code}{national}", codes, st.text(alphabet="0123456789", min_size=1, max_size=14)
)
written_numbers = st.one_of(
    international,
    st.text(alphabet="0123456789+() .-", max_size=20),
    st.text(alphabet="0123456789", min_size=8, max_size=12),
    st.from_regex(r"0[1-9][0-9]{8}", fullmatch=True),
)
invisible = st.text(alphabet="".join(INVISIBLE), max_size=3)
regions = st.sampled_from(["FR", "RE", "US", "GB", "IT", "BR", "MX", "AR", "DE"])


@given(emails)
@example("ΑΣ@ΑΣ.gr")
@example("İ@İ.com")
def test_canonical_email_is_idempotent(address: str) -> None:  # R11
    spelled = outcome("email", address)
    if "@" in spelled:
        assert read("email", spelled) == spelled


@given(written_numbers, regions, regions)
@example("+5491123456789", "AR", "FR")
@example("+523311234567", "MX", "FR")
def test_canonical_phone_is_idempotent_in_every_region(written: str, region: str, other: str) -> None:  # R10
    spelled = outcome("sms", written, region)
    if spelled.startswith("+"):
        assert read("sms", spelled, region) == spelled
        assert read("sms", spelled, other) == spelled


@given(st.from_regex(r"[A-Za-zéüß0-9.+’_-]{1,12}@[a-z]{1,6}\.(com|fr)", fullmatch=True), st.data())
def test_invisible_characters_anywhere_change_no_email(address: str, data: st.DataObject) -> None:  # R11
    hidden = "".join(character + data.draw(invisible) for character in address)
    assert outcome("email", data.draw(invisible) + hidden) == outcome("email", address)


@given(written_numbers, regions, st.data())
def test_invisible_characters_anywhere_change_no_phone(number: str, region: str, data: st.DataObject) -> None:  # R10
    hidden = "".join(character + data.draw(invisible) for character in number)
    assert outcome("sms", hidden, region) == outcome("sms", number, region)


def slow_phone(written: str, region: str) -> str:
    """What canonical says when the short way is closed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phones, "fast_e164", lambda *_: None)
        return outcome("sms", written, region)


@given(written_numbers, regions)
def test_the_short_way_for_phones_says_what_the_long_way_says(written: str, region: str) -> None:
    assert outcome("sms", written, region) == slow_phone(written, region)


@pytest.mark.long
def test_the_short_way_agrees_for_numbers_of_every_country_and_length() -> None:
    for code, regions_of in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items():
        example_number = phonenumbers.example_number(regions_of[0])
        national = str(example_number.national_number) if example_number else "23456789"
        for lead in ("", "0", "1", "8", "9"):
            for length in range(4, 15):
                written = f"+{code}{(lead + national + national + national)[:length]}"
                assert outcome("sms", written) == slow_phone(written, "FR"), written


plain_emails = st.from_regex(
    r"[A-Za-z0-9.+_-]{1,66}@([a-zA-Z0-9]([a-z0-9_-]{0,5}[a-z0-9])?\.){0,3}[a-zA-Z0-9-]{1,6}", fullmatch=True
)


@given(st.one_of(plain_emails, emails))
def test_the_short_way_for_emails_says_what_the_long_way_says(address: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("consent_privacy.addresses.PLAIN_EMAIL", re.compile(r"(?!)"))
        slow = outcome("email", address)
    assert outcome("email", address) == slow


@pytest.mark.parametrize(
    ("text", "region", "found"),
    [
        ("call 06 39 98 00 12 twice", "FR", True),
        ("06\u00a039\u00a098\u00a000\u00a012", "RE", True),
        ("(06.39.98.00.12)", "FR", True),
        ("it was 0639980012.", "FR", True),
        ("SMS:0639980012", "FR", True),
        ("00 33 (0)6 39 98 00 12", "FR", True),
        ("tel +44 7700 900123", "DE", True),
        ("at 06 39 98 00 12", "DE", False),
        ("06 39 98 00 12", "DE", True),
        ("tel:4479460018", "DE", True),
        ("+447700900123x", "DE", True),
        ("order/0639980012", "FR", False),
        ("106 39 98 00 12", "FR", False),
        ("00 39 98 00 12", "FR", False),
        ("06 39-98.00 12", "FR", True),
        ("at 06 39-98.00 12", "FR", False),
        ("2026-01-05-09-30-00", "FR", False),
        ("05.01.26.09.30.00", "FR", False),
    ],
)
def test_a_number_is_distinguished_from_other_digits_by_how_it_is_written(
    text: str, region: str, found: bool
) -> None:  # R13
    assert phones.contains_phone_number(text, region) is found

"""What the pages of links are made of: themes, words, limits, forms, and what a form changes. # R19 R20"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi import Request

from consent_api.domain import spoken
from consent_api.domain.validation import Purposes, ValidationRules
from consent_api.inbound.translation import Method
from consent_api.ledger.reviews import RESTORED
from consent_api.links import one_click, pages, preferences, privacy_control, texts
from consent_api.links.limits import Allowance, Uses
from consent_api.links.one_click import is_one_click
from consent_api.links.opening import caller_of
from consent_api.links.pages import Page
from consent_api.links.person import Person, Setting, State
from consent_api.links.preferences import Asked, Change, Shown, changes
from consent_api.links.theme import (
    LEAST_CONTRAST,
    LEAST_CONTRAST_OF_EDGES,
    Colours,
    Theme,
    contrast,
    not_known,
    offered,
    read_themes,
)
from consent_api.links.token import Link, LinkKind
from consent_api.rights import objection
from consent_api.settings import PublicLinkSettings
from consent_api.tenant_purposes import NOT_KNOWN
from consent_http import forms, words
from consent_service.settings import load
from consent_service.wrong_entries import WrongEntry
from local_stack.preference_centre import THEME
from tests.support.tables import each_of
from tests.support.themes import CHANNELS, themes

LINK = Link(tenant="acme", kind=LinkKind.ONE_CLICK, channel="email", address="a@example.com", purpose="promotions")


@pytest.fixture(scope="module")
def theme(tmp_path_factory: pytest.TempPathFactory) -> Theme:
    return themes(tmp_path_factory.mktemp("themes"))["acme"]


def names(table: Mapping[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, value in table.items():
        found |= names(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name}
    return found


def test_every_text_is_there_in_each_language() -> None:
    english, french = (texts.WORDS[language].texts for language in ("en", "fr"))
    assert names(english) == names(french)


def test_the_history_says_how_each_of_our_own_ways_was_used() -> None:
    own = {preferences.METHOD, one_click.METHOD, privacy_control.METHOD, objection.METHOD, spoken.METHOD}
    for language in words.LANGUAGES:
        known = texts.WORDS[language].texts["how"]
        assert {*own, *Method, RESTORED} <= known.keys()


@pytest.mark.parametrize(
    ("asked", "accepted", "language"),
    [
        (None, None, "fr"),
        (None, "fr-CA,fr;q=0.9,en;q=0.8", "fr"),
        (None, "en-GB", "en"),
        (None, "de,en;q=0.3,fr;q=0.5", "fr"),
        (None, "de", "fr"),
        (None, "en;q=0", "fr"),
        (None, ";;,q=,en;q=x,\0", "fr"),
        ("en", "fr", "en"),
        ("<script>", "en", "en"),
    ],
)
def test_the_language_is_the_link_s_or_the_browser_s_or_the_tenant_s(
    asked: str | None, accepted: str | None, language: str
) -> None:
    assert words.chosen(asked, accepted, "fr") == language


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert Colours().faults() == []


@pytest.mark.parametrize(
    "colours",
    [
        Colours(),
        Colours(text="#757575", background="#ffffff"),
        Colours(text="#f0f0f0", surface="#101010", background="#181818", accent="#8fd0c0", on_accent="#101010"),
    ],
)
def test_what_is_softened_is_read_as_easily(colours: Colours) -> None:
    assert not colours.faults()
    for behind in (colours.surface, colours.background):
        assert contrast(colours.soft, behind) >= LEAST_CONTRAST
        assert contrast(colours.edge, behind) >= LEAST_CONTRAST_OF_EDGES
    assert (colours.soft != colours.text) is (colours.text != "#757575")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"colours": {"accent": "#9ad0c2"}}, "colours.accent on colours.surface has a contrast of"),
        ({"colours": {"accent": "#1f4e46; } body { display: none"}}, "a colour is #rrggbb"),
        ({"logo": "missing.svg"}, "acme.logo"),
        ({"notice": {}}, "acme.notice.version"),
        ({"privacy": {"en": "javascript:alert(1)", "fr": "https://example.com"}}, "acme.privacy.en"),
        ({"purposes": []}, "acme.purposes"),
        ({"unknown": 1}, "acme.unknown"),
    ],
)
def test_a_theme_that_cannot_be_shown_is_refused_at_start(change: dict[str, Any], fault: str, tmp_path: Path) -> None:
    document = yaml.safe_load(THEME)
    document["acme"] |= change
    path = tmp_path / "themes.yaml"
    path.write_text(yaml.safe_dump(document), "utf-8")
    with pytest.raises(ValueError, match=fault):
        read_themes(path, channels=CHANNELS)


def test_purposes_have_channels_of_this_installation_and_names_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "themes.yaml"
    path.write_text(THEME, "utf-8")
    with pytest.raises(ValueError, match="purpose promotions has a channel that this installation has not: voice"):
        read_themes(path, channels=("sms", "email"))
    path.write_text(THEME.replace("id: survey", "id: promotions"), "utf-8")
    with pytest.raises(ValueError, match="purpose promotions is there twice"):
        read_themes(path, channels=CHANNELS)


def test_a_wrong_entry_concerns_its_tenant_alone(tmp_path: Path) -> None:  # R45
    document = yaml.safe_load(THEME)
    document["globex"] = {**document["acme"], "colours": {"text": "#fefefe"}}
    document["initech"] = {"name": "Initech"}
    path = tmp_path / "themes.yaml"
    path.write_text(yaml.safe_dump(document), "utf-8")
    found: list[WrongEntry] = []
    themes = read_themes(path, channels=CHANNELS, on_wrong=found.append)
    assert [(each.setting, each.entry) for each in found] == [
        ("CONSENT_RELAY_THEME_FILE", "globex"),
        ("CONSENT_RELAY_THEME_FILE", "initech"),
    ]
    assert "colours.text on colours.surface has a contrast of" in found[0].why
    assert "initech.controller" in found[1].why
    path.write_text(THEME, "utf-8")
    assert themes["acme"] == read_themes(path, channels=CHANNELS)["acme"]
    # Its persons still reach a page that takes a refusal of everything.
    assert themes["globex"] == not_known("globex")


@pytest.mark.parametrize("content", ["[", "acme", "- acme", "no: {name: No}"])
def test_a_file_of_another_shape_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "themes.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match="names a file that"):
        read_themes(path, channels=CHANNELS, on_wrong=lambda wrong: None)


def test_a_misspelt_tenant_is_none_that_sells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # R23
    path = tmp_path / "themes.yaml"
    entry = yaml.safe_load(THEME)["acme"]
    path.write_text(yaml.safe_dump({"acme": entry, "globexx": entry}), "utf-8")
    for setting in ("THEME_FILE", "KEYRING_FILE"):
        monkeypatch.setenv(f"CONSENT_RELAY_{setting}", str(path))
    settings = load(PublicLinkSettings)
    found: list[WrongEntry] = []
    by_tenant = settings.themes(["acme", "globex"], on_wrong=found.append)
    assert [each.entry for each in found] == ["globexx"]
    assert {tenant: each.known for tenant, each in by_tenant.items()} == {"acme": True, "globex": False}
    assert [each.known for each in settings.themes(["acme", "globexx", "initech"]).values()] == [True, True]


def test_a_purpose_that_is_offered_is_declared(theme: Theme) -> None:
    rules = ValidationRules(channels=CHANNELS, default_region="FR")
    themes = {"acme": theme, "globex": theme}
    assert offered(themes, rules) == themes
    declared = Purposes(declared=frozenset({"promotions", "newsletter"}))
    for purposes, why in (
        (declared, r"tenant acme that are not declared .*: survey$"),
        (NOT_KNOWN, "tenant acme while"),
    ):
        of_acme = replace(rules, tenant_purposes={"acme": purposes})
        with pytest.raises(ValueError, match=why):
            offered(themes, of_acme)
        found: list[WrongEntry] = []
        assert offered(themes, of_acme, on_wrong=found.append) == {"acme": not_known("acme"), "globex": theme}
        assert [each.entry for each in found] == ["acme"]


def test_a_logo_is_within_the_page(tmp_path: Path) -> None:
    (tmp_path / "logo.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>", "utf-8")
    document = yaml.safe_load(THEME)
    document["acme"]["logo"] = "logo.svg"
    (tmp_path / "themes.yaml").write_text(yaml.safe_dump(document), "utf-8")
    theme = read_themes(tmp_path / "themes.yaml", channels=CHANNELS)["acme"]
    page = pages.one_click(Page(theme=theme, language="en", path="/u/x", home="/u/x"), LINK)
    assert b'<img class="logo" src="data:image/svg+xml;base64,' in page.body


def test_what_a_tenant_or_a_link_names_is_escaped(theme: Theme) -> None:
    hostile = replace(theme, name="<script>alert(1)</script>", purposes=())
    page = Page(theme=hostile, language="en", path="/u/x", home="/u/x")
    shown = pages.one_click(page, replace(LINK, purpose="<b>")).body
    assert b"<script" not in shown
    assert b"<b>" not in shown


def test_a_link_waits_once_its_burst_is_used_and_no_other_does() -> None:
    now = 0.0
    uses = Uses(Allowance(burst=2, every=10.0), clock=lambda: now)
    assert [uses.wait_seconds("a") for _ in range(3)] == [0, 0, 10]
    assert uses.wait_seconds("b") == 0
    now = 10.0
    assert [uses.wait_seconds("a") for _ in range(2)] == [0, 10]


@pytest.mark.parametrize(
    ("host", "caller"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:0:1::7", "2001:db8:0:1::/64"),
        ("2001:db8:0:1:ffff::9%eth0", "2001:db8:0:1::/64"),
        ("2001:db8:0:2::7", "2001:db8:0:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_who_has_a_network_is_one_caller(host: str, caller: str) -> None:
    assert caller_of(host) == caller


def request(content_type: str, body: bytes) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", content_type.encode())]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers, "query_string": b""}, receive)


MULTIPART = (
    b'--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n'
    b'--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\nContent-Type: text/plain\r\n\r\n1\r\n--b--\r\n'
)


@pytest.mark.parametrize(
    ("content_type", "body", "fields"),
    [
        ("application/x-www-form-urlencoded", b"List-Unsubscribe=One-Click", {"List-Unsubscribe": "One-Click"}),
        ("", b"List-Unsubscribe=One-Click", {"List-Unsubscribe": "One-Click"}),
        ("Multipart/Form-Data; boundary=b", MULTIPART, {"List-Unsubscribe": "One-Click", "f": "1"}),
        ('multipart/form-data; boundary="b"', MULTIPART, {"List-Unsubscribe": "One-Click", "f": "1"}),
        ("multipart/form-data", MULTIPART, {}),
        ("multipart/form-data; boundary=other", MULTIPART, {}),
        ("application/x-www-form-urlencoded", b"&".join([b"a=1"] * 2_000), {}),
        ("application/x-www-form-urlencoded", b"\xff\xfe=%ff", {"\ufffd\ufffd": "\ufffd"}),
        ("multipart/form-data; boundary=b\r\nX: y", b"", {}),
    ],
)
def test_forms_are_read_in_both_encodings(content_type: str, body: bytes, fields: dict[str, str]) -> None:
    assert asyncio.run(forms.read(request(content_type, body))) == fields


ONE_CLICK = b"List-Unsubscribe=One-Click"
ONE_CLICK_PARTS = b'--xyz\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--xyz--\r\n'


@each_of("body", [ONE_CLICK, ONE_CLICK_PARTS])
@each_of(
    "content_type",
    [
        *("", "text/plain", "application/x-www-form-urlencoded; charset=UTF-8", "application/octet-stream"),
        *("multipart/form-data; boundary=xyz", "Multipart/Form-Data; Boundary=abc", "multipart/form-data"),
    ],
)
def test_one_click_is_taken_whatever_its_body_is_called(content_type: str, body: bytes) -> None:  # R19
    assert is_one_click(content_type, body)


@each_of(
    "body",
    [
        ONE_CLICK + b"\r\n",
        b"\xef\xbb\xbf" + ONE_CLICK,
        b"a=%ff&list-unsubscribe=one-click&b=c",
        ONE_CLICK + b"&List-Unsubscribe=",
        b"List-Unsubscribe%3DOne-Click",
        b'{"List-Unsubscribe": "One-Click"}',
    ],
)
def test_one_click_is_known_by_its_two_words(body: bytes) -> None:  # R19
    assert is_one_click("application/x-www-form-urlencoded", body)


@each_of(
    "body", [b"", b"One-Click", b"List-Unsubscribe", b"List-Unsubscribe=no&a=One-Click", b"One-Click=List-Unsubscribe"]
)
def test_anything_else_is_no_one_click(body: bytes) -> None:  # R19
    assert not is_one_click("application/x-www-form-urlencoded", body)


@each_of(
    "sent, asked",
    [
        *(([b"1"], True), ([b" 1 "], True), ([b"1", b"1"], True), ([b"1, 1"], True)),
        *(([], False), ([b""], False), ([b"0"], False), ([b"true"], False), ([b"11"], False), ([b"1", b"0"], False)),
    ],
)
def test_a_browser_s_signal_is_the_value_1(sent: list[bytes], asked: bool) -> None:  # R23
    headers = [(b"sec-gpc", each) for each in sent]
    assert privacy_control.is_asked(Request({"type": "http", "headers": headers})) is asked


STATES = list(State)
NOTICE = "n"
SECOND = 1_000_000


def one_setting(state: State) -> Person:
    return Person(at=0, settings=(Setting(purpose="promotions", channel="email", state=state),), channels=("email",))


@pytest.mark.parametrize(
    ("shown", "current", "answer"), list(product(STATES, STATES, [None, "on", "off", "pause_30", "other"]))
)
def test_a_refusal_is_always_recorded_and_a_permission_only_by_a_current_page(
    theme: Theme, shown: State, current: State, answer: str | None
) -> None:
    fields = {"email.promotions": answer} if answer is not None else {}
    asked = Shown(notice=NOTICE, states={"email.promotions": shown.value})
    found = changes(theme, asked, one_setting(current), fields, notice=NOTICE)
    unchanged = answer == pages.answered(shown)
    answers = [each.answer for each in found.changes]
    is_outdated = answer == "on" and not unchanged and current not in (State.ON, shown)
    assert [each.key for each in found.outdated] == (["email.promotions"] if is_outdated else [])
    if answer in (None, "other") or unchanged or is_outdated or (answer == "on" and current is State.ON):
        assert answers == []
    elif answer == "on":
        assert answers == ["on"]
    else:
        # Nothing follows a pause where nothing was permitted.
        assert answers == [answer if current is State.ON else "off"]


@pytest.mark.parametrize(
    ("state", "action", "answer", "page_knew", "recorded"),
    [
        # A form that leaves it as it is, and accepting all: the signal refuses what is not refused.
        *((state, "save", None, knew, "off") for state in STATES if state is not State.OFF for knew in (True, False)),
        (State.OFF, "save", None, True, None),
        (State.ON, "accept", None, True, "off"),
        (State.UNSET, "accept", None, True, "off"),
        (State.OFF, "accept", None, True, None),
        # A yes that the person says to it by itself, on a page that showed none.
        (State.ON, "save", "on", True, None),
        (State.UNSET, "save", "on", True, "on"),
        (State.OFF, "save", "on", True, "on"),
        # On a page made before the signal, a yes may have been there already.
        (State.ON, "save", "on", False, "off"),
        (State.UNSET, "save", "on", False, "off"),
        (State.ON, "save", "off", True, "off"),
        (State.ON, "save", "pause_30", True, "off"),
    ],
)
def test_a_browser_s_signal_refuses_sale_and_sharing_and_lifts_nothing(
    theme: Theme, state: State, action: str, answer: str | None, page_knew: bool, recorded: str | None
) -> None:  # R23
    marked = replace(
        theme, purposes=tuple(each.model_copy(update={"sale_or_share": True}) for each in theme.purposes[:1])
    )
    fields = {"action": action, **({"email.promotions": answer} if answer is not None else {})}
    shown = Shown(notice=NOTICE, states={"email.promotions": state.value}, signal=page_knew)
    found = changes(marked, shown, one_setting(state), fields, notice=NOTICE, signal=True)
    assert [each.answer for each in found.changes] == ([recorded] if recorded is not None else [])
    # No purpose that is not so marked is touched.
    unmarked = changes(theme, shown, one_setting(state), fields, notice=NOTICE, signal=True)
    assert unmarked == changes(theme, shown, one_setting(state), fields, notice=NOTICE)


@pytest.mark.parametrize(
    ("shown", "current", "recorded", "not_saved"),
    [
        (State.ON, State.ON, ["on"], []),
        # Withdrawn, ended or paused on another page in the meantime.
        *((State.ON, each, [], ["email.promotions"]) for each in (State.OFF, State.ENDED, State.PAUSED)),
    ],
)
def test_a_yes_is_renewed_while_it_lasts(
    theme: Theme, shown: State, current: State, recorded: list[str], not_saved: list[str]
) -> None:  # R37
    asked = Shown(notice=NOTICE, states={"email.promotions": shown.value})
    found = changes(theme, asked, one_setting(current), {"email.promotions": "renew"}, notice=NOTICE)
    assert [each.answer for each in found.changes] == recorded
    assert [each.key for each in found.outdated] == not_saved
    accepted = changes(theme, asked, one_setting(State.ON), {"action": "accept"}, notice=NOTICE)
    assert accepted.changes == (), "accepting all renews nothing tacitly"


@pytest.mark.parametrize(("days_left", "offered"), [(182, True), (183, False), (1, True), (None, False)])
@pytest.mark.parametrize("language", words.LANGUAGES)
def test_a_renewal_is_asked_for_in_the_second_half_of_a_yes(
    theme: Theme, language: words.Language, days_left: int | None, offered: bool
) -> None:  # R37
    ends = days_left * 24 * 3600 * SECOND if days_left is not None else None
    (setting,) = one_setting(State.ON).settings
    person = replace(one_setting(State.ON), settings=(replace(setting, expires_at=ends),))
    page = Page(theme=theme, language=language, path="/p/x", home="/p/x")
    html = bytes(pages.preferences(page, person, "form").body).decode()
    assert ('value="renew"' in html) is offered
    assert html.count(" checked") == 1, "the yes that is given, and no renewal"
    until = page.words("state.on_until", since=page.words.day(0), until=page.words.day(ends or 0))
    assert (until in html) is (ends is not None)


@pytest.mark.parametrize("of_person", ["a purpose that the page lost", "a channel that the person lost"])
@pytest.mark.parametrize("shown", STATES)
@pytest.mark.parametrize("answer", [None, "on", "off", "pause_30", "other"])
def test_a_refusal_of_what_is_no_more_on_the_page_is_recorded_and_a_permission_is_not(
    theme: Theme, of_person: str, shown: State, answer: str | None
) -> None:
    """Another instance made the page: by a newer theme, or by one that this one could not read."""
    here = theme if of_person == "a channel that the person lost" else not_known("acme")
    fields = {"email.promotions": answer} if answer is not None else {}
    asked = Shown(notice=NOTICE, states={"email.promotions": shown.value})
    nothing = Person(at=0, settings=(), channels=("email",))
    found = changes(here, asked, nothing, fields, notice=NOTICE)
    gone = Setting(purpose="promotions", channel="email", state=shown)
    if answer in (None, "other") or answer == pages.answered(shown):
        assert found == Asked()
    elif answer == "on":
        assert found == Asked(outdated=(gone,))
    else:
        assert found == Asked(changes=(Change(channel="email", purpose_id="promotions", answer="off"),))
    accepted = changes(here, asked, nothing, {"action": "accept"}, notice=NOTICE)
    assert accepted == (Asked() if shown is State.ON else Asked(outdated=(gone,)))


def test_a_yes_that_is_not_recorded_is_named_beside_what_is(theme: Theme) -> None:
    states = {"email.promotions": "unset", "sms.promotions": "on"}
    fields = {"email.promotions": "on", "sms.promotions": "off"}
    nothing = Person(at=0, settings=(), channels=("email", "sms"))
    found = changes(not_known("acme"), Shown(notice=NOTICE, states=states), nothing, fields, notice=NOTICE)
    assert [(each.channel, each.answer) for each in found.changes] == [("sms", "off")]
    assert [each.key for each in found.outdated] == ["email.promotions"]


def test_accepting_all_of_a_page_without_a_question_accepts_nothing(theme: Theme) -> None:
    nothing = Person(at=0, settings=(), channels=("email",))
    empty = Shown(notice=NOTICE, states={})
    for action, accepts_nothing in (("accept", True), ("save", False), ("refuse", False)):
        found = changes(theme, empty, nothing, {"action": action}, notice=NOTICE)
        assert found.accepts_nothing is accepts_nothing
    page = Page(theme=not_known("acme"), language="en", path="/p/x", home="/p/x")
    html = bytes(pages.preferences(page, nothing, "form").body).decode()
    assert re.findall(r'name="action" value="(\w+)"', html) == ["refuse"]
    assert "You can refuse everything all the same" in html


def test_a_yes_on_a_page_from_before_the_signal_is_named_as_not_saved(theme: Theme) -> None:  # R23
    marked = replace(theme, purposes=(theme.purposes[0].model_copy(update={"sale_or_share": True}),))
    shown = Shown(notice=NOTICE, states={"email.promotions": "off"})
    found = changes(marked, shown, one_setting(State.OFF), {"email.promotions": "on"}, notice=NOTICE, signal=True)
    assert (found.changes, [each.key for each in found.outdated]) == ((), ["email.promotions"])


@pytest.mark.parametrize(("answer", "page_knew"), [(None, True), ("off", True), ("on", False), ("pause_90", True)])
def test_a_signal_refuses_what_it_would_have_where_the_page_was_made(
    answer: str | None, page_knew: bool
) -> None:  # R23
    fields = {"email.partners": answer} if answer is not None else {}
    states = {"email.partners": "on", "email.promotions": "on"}
    shown = Shown(notice=NOTICE, states=states, signal=page_knew, sold=("partners",))
    nothing = Person(at=0, settings=(), channels=("email",))
    found = changes(not_known("acme"), shown, nothing, fields, notice=NOTICE, signal=True)
    assert found.changes == (Change(channel="email", purpose_id="partners", answer="off", by_signal=True),)


def test_a_permission_is_for_the_text_that_was_shown(theme: Theme) -> None:
    shown = Shown(notice="earlier", states={"email.promotions": "unset"})
    for fields in ({"email.promotions": "on"}, {"action": "accept"}):
        assert changes(theme, shown, one_setting(State.UNSET), fields, notice=NOTICE).changes == ()
    refused = changes(theme, shown, one_setting(State.ON), {"action": "refuse"}, notice=NOTICE).changes
    assert [(each.channel, each.purpose_id, each.answer) for each in refused] == [("email", "*", "off")]
    english, french = (preferences.notice_shown(theme, language) for language in ("en", "fr"))
    assert english != french


def test_nothing_is_chosen_before_the_first_answer(theme: Theme) -> None:
    page = Page(theme=theme, language="en", path="/p/x", home="/p/x")
    for state in STATES:
        html = bytes(pages.preferences(page, one_setting(state), "form").body).decode()
        assert html.count(" checked") == (state in (State.ON, State.OFF)), state


def test_a_yes_that_a_signal_ends_is_not_shown_as_chosen(theme: Theme) -> None:  # R23
    marked = theme.purposes[0].model_copy(update={"sale_or_share": True})
    page = Page(theme=replace(theme, purposes=(marked,)), language="en", path="/p/x", home="/p/x")
    html = bytes(pages.preferences(page, one_setting(State.ON), "form", signal=True).body).decode()
    assert " checked" not in html
    assert "With your next save we record it as a no" in html
    html = bytes(pages.preferences(page, one_setting(State.OFF), "form", signal=True).body).decode()
    assert "It is a no already for" in html
    assert "Global Privacy Control" not in bytes(pages.preferences(page, one_setting(State.ON), "form").body).decode()

"""The pages that a person sees. They need no script, and load nothing: style and logo are within."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from fastapi import Response

from consent_api.ledger.notices import notice_hash
from consent_api.links import page_notices
from consent_api.links import theme as themes
from consent_api.links.pauses import DAY_MICROS
from consent_api.links.person import MOST_IN_HISTORY, Event, Person, Setting, State
from consent_api.links.texts import WORDS
from consent_api.links.theme import Theme
from consent_api.links.token import Link
from consent_contracts.decisions import EVERY_PURPOSE, GIVEN
from consent_http.pages import headers_of
from consent_http.templating import templates_of
from consent_http.words import LANGUAGES, Language, Words

SOURCE_SYSTEM = "consent-relay"
PAUSE_DAYS = (30, 90)
ON, OFF, RENEW = "on", "off", "renew"
PAUSES = {f"pause_{days}": days for days in PAUSE_DAYS}
"""What a form answers for a setting."""

_TEMPLATES = templates_of(__package__ or "consent_api.links")
_STYLE = files(__package__).joinpath("templates", "style.css").read_text("utf-8")
_FAULTS = {404: "", 403: "refused_", 410: "ended_", 409: "changed_", 429: "limited_", 503: "unavailable_"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Of one link: in which theme and language, and the path that its forms and links lead to."""

    theme: Theme
    language: Language
    path: str
    home: str | None = None
    """The link itself; None: it is none of ours."""
    prefix: str = ""
    """The path before ours."""

    @property
    def words(self) -> Words:
        return WORDS[self.language]


@dataclass(frozen=True, kw_only=True, slots=True)
class Saved:
    """A choice that was recorded: ``state`` is on, off or paused."""

    channel: str
    purpose: str
    state: State
    until: int | None
    decision_id: str
    in_effect: bool
    by_signal: bool = False
    """The browser asked for it (Global Privacy Control)."""


def one_click(page: Page, link: Link, *, status: int = 200) -> Response:
    """The page with one button."""
    return _respond(page, "one_click.html", status=status, what=_what(page, link))


def unsubscribed(page: Page, link: Link, *, by_signal: Sequence[str] = ()) -> Response:
    """``by_signal``: the purposes that the browser's signal refused beside it."""
    named = [_title(page, each) for each in by_signal]
    return _respond(page, "unsubscribed.html", what=_what(page, link), by_signal=named)


def start(page: Page, *, sends_codes: bool, wrong: str | None = None) -> Response:
    """The page of someone without a link. ``wrong``: what was typed, which is no address."""
    status = 422 if wrong is not None else 200
    return _respond(page, "start.html", status=status, sends_codes=sends_codes, wrong=wrong)


def code(page: Page, asked: str, *, wrong: bool = False) -> Response:
    """The page to enter a code on. ``asked``: sealed, what its form brings back."""
    return _respond(page, "code.html", status=422 if wrong else 200, asked=asked, wrong=wrong)


def preferences(page: Page, person: Person, form: str, *, signal: bool = False) -> Response:
    """``form``: sealed, what the form brings back. ``signal``: the browser asks not to sell or share."""
    by_signal = [each for each in page.theme.purposes if signal and each.sale_or_share]
    groups = [
        {
            "title": purpose.title.in_(page.language),
            "text": purpose.text.in_(page.language),
            "valid": page.words("preferences.valid", days=purpose.valid_days),
            "settings": [
                _shown(page, each, purpose, at=person.at, refused_by_signal=purpose in by_signal)
                for each in person.settings
                if each.purpose == purpose.id
            ],
        }
        for purpose in page.theme.purposes
    ]
    shown = [each for each in groups if each["settings"]]
    open_to_it = {each.purpose for each in person.settings if each.state is not State.OFF}
    to_refuse, refused = (
        [each.title.in_(page.language) for each in by_signal if (each.id in open_to_it) is still_to_do]
        for still_to_do in (True, False)
    )
    return _respond(page, "preferences.html", groups=shown, form=form, to_refuse=to_refuse, refused=refused)


def receipt(page: Page, saved: Sequence[Saved], person: Person, *, not_saved: Sequence[Setting] = ()) -> Response:
    """What was recorded, to keep, and what applies since. ``not_saved``: to what a yes was not recorded."""
    words = page.words
    rows = [
        {
            "what": _named(page, each.purpose, each.channel),
            "choice": words(f"receipt.{each.state}", until=words.day(each.until or 0)),
            "reference": each.decision_id,
            "in_effect": each.in_effect,
            "by_signal": each.by_signal,
        }
        for each in saved
    ]
    now = [
        {
            "what": _named(page, each.purpose, each.channel),
            "state": _state(words, each),
            "is_on": each.state is State.ON,
        }
        for each in person.settings
    ]
    refused = [_named(page, each.purpose, each.channel) for each in not_saved]
    return _respond(
        page, "receipt.html", saved=rows, settings=now, at=words.moment(person.at), not_saved=", ".join(refused)
    )


def history(page: Page, events: Sequence[Event]) -> Response:
    words = page.words
    rows = [
        {
            "when": words.moment(each.at),
            "what": _named(page, each.purpose, each.channel),
            "choice": words("history.given" if each.status == GIVEN else "history.refused")
            if each.until is None
            else words("state.paused", until=words.day(each.until)),
            "how": words.of_channel("how", each.method or "other"),
            "reference": each.decision_id,
        }
        for each in events
    ]
    return _respond(page, "history.html", events=rows, more=len(rows) == MOST_IN_HISTORY, most=MOST_IN_HISTORY)


def statement(page: Page) -> Response:
    """The accessibility statement, where the tenant has none of its own."""
    return _respond(page, "statement.html")


def rights(
    page: Page, form: str, *, requests: Sequence[Mapping[str, object]], kinds: Sequence[Mapping[str, str]]
) -> Response:
    """What a person can have and ask for by right, and the requests that they made."""
    return _respond(page, "rights.html", form=form, requests=requests, kinds=kinds)


def fault(
    page: Page, status: int, *, retry_after: int | None = None, start: str | None = None, partly: bool = False
) -> Response:
    """404: no link of ours; 410: one that has ended; 403, 409, 429, 503: nothing was recorded, or ``partly``.
    ``start``: the path of the way without a link."""
    kind = "partly_" if partly else _FAULTS[status]
    headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
    name = kind.rstrip("_")
    words = page.words
    title, text = words(f"wrong.{kind}title"), words(f"wrong.{name or 'lead'}")
    return _respond(page, "fault.html", status=status, headers=headers, title=title, text=text, start=start)


def answered(state: State) -> str | None:
    """The answer that a form shows as chosen: none in a pause, which a yes or a no ends, and none before the first."""
    return {State.ON: ON, State.OFF: OFF}.get(state)


def may_renew(setting: Setting, purpose: themes.Purpose, at: int) -> bool:
    """Whether a yes is in the second half of its time: the page then asks for it again (R37). Pure."""
    return (
        setting.state is State.ON
        and setting.expires_at is not None
        and setting.expires_at - at < purpose.valid_days * DAY_MICROS // 2
    )


def _shown(
    page: Page, setting: Setting, purpose: themes.Purpose, *, at: int, refused_by_signal: bool
) -> Mapping[str, object]:
    """A setting as the form shows it. What was never answered has no answer chosen, nor a yes that a signal ends."""
    words = page.words
    chosen = answered(setting.state)
    if refused_by_signal and chosen == ON:
        chosen = None
    answers = [
        {"value": value, "label": words(f"preferences.{name}"), "checked": value == chosen}
        for value, name in ((ON, "yes"), (OFF, "no"), *((name, name) for name in PAUSES))
    ]
    return {
        "key": setting.key,
        "channel": words.of_channel("channels", setting.channel),
        "question": words.of_channel("question", setting.channel),
        "state": _state(words, setting),
        "tools": _tools(words, setting),
        "is_on": setting.state is State.ON,
        "answers": answers[:2],
        "pauses": answers[2:] if setting.state is State.ON and not refused_by_signal else [],
        "renewal": {"value": RENEW, "label": words("preferences.renew", days=purpose.valid_days), "checked": False}
        if may_renew(setting, purpose, at) and not refused_by_signal
        else None,
        "ends": words.day(setting.expires_at) if setting.expires_at is not None else None,
    }


def _state(words: Words, setting: Setting) -> str:
    ends = setting.expires_at if setting.state is State.ON else None
    name = setting.state if ends is None else f"{setting.state}_until"
    return words(f"state.{name}", since=words.day(setting.since or 0), until=words.day(ends or setting.until or 0))


def _tools(words: Words, setting: Setting) -> str | None:
    if not setting.tools or setting.state in (State.UNSET, State.ENDED):
        return None
    known = "all" if setting.applied == setting.tools else "some" if setting.applied else "none"
    return words(f"tools.{known}", done=setting.applied, all=setting.tools)


def _what(page: Page, link: Link) -> str:
    assert link.channel is not None
    words, purpose = page.words, page.theme.purpose(link.purpose)
    channel = words.of_channel("by_channel", link.channel)
    if purpose is not None:
        return words("one_click.what", purpose=purpose.title.in_(page.language), channel=channel)
    slug = words("every_purpose") if link.purpose == EVERY_PURPOSE else (link.purpose or "").replace("-", " ")
    return words("one_click.what", purpose=slug, channel=channel)


def _named(page: Page, purpose_id: str, channel: str) -> str:
    return f"{_title(page, purpose_id)} – {page.words.of_channel('channels', channel)}"


def _title(page: Page, purpose_id: str) -> str:
    purpose = page.theme.purpose(purpose_id)
    if purpose is not None:
        return purpose.title.in_(page.language)
    return page.words("receipt.everything") if purpose_id == EVERY_PURPOSE else purpose_id


def _respond(
    page: Page, template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: object
) -> Response:
    style = style_of(page.theme)
    html = _TEMPLATES.get_template(template).render(
        t=page.words,
        theme=page.theme,
        language=page.language,
        other=next(each for each in LANGUAGES if each != page.language),
        path=page.path,
        home=page.home,
        style=style,
        privacy=page.theme.privacy.in_(page.language) if page.theme.privacy is not None else None,
        accessibility=page.theme.accessibility.in_(page.language) if page.theme.accessibility is not None else None,
        **values,
    )
    return Response(html, status_code=status, media_type="text/html", headers={**headers_of(style), **(headers or {})})


def style_of(theme: Theme, sheet: str = _STYLE) -> str:
    """A style sheet in a tenant's colours."""
    named = {**theme.colours.model_dump(), "soft": theme.colours.soft, "edge": theme.colours.edge}
    colours = "".join(f"--{name.replace('_', '-')}:{value};" for name, value in named.items())
    return f":root{{{colours}}}\n{sheet}"


def pause_end(now: int, answer: str) -> int:
    """When a pause ends that begins now (micros)."""
    return now + PAUSES[answer] * DAY_MICROS


def evidence(
    theme: Theme, purpose: themes.Purpose | None, channel: str, language: Language, method: str
) -> dict[str, str]:
    """What the page showed beside the answer. ``purpose``: None where the answer is for every one."""
    if purpose is not None:
        shown = page_notices.notice(theme, purpose, channel, language)
        notice_id, version, digest = shown.notice_id, shown.version, shown.hash
    else:
        notice_id, version, digest = (
            theme.notice.id,
            theme.notice.version,
            notice_hash(WORDS[language]("preferences.refuse_all")),
        )
    return {
        "controller": theme.controller,
        "notice_id": notice_id,
        "notice_version": version,
        "notice_hash": digest,
        **evidence_without_notice(language, method),
        "withdrawal_method": "The same page, by the link in every message, free of charge.",
    }


def evidence_without_notice(language: Language, method: str) -> dict[str, str]:
    """Of a refusal of what no text of this page describes."""
    return {
        "notice_language": language,
        "capture_method": method,
        "source_system": SOURCE_SYSTEM,
        "actor": "data-subject",
    }

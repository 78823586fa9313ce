"""The pages: figures in words, in French and English. Style and pictures are within; one script of ours, which the page
does not need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files

from babel.numbers import format_decimal
from fastapi import Response

from consent_http.pages import SAFE_HEADERS, form_token, headers_of
from consent_http.templating import templates_of
from consent_http.words import LANGUAGES, Language, Words
from status_page.dead_letters import DeadLetter
from status_page.events import Event
from status_page.figures import Figures, runbook
from status_page.findings import Finding, Shown
from status_page.plots import HEIGHT, WIDTH
from status_page.sessions import EXPLAIN_SCOPE, Session

_PACKAGE = __package__ or "status_page"
WORDS: Mapping[Language, Words] = {language: Words(language, _PACKAGE) for language in LANGUAGES}
_FAULTS = {403: "refused", 404: "used", 413: "too_large", 503: "unavailable"}
SCRIPT = files(_PACKAGE).joinpath("templates", "status.js").read_text("utf-8")
_STYLE = files(_PACKAGE).joinpath("templates", "style.css").read_text("utf-8")
_HEADERS = headers_of(_STYLE, scripts=True)
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """``root``: what leads from this page to /status/. ``here``: the page itself below that. Links are relative, so
    that it works behind any proxy, below any path."""

    language: Language
    root: str = ""
    here: str = ""
    session: Session | None = None
    explains: bool = False
    """The page can explain addresses."""

    @property
    def words(self) -> Words:
        return WORDS[self.language]

    @property
    def other(self) -> Language:
        return next(each for each in LANGUAGES if each != self.language)

    def to(self, path: str, language: Language | None = None) -> str:
        """The URL of another page, in the same language."""
        return f"{self.root + path or './'}?lang={language or self.language}"

    def token(self, action: str) -> str:
        """What a form of this action carries."""
        return form_token(self.session.token, action) if self.session is not None else ""

    @property
    def may_explain(self) -> bool:
        return self.explains and self.session is not None and self.session.login.key.allows(EXPLAIN_SCOPE)


def seconds(words: Words, value: float) -> str:
    """A duration, in the unit in which people read it."""
    if value < 0.9995:
        return words("units.milliseconds", value=_number(words, value * 1000, 0))
    if value < 100:
        return words("units.seconds", value=_number(words, value, 1 if value < 10 else 0))
    if value < 100 * _MINUTE:
        return words("units.minutes", value=_number(words, value / _MINUTE, 0))
    if value < 100 * _HOUR:
        return words("units.hours", value=_number(words, value / _HOUR, 0))
    return words("units.days", value=_number(words, value / _DAY, 0))


def shown(words: Words, value: float | None, unit: Shown) -> str:
    """A number with its unit; where it is not known, that it is not."""
    if value is None:
        return words("units.unknown")
    match unit:
        case "seconds":
            return seconds(words, max(value, 0.0))
        case "rate":
            return words("units.rate", value=_number(words, value, 1 if value < 100 else 0))
        case "share":
            return words("units.share", value=_number(words, value * 100, 1))
        case "count":
            return _number(words, value, 0)


def clock(at: float) -> str:
    """The time of day, UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"


def moment(at: float) -> str:
    """The day and the time, UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"


def of_dead_letter(words: Words, letter: DeadLetter) -> str:
    """One line of the list of dead letters. The reason of a newer release is shown as it is."""
    reason = str(words.texts["dead_letter_reasons"].get(letter.reason, letter.reason))
    return words("dead_letters.line", about=letter.about, place=letter.coordinates, reason=reason)


def of_event(words: Words, event: Event) -> str:
    """One line of the list of errors."""
    reasons = words.texts["reasons" if event.kind == "silent" else "dead_letter_reasons"]
    reason = str(reasons.get(event.reason, event.reason))
    count = _number(words, event.count, 0)
    return words(f"events.{event.kind}", about=event.about, reason=reason, count=count)


def of_finding(words: Words, finding: Finding) -> str:
    return words(f"findings.{finding.alert}", about=finding.about, value=shown(words, finding.value, finding.unit))


def login(page: Page, *, failed: bool = False, status: int = 200) -> Response:
    return respond(page, "login.html", status=status, failed=failed)


def fault(page: Page, status: int) -> Response:
    """403: a form that none of our pages sent; 404: a link that was used; 413: too long; 503: the keys cannot be
    read."""
    name = _FAULTS[status]
    title, text = page.words(f"wrong.{name}_title"), page.words(f"wrong.{name}")
    return respond(page, "fault.html", status=status, title=title, text=text)


def explained(page: Page, sentences: list[str], *, asked: Mapping[str, str], channels: tuple[str, ...]) -> Response:
    return respond(page, "explain.html", sentences=sentences, faults=[], asked=asked, channels=channels)


def not_explained(
    page: Page, faults: list[str], *, status: int, asked: Mapping[str, str], channels: tuple[str, ...]
) -> Response:
    return respond(page, "explain.html", status=status, sentences=[], faults=faults, asked=asked, channels=channels)


def whole(page: Page, figures: str, *, interval: float, channels: tuple[str, ...], reloads: bool) -> Response:
    """The page with these figures, as `fragment` wrote them. ``reloads``: without scripts it does so by itself, where
    the person has asked for it: a page that changes by itself has to be one that can be stopped (WCAG 2.2.1)."""
    reload = max(10, round(2 * interval))
    return respond(
        page,
        "status.html",
        figures=figures,
        reloads=reloads,
        reload=reload,
        silence_ms=round(interval * 4000),
        asked={},
        channels=channels,
    )


def fragment(language: Language, figures: Figures) -> str:
    """The part of the page that changes: the same for all who see it in this language."""
    return _render("figures.html", Page(language=language), figures=figures)


def redirect(page: Page, path: str) -> Response:
    return Response(status_code=303, headers={"Location": page.to(path), **SAFE_HEADERS})


def respond(page: Page, template: str, *, status: int = 200, **values: object) -> Response:
    html = _render(template, page, style=_STYLE, **values)
    return Response(html, status_code=status, media_type="text/html", headers=_HEADERS)


def _render(template: str, page: Page, **values: object) -> str:
    return _TEMPLATES.get_template(template).render(t=page.words, page=page, language=page.language, **values)


def _number(words: Words, value: float, decimals: int) -> str:
    return format_decimal(round(value, decimals), format=f"#,##0.{'0' * decimals}", locale=words.language)


_TEMPLATES = templates_of(_PACKAGE)
_TEMPLATES.filters |= {"clock": clock, "moment": moment, "runbook": runbook}
_TEMPLATES.globals |= {"shown": shown, "event": of_event, "dead_letter": of_dead_letter, "finding": of_finding}
_TEMPLATES.globals |= {"WIDTH": WIDTH, "HEIGHT": HEIGHT}

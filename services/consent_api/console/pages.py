"""The pages of the console. They need no script, and load nothing: style and logo are within."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from fastapi import Response

from consent_api.ledger.console_sessions import Session
from consent_api.links.pages import style_of
from consent_api.links.theme import Theme
from consent_http.errors import ProblemError
from consent_http.pages import form_token, headers_of
from consent_http.templating import templates_of
from consent_http.words import LANGUAGES, Language, Words

_PACKAGE = __package__ or "consent_api.console"
WORDS: Mapping[Language, Words] = {language: Words(language, _PACKAGE) for language in LANGUAGES}
_TEMPLATES = templates_of(_PACKAGE)
_STYLE = files(_PACKAGE).joinpath("templates", "style.css").read_text("utf-8")
_NAVIGATION = (("search", "", "read"), ("agent", "agent", "submit"), ("reviews", "reviews", "admin"))
_REQUESTS = ("requests", "requests", "rights:read")
_FAULTS = {401: "ended", 403: "refused", 404: "gone", 409: "changed", 429: "limited", 503: "unavailable"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """``root``: what leads from this page to the console's first; ``below``: the path of this page under it."""

    theme: Theme
    language: Language
    root: str
    below: str
    session: Session | None = None

    @property
    def words(self) -> Words:
        return WORDS[self.language]

    def to(self, path: str) -> str:
        """The URL of another page, in the same language."""
        return f"{self.root}{path}?lang={self.language}"

    @property
    def twin(self) -> str:
        """The same page in the other language: of one that answers a form, the page that has the form."""
        first, _, rest = self.below.partition("/")
        below = {"search": "", "logout": "login", "reviews": "reviews"}.get(first, self.below)
        below = below.removesuffix("/requests") if first == "person" and rest else below
        below = below.removesuffix("/data").removesuffix("/rectification") if first == "requests" else below
        other = next(each for each in LANGUAGES if each != self.language)
        return f"{self.root}{below}?lang={other}"

    def token(self, action: str) -> str:
        """What a form of this action carries."""
        return form_token(self.session.token, action) if self.session is not None else ""


def login(page: Page, *, failed: bool = False, status: int = 200) -> Response:
    return respond(page, "login.html", status=status, failed=failed)


def fault(page: Page, status: int, *, retry_after: int | None = None) -> Response:
    """401: the session is over; 403: not sent by our page; 404: the page is; 409, 429, 503: nothing was recorded."""
    words, name = page.words, _FAULTS[status]
    headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
    title, text = words(f"wrong.{name}_title"), words(f"wrong.{name}")
    return respond(page, "fault.html", status=status, headers=headers, title=title, text=text)


def missing_scope(page: Page, scope: str) -> Response:
    words = page.words
    text = words("wrong.scope", scope=scope)
    return respond(page, "fault.html", status=403, title=words("wrong.scope_title"), text=text)


def problem(page: Page, error: ProblemError) -> Response:
    """What a program would be answered, for people."""
    return respond(
        page,
        "fault.html",
        status=error.status,
        headers=error.headers,
        title=page.words("wrong.problem_title"),
        text=of_problem(page, error),
    )


def of_problem(page: Page, error: ProblemError) -> str:
    """What is wrong, in the language of the page where we have words for it."""
    known = page.words.texts["problems"].get(error.kind)
    return str(known) if known is not None else " ".join(filter(None, (error.detail, error.cure)))


def redirect(page: Page, path: str) -> Response:
    return Response(status_code=303, headers={"Location": page.to(path), **_headers("")})


def respond(
    page: Page, template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: object
) -> Response:
    style = style_of(page.theme, _STYLE)
    html = _TEMPLATES.get_template(template).render(
        t=page.words,
        page=page,
        theme=page.theme,
        language=page.language,
        other=next(each for each in LANGUAGES if each != page.language),
        navigation=_navigation(page),
        style=style,
        **values,
    )
    return Response(html, status_code=status, media_type="text/html", headers={**_headers(style), **(headers or {})})


def _navigation(page: Page) -> Sequence[Mapping[str, object]]:
    """The pages that the key of the session may see."""
    session = page.session
    if session is None:
        return ()
    here = page.below.partition("/")[0]
    return [
        {"name": name, "path": path, "here": here == path or (name == "search" and here in ("search", "person"))}
        for name, path, scope in (*_NAVIGATION, _REQUESTS)
        if session.key.allows(scope)
    ]


def _headers(style: str) -> dict[str, str]:
    return {
        **headers_of(style),
        # Not no-referrer: a browser would then send its forms as from nowhere, and we could not know them for ours.
        "Referrer-Policy": "same-origin",
    }

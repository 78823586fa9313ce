"""/p/{token}: the preference centre. A person sees each choice, changes it, and keeps the receipt (R20)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import anyio
import anyio.to_thread
import msgspec
from fastapi import APIRouter, Request, Response

from consent_api.domain.addresses import same_place
from consent_api.domain.effects import Effect
from consent_api.errors import ChoiceRefusedError, InvalidTokenError, LedgerUnavailableError
from consent_api.ledger import database
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.notices import Notice, notice_hash
from consent_api.links import page_notices, pages, pauses, person, privacy_control
from consent_api.links.opening import LinkPages, Opened, is_foreign
from consent_api.links.page_notices import PageNotices, notices_of
from consent_api.links.pages import OFF, ON, PAUSES, RENEW, Saved
from consent_api.links.pauses import DAY_MICROS, Pause
from consent_api.links.person import Person, Setting, State
from consent_api.links.proven import proven
from consent_api.links.recording import Choices
from consent_api.links.theme import Purpose, Theme
from consent_api.links.token import LinkKind
from consent_contracts.decisions import EVERY_PURPOSE, GIVEN
from consent_http import forms
from consent_http.words import Language

T = TypeVar("T")

METHOD = "preference-centre"
_AT_ONCE = 2
"""Pages that read the ledger at one moment: looking takes few threads from those who record."""


class Shown(msgspec.Struct, array_like=True):
    """What a page showed, as its form brings it back: the notice, and the state of each setting by its key."""

    notice: str
    states: dict[str, str]
    signal: bool = False
    """The browser asked not to sell or share: no permission for that was shown as chosen."""
    sold: tuple[str, ...] = ()
    """The purposes that such a signal refuses."""


_SHOWN = msgspec.msgpack.Decoder(Shown)


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One answer that is to be recorded. ``setting`` and ``purpose`` are None for every purpose on the channel, and for
    one that the person's page does not have any more."""

    channel: str
    answer: str
    purpose_id: str = EVERY_PURPOSE
    setting: Setting | None = None
    purpose: Purpose | None = None
    by_signal: bool = False
    """The browser asked for it, and not the form."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a form asks for. ``outdated``: the settings with a yes that is not recorded, as the page is no longer
    current."""

    changes: tuple[Change, ...] = ()
    outdated: tuple[Setting, ...] = ()
    accepts_nothing: bool = False
    """It accepts all, of a page without a question."""


def changes(
    theme: Theme,
    shown: Shown,
    now: Person,
    fields: Mapping[str, str],
    *,
    notice: str,
    signal: bool = False,
    has_left: bool = False,
) -> Asked:
    """What a form asks to record. Pure.

    A refusal is recorded whatever has changed since the page was made: also of what this process does not have on the
    page, as its theme is a newer one or wrong. A permission is not, where the person, or someone on another page, has
    decided in the meantime, or where the text is another one.

    A renewal is a permission like any other, given while the earlier one lasts.

    ``signal``: the browser asks not to sell or share. It refuses what is for that, but where this form says yes to it
    by itself: on a page that showed no yes as chosen, and not by accepting all.

    ``has_left``: the link's address has left its subject, who has perhaps answered. The page does not show what they
    have chosen: a no counts though the page showed it as chosen.
    """
    action = fields.get("action")
    if action == "refuse":
        return Asked(changes=tuple(Change(channel=channel, answer=OFF) for channel in now.channels))
    found: list[Change] = []
    outdated: list[Setting] = []
    gone = _gone(shown, now)
    for setting in (*now.settings, *gone):
        given = ON if action == "accept" else fields.get(setting.key)
        answer = ON if given == RENEW else given
        purpose = theme.purpose(setting.purpose)
        is_sold = purpose.sale_or_share if purpose is not None else setting.purpose in shown.sold
        of_setting = partial(
            Change,
            channel=setting.channel,
            purpose_id=setting.purpose,
            setting=setting if setting not in gone else None,
            purpose=purpose if setting not in gone else None,
        )
        if signal and is_sold:
            is_specific_yes = answer == ON and action != "accept"
            if not (is_specific_yes and shown.signal):
                if setting.state is not State.OFF:
                    found.append(of_setting(answer=OFF, by_signal=True))
                elif is_specific_yes:
                    outdated.append(setting)
                continue
        is_news = given != _answered(shown.states.get(setting.key)) or (has_left and answer == OFF)
        if answer not in (ON, OFF, *PAUSES) or not is_news:
            continue
        if given == ON and setting.state is State.ON:
            continue
        is_current = shown.notice == notice and shown.states.get(setting.key) == setting.state
        if answer == ON and (setting in gone or not is_current):
            outdated.append(setting)
            continue
        # Nothing follows a pause where nothing was permitted, or where it is not known what was.
        goes_on = setting.state is State.ON and setting not in gone
        found.append(of_setting(answer=answer if goes_on or answer == ON else OFF))
    accepts_nothing = action == "accept" and not (now.settings or gone)
    return Asked(changes=tuple(found), outdated=tuple(outdated), accepts_nothing=accepts_nothing)


def _gone(shown: Shown, now: Person) -> list[Setting]:
    """The settings that the form had and that are no more, as they were shown."""
    current = {each.key for each in now.settings}
    return [
        Setting(purpose=purpose, channel=channel, state=State(state))
        for (channel, _, purpose), state in ((key.partition("."), each) for key, each in shown.states.items())
        if f"{channel}.{purpose}" not in current
    ]


def _answered(state: str | None) -> str | None:
    """The answer that the page had chosen for a setting."""
    return pages.answered(State(state)) if state is not None else None


def notice_shown(theme: Theme, language: Language) -> str:
    """Identifies all the texts of the page, in its language."""
    of_page = ((each.notice_id, each.version, each.language, each.hash) for each in notices_of(theme, language))
    return notice_hash("\n".join(map(str, of_page)))


def routes(ledger: Ledger, links: LinkPages, choices: Choices, notices: PageNotices) -> APIRouter:
    """Not in /openapi.json: persons come by links."""
    router = APIRouter(include_in_schema=False)
    centre = PreferenceCentre(ledger, links, choices, notices)

    @router.api_route("/p/{token}", methods=["GET", "HEAD"])
    async def look(token: str, request: Request) -> Response:
        return await centre.show(
            request, token, "", lambda opened: centre.form(opened, token, signal=privacy_control.is_asked(request))
        )

    @router.api_route("/p/{token}/history", methods=["GET", "HEAD"])
    async def history(token: str, request: Request) -> Response:
        return await centre.show(request, token, "/history", centre.history)

    @router.api_route("/p/{token}/accessibility", methods=["GET", "HEAD"])
    async def statement(token: str, request: Request) -> Response:
        opened = links.open(request, token, LinkKind.PREFERENCES, "/accessibility")
        return opened if isinstance(opened, Response) else pages.statement(opened.page)

    @router.post("/p/{token}")
    async def save(token: str, request: Request) -> Response:
        return await centre.save(request, token)

    return router


class PreferenceCentre:
    """Belongs to one event loop."""

    def __init__(self, ledger: Ledger, links: LinkPages, choices: Choices, notices: PageNotices) -> None:
        self._ledger = ledger
        self._links = links
        self._choices = choices
        self._notices = notices
        self._at_once = anyio.CapacityLimiter(_AT_ONCE)

    async def show(self, request: Request, token: str, below: str, make: Callable[[Opened], Response]) -> Response:
        """A page that is made from the ledger, by ``make`` in a thread."""
        opened = self._links.open_to_look(request, token, below)
        if isinstance(opened, Response):
            return opened
        try:
            page = await self._in_thread(lambda: make(proven(self._ledger, opened)))
        except LedgerUnavailableError as error:
            return self._links.unavailable(opened, error)
        self._links.count(LinkKind.PREFERENCES, "shown")
        return page

    def form(self, opened: Opened, token: str, *, signal: bool) -> Response:
        """The page to choose on. Blocks."""
        now = self._read(opened)
        states = {each.key: each.state.value for each in now.settings}
        theme = opened.page.theme
        shown = Shown(
            notice=notice_shown(theme, opened.page.language),
            states=states,
            signal=signal,
            sold=tuple(each.id for each in theme.purposes if each.sale_or_share),
        )
        sealed = self._links.sealer.seal_form(token, msgspec.msgpack.encode(shown))
        return pages.preferences(opened.page, now, sealed, signal=signal)

    def history(self, opened: Opened) -> Response:
        """Blocks."""
        keyring = self._ledger.context.keyring
        return pages.history(opened.page, self._ledger.transact(lambda c: person.history(c, keyring, opened.link)))

    async def save(self, request: Request, token: str) -> Response:
        """Record what the form asks for; the receipt."""
        opened = self._links.open(request, token, LinkKind.PREFERENCES)
        if isinstance(opened, Response):
            return opened
        fields = await forms.read(request)
        try:
            shown = _SHOWN.decode(self._links.sealer.open_form(token, fields.get("form", "")))
        except (InvalidTokenError, msgspec.DecodeError):
            shown = None
        if shown is None or is_foreign(request):
            self._links.count(LinkKind.PREFERENCES, "foreign_form")
            return pages.fault(opened.page, 403)
        if (wait := self._links.changes.wait_seconds(token)) > 0:
            return self._links.limited(opened, wait)
        try:
            opened = await self._in_thread(partial(proven, self._ledger, opened))
            return await self._save(opened, shown, fields, signal=privacy_control.is_asked(request))
        except (LedgerUnavailableError, ChoiceRefusedError) as error:
            return self._links.unavailable(opened, error)

    async def _save(self, opened: Opened, shown: Shown, fields: Mapping[str, str], *, signal: bool) -> Response:
        page = opened.page
        now = await self._in_thread(lambda: self._read(opened))
        # Of a subject on every channel: an address that is linked later inherits it.
        to_come = self._choices.channels if opened.link.subject_ref is not None else ()
        channels = dict.fromkeys((*filter(self._choices.takes, now.channels), *to_come))
        now = replace(now, channels=tuple(channels))
        states = {key: each for key, each in shown.states.items() if self._choices.takes(key.partition(".")[0])}
        shown = msgspec.structs.replace(shown, states=states)
        notice = notice_shown(page.theme, page.language)
        has_left = opened.left is not None
        asked = changes(page.theme, shown, now, fields, notice=notice, signal=signal, has_left=has_left)
        if fields.get("action") == "refuse" and not asked.changes:
            raise ChoiceRefusedError("this installation has no channel of the person any more")
        if not asked.changes and (asked.outdated or asked.accepts_nothing):
            self._links.count(LinkKind.PREFERENCES, "outdated")
            return pages.fault(page, 409)
        of_left = _of_left(
            opened, asked.changes, everywhere=fields.get("action") == "refuse", channels=self._choices.channels
        )
        saved = await self._record(opened, asked.changes, of_left)
        if saved:
            # It is recorded, and the person is to see that, even where the ledger cannot be read any more.
            try:
                now = await self._in_thread(lambda: self._read(opened))
            except LedgerUnavailableError:
                now = replace(now, settings=())
        self._links.count(LinkKind.PREFERENCES, "recorded")
        return pages.receipt(page, saved, now, not_saved=asked.outdated)

    async def _record(self, opened: Opened, asked: Sequence[Change], of_left: Sequence[Change]) -> list[Saved]:
        if not asked:
            return []
        tenant = opened.link.tenant
        if agreed := _agreed(opened, asked):
            await self._in_thread(lambda: self._notices.register(tenant, agreed))
        recorded = await self._choices.record(
            tenant,
            lambda at: [
                *(_fields(opened, each, at) for each in asked),
                *(_fields(opened.of_left, each, at) for each in of_left),
            ],
        )
        pairs = list(zip(asked, recorded[: len(asked)], strict=True))
        begun = [pause for change, result in pairs for pause in _pauses(opened, change, result)]
        try:
            if begun:
                await self._in_thread(lambda: self._ledger.transact(lambda c: pauses.add(c, begun)))
        except LedgerUnavailableError:
            # The refusal is recorded, and what was to follow it is not.
            begun = []
        paused = {each.decision_id: each.ends_at for each in begun}
        return [_saved(change, result, paused.get(result.decision_id)) for change, result in pairs]

    def _read(self, opened: Opened) -> Person:
        keyring, link, theme = self._ledger.context.keyring, opened.link, opened.page.theme
        return self._ledger.transact(lambda c: person.read(c, keyring, link, theme, now=database.clock(c)))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        async with self._at_once:
            return await anyio.to_thread.run_sync(work)


def _agreed(opened: Opened, asked: Sequence[Change]) -> list[Notice]:
    """The notices of the questions that were answered with a permission, of now or for after a pause."""
    page = opened.page
    return [
        page_notices.notice(page.theme, each.purpose, each.channel, page.language)
        for each in asked
        if each.answer != OFF and each.purpose is not None
    ]


def _of_left(opened: Opened, asked: Sequence[Change], *, everywhere: bool, channels: Collection[str]) -> list[Change]:
    """What is refused, beside ``asked``, of the subject whom the link's address has left: they may be who has answered.
    A pause refuses, too: it does not give back what is not to be shown."""
    if opened.left is None:
        return []
    if everywhere:
        return [Change(channel=each, answer=OFF) for each in channels]
    return [replace(each, answer=OFF) for each in asked if each.answer != ON and _is_own(opened, each)]


def _is_own(opened: Opened, change: Change) -> bool:
    """Whether it is on a channel of the link's address. Others were shown before the address left its subject."""
    return change.channel in same_place(opened.link.channel or "")


def _fields(opened: Opened, change: Change, now: int) -> dict[str, object]:
    """One answer as it is submitted, at the ledger's ``now``."""
    if opened.left is not None and not _is_own(opened, change):
        opened = opened.of_left
    link, theme, language = opened.link, opened.page.theme, opened.page.language
    fields: dict[str, object] = {"channel": change.channel, "purpose": change.purpose_id}
    if link.subject_ref is not None:
        fields["subject_ref"] = link.subject_ref
    if link.address is not None and (link.subject_ref is None or change.channel in same_place(link.channel or "")):
        fields["address"] = link.address
    method = privacy_control.METHOD if change.by_signal else METHOD
    of_page = change.purpose is not None or change.purpose_id == EVERY_PURPOSE
    fields["evidence"] = (
        pages.evidence(theme, change.purpose, change.channel, language, method)
        if of_page
        else pages.evidence_without_notice(language, method)
    )
    if change.answer == ON and change.purpose is not None:
        return {**fields, "status": GIVEN, "occurred_at": now, "expires_at": now + _valid(change.purpose)}
    return {**fields, "status": "withdrawn"}


def _pauses(opened: Opened, change: Change, recorded: RecordedDecision) -> list[Pause]:
    """What follows a pause, at each address that was permitted, unless the permission ends sooner."""
    if change.answer not in PAUSES or change.setting is None or change.purpose is None:
        return []
    ends_at = pages.pause_end(recorded.recorded_at, change.answer)
    expires_at = change.setting.expires_at or recorded.recorded_at + _valid(change.purpose)
    if expires_at <= ends_at:
        return []
    page = opened.page
    return [
        Pause(
            decision_id=recorded.decision_id,
            tenant=opened.link.tenant,
            address_id=address_id,
            subject_ref=opened.link.subject_ref,
            channel=change.channel,
            purpose=change.purpose.id,
            paused_at=recorded.effective_at,
            ends_at=ends_at,
            expires_at=expires_at,
            evidence=pages.evidence(page.theme, change.purpose, change.channel, page.language, METHOD),
        )
        for address_id in change.setting.permitted
    ]


def _saved(change: Change, recorded: RecordedDecision, until: int | None) -> Saved:
    """``until``: the end of the pause, if it is one."""
    state = State.ON if change.answer == ON else State.OFF if until is None else State.PAUSED
    return Saved(
        channel=change.channel,
        purpose=change.purpose_id,
        state=state,
        until=until,
        decision_id=recorded.decision_id,
        by_signal=change.by_signal,
        in_effect=change.answer != ON or recorded.outcome.effect is not Effect.SUPERSEDED,
    )


def _valid(purpose: Purpose) -> int:
    return purpose.valid_days * DAY_MICROS

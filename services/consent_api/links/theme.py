"""How the pages of a tenant look, and what its purposes are called: the file of CONSENT_RELAY_THEME_FILE."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from consent_api.domain.validation import Purposes, ValidationRules
from consent_api.yaml_file import read_yaml
from consent_contracts.records import PURPOSE
from consent_http.words import Language
from consent_service.wrong_entries import WrongEntry, refuse

SETTING = "CONSENT_RELAY_THEME_FILE"
LEAST_CONTRAST = 4.5
"""WCAG 2.1, 1.4.3 (AA), of text on what is behind it."""
LEAST_CONTRAST_OF_EDGES = 3.0
"""1.4.11 (AA), of what shows where a field is."""
_LARGEST_LOGO = 65_536
_LOGO_TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")

Line = Annotated[str, Field(min_length=1, max_length=200)]
Link = Annotated[str, Field(pattern=r"^https://[^\s\"<>]+$", max_length=500)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Texts(_Model):
    """One text in each language."""

    en: Annotated[str, Field(min_length=1, max_length=2_000)]
    fr: Annotated[str, Field(min_length=1, max_length=2_000)]

    def in_(self, language: Language) -> str:
        return self.fr if language == "fr" else self.en


class Addresses(_Model):
    """A page of the tenant's own in each language."""

    en: Link
    fr: Link

    def in_(self, language: Language) -> str:
        return self.fr if language == "fr" else self.en


class Colours(_Model):
    """Each #rrggbb. `accent`: of headings, links and buttons."""

    background: str = "#f6f5f2"
    surface: str = "#ffffff"
    text: str = "#1c1d21"
    accent: str = "#1f4e46"
    on_accent: str = "#ffffff"

    @field_validator("*")
    @classmethod
    def _is_colour(cls, value: str) -> str:
        if not _COLOUR.fullmatch(value):
            raise ValueError("a colour is #rrggbb")
        return value

    def faults(self) -> list[str]:
        """The pairs that are hard to read."""
        pairs = (("text", "background"), ("text", "surface"), ("accent", "surface"), ("accent", "background"))
        return [
            f"colours.{one} on colours.{other} has a contrast of {found:.2f} instead of {LEAST_CONTRAST}"
            for one, other in (*pairs, ("on_accent", "accent"))
            if (found := contrast(getattr(self, one), getattr(self, other))) < LEAST_CONTRAST
        ]

    @property
    def soft(self) -> str:
        """Of text that is less in the foreground, and as easy to read as any."""
        return self._softened(0.72, LEAST_CONTRAST)

    @property
    def edge(self) -> str:
        """Around fields and answers."""
        return self._softened(0.58, LEAST_CONTRAST_OF_EDGES)

    def _softened(self, share: float, least: float) -> str:
        """The text's colour with as much of the surface as the contrast allows, of which ``share`` stays at least."""
        for percent in range(round(share * 100), 100, 2):
            mixed = _mixed(self.text, self.surface, percent / 100)
            if min(contrast(mixed, self.surface), contrast(mixed, self.background)) >= least:
                return mixed
        return self.text


class Purpose(_Model):
    """A purpose in the tenant's own words, with the channels on which a person chooses, and for how many days a
    permission is given. ``sale_or_share``: a browser's signal (Global Privacy Control) refuses it."""

    id: str
    channels: Annotated[tuple[str, ...], Field(min_length=1, max_length=10)]
    title: Texts
    text: Texts
    valid_days: Annotated[int, Field(ge=1, le=3_650)] = 365
    sale_or_share: bool = False

    @field_validator("id")
    @classmethod
    def _is_slug(cls, value: str) -> str:
        if not PURPOSE.fullmatch(value):
            raise ValueError("a purpose is a slug of a-z, 0-9, _ and -")
        return value


class Notice(_Model):
    """Under which the texts are recorded as evidence, each version with a part of the text's hash behind it."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,39}$")] = "preference-centre"
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,39}$")]


class _Tenant(_Model):
    name: Line
    controller: Annotated[str, Field(min_length=1, max_length=500)]
    notice: Notice
    purposes: Annotated[tuple[Purpose, ...], Field(min_length=1, max_length=50)]
    logo: str | None = None
    colours: Colours = Colours()
    language: Language = "en"
    privacy: Addresses | None = None
    accessibility: Addresses | None = None


_FILE = TypeAdapter(dict[str, object])
_TENANT = TypeAdapter(_Tenant)


@dataclass(frozen=True, kw_only=True, slots=True)
class Theme:
    """A tenant's pages. ``purposes`` is empty where the theme file does not have the tenant: then there is no
    preference centre, and one click is described in general words. Empty too where its entry is wrong (``known`` is
    False): then the preference centre takes a refusal of everything, and nothing else, and what a browser's signal
    refuses is not known."""

    name: str
    controller: str = ""
    notice: Notice = field(default_factory=lambda: Notice(version="0"))
    purposes: tuple[Purpose, ...] = ()
    logo: str | None = None
    colours: Colours = field(default_factory=Colours)
    language: Language = "en"
    privacy: Addresses | None = None
    accessibility: Addresses | None = None
    known: bool = True

    def purpose(self, purpose_id: str | None) -> Purpose | None:
        return next((each for each in self.purposes if each.id == purpose_id), None)


Themes = Mapping[str, Theme]


def of(themes: Themes, tenant: str) -> Theme:
    return themes.get(tenant) or Theme(name=tenant)


def not_known(tenant: str) -> Theme:
    """Of a tenant whose entry is wrong."""
    return Theme(name=tenant, known=False)


def offered(themes: Themes, rules: ValidationRules, *, on_wrong: Callable[[WrongEntry], None] = refuse) -> Themes:
    """The themes, without those that offer what no submission could name: saving it would fail. ``on_wrong``: as of
    `read_themes`."""
    found = dict(themes)
    for tenant, theme in themes.items():
        why = _not_offered(theme, rules.purposes_of(tenant))
        if why is not None:
            on_wrong(WrongEntry(setting=SETTING, entry=tenant, why=f"names purposes of tenant {tenant} {why}"))
            found[tenant] = not_known(tenant)
    return found


def _not_offered(theme: Theme, purposes: Purposes) -> str | None:
    """Why a page of these could not be saved; None: it could."""
    if theme.purposes and not purposes.known:
        return "while the tenant's entry in CONSENT_RELAY_TENANT_PURPOSES is wrong: mend that"
    declared = purposes.declared
    unknown = [each.id for each in theme.purposes if declared is not None and each.id not in declared]
    if unknown:
        settings = "CONSENT_RELAY_PURPOSES, CONSENT_RELAY_TENANT_PURPOSES"
        return f"that are not declared ({settings}): {', '.join(unknown)}"
    return None


def read_themes(
    path: Path, *, channels: Collection[str], on_wrong: Callable[[WrongEntry], None] = refuse
) -> dict[str, Theme]:
    """The themes by tenant. ValueError with what is wrong with the file. A wrong entry is given to ``on_wrong``; where
    that returns, the tenant's theme is not known."""
    content = read_yaml(path)
    try:
        tenants = _FILE.validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(_wrong("its beginning", first["msg"])) from None
    found = {}
    for name, given in tenants.items():
        try:
            found[name] = _theme(name, given, path.parent, channels)
        except ValueError as error:
            on_wrong(WrongEntry(setting=SETTING, entry=name, why=str(error)))
            found[name] = not_known(name)
    return found


def _wrong(at: str, what: str) -> str:
    return f"names a file that is wrong at {at}: {what}; see docs/preference-centre.md"


def _theme(name: str, entry: object, directory: Path, channels: Collection[str]) -> Theme:
    try:
        given = _TENANT.validate_python(entry)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(_wrong(".".join(map(str, [name, *first["loc"]])), first["msg"])) from None
    faults = [*given.colours.faults(), *_purpose_faults(given.purposes, channels)]
    if faults:
        raise ValueError(f"names a file that is wrong at {name}: {'; '.join(faults)}")
    return Theme(
        name=given.name,
        controller=given.controller,
        notice=given.notice,
        purposes=given.purposes,
        logo=_logo(name, directory / given.logo) if given.logo is not None else None,
        colours=given.colours,
        language=given.language,
        privacy=given.privacy,
        accessibility=given.accessibility,
    )


def _purpose_faults(purposes: Iterable[Purpose], channels: Collection[str]) -> list[str]:
    seen: set[str] = set()
    faults: list[str] = []
    for each in purposes:
        if each.id in seen:
            faults.append(f"purpose {each.id} is there twice")
        seen.add(each.id)
        faults += [
            f"purpose {each.id} has a channel that this installation has not: {channel[:32]}"
            for channel in each.channels
            if channel not in channels
        ]
    return faults


def _logo(name: str, path: Path) -> str:
    """As a data: URI, so that a page loads nothing."""
    kind = _LOGO_TYPES.get(path.suffix.lower())
    try:
        content = path.read_bytes()
    except OSError:
        content = b""
    if kind is None or not 0 < len(content) <= _LARGEST_LOGO:
        kinds = ", ".join(_LOGO_TYPES)
        raise ValueError(
            f"names a file that is wrong at {name}.logo: a readable file beside it, {kinds}, of at most"
            f" {_LARGEST_LOGO} bytes"
        )
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _mixed(one: str, other: str, share: float) -> str:
    """A colour of ``share`` of the one and the rest of the other."""
    parts = ((int(one[at : at + 2], 16), int(other[at : at + 2], 16)) for at in (1, 3, 5))
    return "#" + "".join(f"{round(a * share + b * (1 - share)):02x}" for a, b in parts)


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio of two colours: 1 to 21."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return 0.2126 * _linear(red) + 0.7152 * _linear(green) + 0.0722 * _linear(blue)


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)

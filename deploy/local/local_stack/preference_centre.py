"""What people see behind their links on a local system: a brand's theme, and the URL of the local API."""

from collections.abc import Mapping
from pathlib import Path

THEME = """\
# Written by `consent-relay up`: docs/preference-centre.md has each member. Yours: CONSENT_RELAY_THEME_FILE.
acme:
  name: Maison Acme
  controller: Acme SAS, 1 rue de l’Exemple, Paris
  notice: {version: "2026-11"}
  privacy: {en: https://example.com/privacy, fr: https://example.com/confidentialite}
  purposes:
    - id: promotions
      channels: [email, sms, voice]
      title: {en: Offers and sales, fr: Offres et soldes}
      text:
        en: Private sales, new collections and discounts, at most twice a week.
        fr: Ventes privées, nouvelles collections et remises, deux fois par semaine au plus.
    - id: newsletter
      channels: [email]
      valid_days: 730
      title: {en: The Journal, fr: Le Journal}
      text:
        en: Stories from our workshops and the people who work there, once a month.
        fr: Des histoires de nos ateliers et de celles et ceux qui y travaillent, une fois par mois.
    - id: survey
      channels: [email, sms]
      title: {en: Your opinion, fr: Votre avis}
      text:
        en: A short question after a purchase or a call, to do better next time.
        fr: Une courte question après un achat ou un appel, pour mieux faire la prochaine fois.
"""
_PUBLIC_URL, _THEME_FILE = "CONSENT_RELAY_PUBLIC_URL", "CONSENT_RELAY_THEME_FILE"
_DECLARING = {"CONSENT_RELAY_CHANNELS", "CONSENT_RELAY_PURPOSES", "CONSENT_RELAY_TENANT_PURPOSES"}


def write_theme(directory: Path) -> dict[str, str]:
    """The setting that names THEME, written as `theme.yaml` in the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "theme.yaml"
    file.write_text(THEME, "utf-8")
    return {_THEME_FILE: str(file)}


def settings(directory: Path, api_url: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What makes links work here, less what `environ` sets, itself or by a file. THEME is left out where `environ`
    declares channels or purposes: the API does not start with a theme that offers others."""
    given = {*environ, *(name.removesuffix("_FILE") for name in environ)}
    url = {} if _PUBLIC_URL in given else {_PUBLIC_URL: api_url}
    return url if given & {_THEME_FILE, *_DECLARING} else {**url, **write_theme(directory)}

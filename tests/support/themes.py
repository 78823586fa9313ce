"""A tenant's preference centre, for tests and for pictures of it."""

from __future__ import annotations

from pathlib import Path

from consent_api.links.theme import Theme, read_themes

FILE = """
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
CHANNELS = ("sms", "email", "voice")


def themes(directory: Path) -> dict[str, Theme]:
    path = directory / "themes.yaml"
    path.write_text(FILE, "utf-8")
    return read_themes(path, channels=CHANNELS)

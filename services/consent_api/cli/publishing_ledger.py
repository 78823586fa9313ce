"""The ledger of a command that records decisions, which the relay publishes. Import it where the command runs."""

from __future__ import annotations

from sqlalchemy import Engine

from consent_api.ledger.ids import DecisionIds
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.outbox_messages import ChangeMessages
from consent_api.ledger.purposes import PurposeLimit
from consent_api.ledger.recording import LedgerContext
from consent_api.settings import DatabaseSettings
from consent_contracts.codec import Codec
from consent_privacy.keyring import Keyring


def publishing_ledger(
    engine: Engine, codec: Codec, settings: DatabaseSettings, keyring: Keyring, *, purposes: PurposeLimit | None = None
) -> Ledger:
    """``purposes``: how many a tenant may have; None: the default."""
    context = LedgerContext(
        keyring=keyring,
        outbox=ChangeMessages(codec=codec, topics=settings.topics, partitions=settings.partitions),
        ids=DecisionIds(),
        purposes=purposes or PurposeLimit(),
    )
    return Ledger(engine=engine, context=context)

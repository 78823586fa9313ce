"""Which databases end the start of a process: those that refuse it, whatever they are called."""

from sqlalchemy import make_url

from consent_api.ledger.database import connect, refuse_denied


def test_a_database_that_does_not_answer_is_waited_for_whatever_its_name() -> None:
    url = make_url("postgresql://role@/alerts?host=/nowhere/alert")

    refuse_denied(connect(url, pool_size=1, application="test"))

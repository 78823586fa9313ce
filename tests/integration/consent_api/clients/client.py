"""What a tool in Python does with generated clients: sends the bodies of the README, and reads the answers."""

import importlib
import json
import pkgutil
import sys
from pathlib import Path
from uuid import uuid4

import gate_client
import relay_client
from gate_client.api.check import check_addresses
from gate_client.models import CheckRequest
from relay_client.api.decisions import get_decision, submit_batch, submit_decision
from relay_client.api.explain import explain_address
from relay_client.api.links import create_links
from relay_client.models import ExplainRequest, LinksRequest, Problem, SubmittedBatch, SubmittedDecision


def main(api: str, key: str, gate: str, bodies: Path) -> None:
    for package in (relay_client, gate_client):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)

    def read(name: str, model: type) -> list:
        shown = json.loads((bodies / f"{name}.json").read_text())
        sent = [model.from_dict(each) for each in shown]
        assert [each.to_dict() for each in sent] == shown, "what is left out is not sent"
        return sent

    client = relay_client.AuthenticatedClient(base_url=api, token=key)
    for decision in read("decisions", SubmittedDecision):
        recorded = submit_decision.sync(client=client, body=decision, idempotency_key=str(uuid4()))
        print(recorded.outcome, recorded.effect, get_decision.sync(recorded.decision_id, client=client).status)
    for batch in read("batch", SubmittedBatch):
        for each in submit_batch.sync(client=client, body=batch, idempotency_key=str(uuid4())).results:
            print(each.outcome, *([each.errors[0].detail] if each.errors else []))
    for wanted in read("links", LinksRequest):
        for each in create_links.sync(client=client, body=wanted).links:
            print(each.unsubscribe.rpartition("/")[0] + "/", each.list_unsubscribe_post)

    for question in read("explain", ExplainRequest):
        verdict = explain_address.sync(client=client, body=question).verdict
        print(str(verdict.permitted).lower(), verdict.reason)

    gate_key = gate_client.AuthenticatedClient(base_url=gate, token=key)
    for check in read("check", CheckRequest):
        for each in check_addresses.sync(client=gate_key, body=check).results:
            print(each.index, each.reason)

    decision.channel = "fax"
    problem = submit_decision.sync(client=client, body=decision, idempotency_key=str(uuid4()))
    assert isinstance(problem, Problem)
    print(problem.status, problem.errors[0].detail)


if __name__ == "__main__":
    main(*sys.argv[1:4], Path(sys.argv[4]))

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
from relay_client.api.decisions import get_decision, submit_decision
from relay_client.api.explain import explain_address
from relay_client.models import ExplainRequest, Problem, SubmittedDecision


def main(api: str, key: str, gate: str, bodies: Path) -> None:
    for package in (relay_client, gate_client):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)

    def body(name: str) -> dict:
        return json.loads((bodies / f"{name}.json").read_text())

    client = relay_client.AuthenticatedClient(base_url=api, token=key)
    decision = SubmittedDecision.from_dict(body("decisions"))
    assert decision.to_dict() == body("decisions"), "what is left out is not sent"
    recorded = submit_decision.sync(client=client, body=decision, idempotency_key=str(uuid4()))
    print(recorded.outcome, recorded.effect)
    print(get_decision.sync(recorded.decision_id, client=client).status)

    explanation = explain_address.sync(client=client, body=ExplainRequest.from_dict(body("explain")))
    print(str(explanation.verdict.permitted).lower(), explanation.verdict.reason)

    gate_key = gate_client.AuthenticatedClient(base_url=gate, token=key)
    for each in check_addresses.sync(client=gate_key, body=CheckRequest.from_dict(body("check"))).results:
        print(each.index, each.reason)

    decision.channel = "fax"
    problem = submit_decision.sync(client=client, body=decision, idempotency_key=str(uuid4()))
    assert isinstance(problem, Problem)
    print(problem.status, problem.errors[0].detail)


if __name__ == "__main__":
    main(*sys.argv[1:4], Path(sys.argv[4]))

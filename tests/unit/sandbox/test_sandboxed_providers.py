from __future__ import annotations

import base64
import json
import time
from typing import Any

import aiohttp
import pytest

from provider_sandbox.config import GenesysOrg, SandboxConfig, SendGridAccount, TwilioAccount
from provider_sandbox.webhook import signature


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


TWILIO = basic("AC00000000000000000000000000000000", "sandbox-twilio-token")
SENDGRID = {"Authorization": "Bearer SG.sandbox"}
SENDER = "MG" + "1" * 32
PHONE = "+33639980001"
SECRET = "whsec_c2FuZGJveC13ZWJob29rLXNlY3JldC0wMDAwMDE="
DNC = "00000000-0000-4000-8000-000000000001"


def consent(contact: str, *, status: str = "opt-out", sender: str = SENDER, number: int = 1, **others: Any) -> str:
    return json.dumps(
        {
            "contact_id": contact,
            "correlation_id": f"{number:032x}",
            "sender_id": sender,
            "status": status,
            "source": "others",
        }
        | others
    )


def items(*consents: str) -> aiohttp.FormData:
    form = aiohttp.FormData()
    for one in consents:
        form.add_field("Items", one)
    return form


async def bulk(client: Any, *consents: str, auth: dict[str, str] = TWILIO) -> tuple[int, Any]:
    status, body, _ = await client.call("POST", "/twilio/v1/Consents/Bulk", data=items(*consents), headers=auth)
    return status, body


async def test_twilio_answers_each_item_and_holds_the_accepted_ones(open_sandbox: Any) -> None:
    client = await open_sandbox()
    status, body = await bulk(client, consent(PHONE), consent("0612345678", number=2))
    assert status == 201
    assert body["items"] == [
        {"correlation_id": f"{1:032x}", "error_code": 0, "error_messages": []},
        {"correlation_id": f"{2:032x}", "error_code": 30646, "error_messages": ["INVALID_CONTACT_ID"]},
    ]
    assert (await client.state("twilio"))["states"] == {PHONE: {SENDER: "suppressed"}}


async def test_twilio_refuses_wrong_credentials_a_sender_it_does_not_know_and_26_items(open_sandbox: Any) -> None:
    client = await open_sandbox(SandboxConfig(twilio=TwilioAccount(senders=(SENDER,))))
    assert (await bulk(client, consent(PHONE), auth={}))[0] == 401
    _, body = await bulk(client, consent(PHONE, sender="MG" + "2" * 32))
    assert body["items"][0]["error_messages"] == ["INVALID_SENDER_ID"]
    assert (await bulk(client, *[consent(PHONE, number=n) for n in range(26)]))[0] == 400


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"source": "webiste"}, "INVALID_SOURCE"),
        ({"source": None}, "INVALID_SOURCE"),
        ({"source": ["others"]}, "INVALID_SOURCE"),
        ({"status": "stop"}, "INVALID_STATUS"),
        ({"status": {}}, "INVALID_STATUS"),
        ({"sender_id": "ACME"}, "INVALID_SENDER_ID"),
        ({"contact_id": 33639980001}, "INVALID_CONTACT_ID"),
        *(
            ({"date_of_consent": date}, "INVALID_DATE_OF_CONSENT")
            for date in (
                "2999-01-01T00:00:00Z",
                "2025-13-45T00:00:00Z",
                "yesterday",
                "",
                "1970-01-01T00:00:00Z",
                7,
                None,
            )
        ),
    ],
)
async def test_twilio_names_what_is_wrong_with_an_item(
    open_sandbox: Any, members: dict[str, Any], message: str
) -> None:
    client = await open_sandbox()
    _, body = await bulk(client, consent(PHONE, **members), consent(PHONE, number=2))
    assert [(each["error_code"], each["error_messages"]) for each in body["items"]] == [(30646, [message]), (0, [])]


async def test_twilio_takes_dates_that_have_come_and_short_codes(open_sandbox: Any) -> None:
    client = await open_sandbox()
    items_taken = [
        consent(PHONE, number=number, date_of_consent=date)
        for number, date in enumerate(("2025-10-09T08:53:20Z", "2025-10-09t08:53:20.123+02:00"))
    ]
    _, body = await bulk(client, *items_taken, consent(PHONE, number=7, sender="38200"))
    assert [each["error_code"] for each in body["items"]] == [0, 0, 0]


async def test_twilio_refuses_items_whose_id_comes_twice_or_is_none(open_sandbox: Any) -> None:
    client = await open_sandbox()
    for others, refused in [({}, 2), ({"correlation_id": None}, 1), ({"correlation_id": ["x"]}, 1)]:
        _, body = await bulk(client, consent(PHONE), consent("+33639980002", **others))
        messages = [each["error_messages"] for each in body["items"]]
        assert messages[2 - refused :] == [["INVALID_CORRELATION_ID"]] * refused
    assert (await client.state("twilio"))["states"] == {PHONE: {SENDER: "suppressed"}}


async def test_twilio_may_not_have_opened_the_account(open_sandbox: Any) -> None:
    client = await open_sandbox(SandboxConfig(twilio=TwilioAccount(consent_api=False)))
    assert (await bulk(client, consent(PHONE)))[0] == 404


@pytest.mark.parametrize("group", ["groups/101/suppressions", "suppressions/global"])
async def test_sendgrid_refuses_what_the_keys_scopes_do_not_allow(open_sandbox: Any, group: str) -> None:
    root, body = f"/sendgrid/v3/asm/{group}", {"recipient_emails": ["a@example.com"]}
    prefix = "asm.groups.suppressions" if "101" in group else "asm.suppressions.global"
    calls = {"create": ("POST", root), "delete": ("DELETE", f"{root}/a@example.com")}
    for allowed, (method, path) in calls.items():
        client = await open_sandbox(SandboxConfig(sendgrid=SendGridAccount(scopes=(f"{prefix}.{allowed}",))))
        assert (await client.call(method, path, json=body, headers=SENDGRID))[0] < 400 or method == "DELETE"
        for other, (other_method, other_path) in calls.items():
            if other != allowed:
                status, error, _ = await client.call(other_method, other_path, json=body, headers=SENDGRID)
                assert (status, error["errors"][0]["field"]) == (403, None)
        assert (await client.call("GET", "/sendgrid/v3/asm/groups/101", headers=SENDGRID))[0] == 403


async def test_an_absent_global_address_is_lifted_with_204(open_sandbox: Any) -> None:
    client = await open_sandbox()
    root = "/sendgrid/v3/asm"
    assert (await client.call("DELETE", f"{root}/suppressions/global/a@example.com", headers=SENDGRID))[0] == 204
    status, error, headers = await client.call(
        "DELETE", f"{root}/groups/101/suppressions/a@example.com", headers=SENDGRID
    )
    assert (status, headers["X-Sandbox-Source"]) == (404, "assumed")
    assert error == {"errors": [{"field": None, "message": "not found", "help": None}]}


async def test_every_answer_names_its_source_or_says_that_it_is_assumed(open_sandbox: Any) -> None:
    client = await open_sandbox()
    root, email = "/sendgrid/v3/asm", "a@example.com"
    body = {"recipient_emails": [email]}
    sources = {}
    for method, path, sent in [
        ("POST", f"{root}/groups/101/suppressions", body),
        ("POST", f"{root}/groups/999/suppressions", body),
        ("POST", f"{root}/groups/101/suppressions", {"recipient_emails": ["no-address"]}),
        ("POST", f"{root}/groups/101/suppressions", {"recipient_emails": [email] * 1_001}),
        ("GET", f"{root}/groups/101", None),
        ("GET", f"{root}/groups/999", None),
        ("GET", f"{root}/suppressions/global/{email}", None),
        ("DELETE", f"{root}/suppressions/global/{email}", None),
    ]:
        _, _, headers = await client.call(method, path, json=sent, headers=SENDGRID)
        sources[method, path, str(sent)[:30]] = headers["X-Sandbox-Source"]
    assert all(sources.values())
    for sent in (items(consent(PHONE)), items(*[consent(PHONE, number=n) for n in range(26)])):
        _, _, headers = await client.call("POST", "/twilio/v1/Consents/Bulk", data=sent, headers=TWILIO)
        assert headers["X-Sandbox-Source"]
    status, _, headers = await client.call("POST", "/twilio/v1/Consents/Bulk", data=items(consent(PHONE)))
    assert (status, bool(headers["X-Sandbox-Source"])) == (401, True)


async def test_twilio_allows_100_calls_a_minute(open_sandbox: Any) -> None:
    client = await open_sandbox()
    statuses = [(await bulk(client, consent(PHONE)))[0] for _ in range(101)]
    assert statuses == [201] * 100 + [429]


async def test_sendgrid_takes_an_unknown_group_for_the_global_list_without_a_word(open_sandbox: Any) -> None:
    client = await open_sandbox()
    body = {"recipient_emails": ["a@example.com"]}
    for group in ("101", "999"):
        path = f"/sendgrid/v3/asm/groups/{group}/suppressions"
        status, echo, headers = await client.call("POST", path, json=body, headers=SENDGRID)
        assert (status, echo) == (201, body)
    assert int(headers["X-RateLimit-Remaining"]) == 598
    assert (await client.state("sendgrid"))["states"] == {
        "a@example.com": {"101": "suppressed", "global": "suppressed"}
    }
    status, group, _ = await client.call("GET", "/sendgrid/v3/asm/groups/101", headers=SENDGRID)
    assert (status, group["unsubscribes"]) == (200, 1)
    assert (await client.call("GET", "/sendgrid/v3/asm/groups/999", headers=SENDGRID))[0] == 404


async def test_sendgrid_lifts_reads_back_and_searches(open_sandbox: Any) -> None:
    client = await open_sandbox()
    root, email = "/sendgrid/v3/asm", "a@example.com"
    body = {"recipient_emails": [email]}
    await client.call("POST", f"{root}/suppressions/global", json=body, headers=SENDGRID)
    _, listed, _ = await client.call("GET", f"{root}/suppressions/global/{email}", headers=SENDGRID)
    assert listed == {"recipient_email": email}
    await client.call("POST", f"{root}/groups/102/suppressions", json=body, headers=SENDGRID)
    search = f"{root}/groups/102/suppressions/search"
    assert (await client.call("POST", search, json=body, headers=SENDGRID))[1] == [email]
    lift = f"{root}/groups/102/suppressions/{email}"
    assert (await client.call("DELETE", lift, headers=SENDGRID))[0] == 204
    assert (await client.call("DELETE", lift, headers=SENDGRID))[0] == 404
    assert (await client.call("POST", search, json=body, headers=SENDGRID))[1] == []


async def token(client: Any) -> dict[str, str]:
    auth = basic("sandbox-genesys-client", "sandbox-genesys-secret")
    grant = {"grant_type": "client_credentials"}
    _, body, _ = await client.call("POST", "/genesys/oauth/token", data=grant, headers=auth)
    return {"Authorization": f"Bearer {body['access_token']}"}


async def test_genesys_requires_a_live_token_and_caps_each_action(open_sandbox: Any) -> None:
    client = await open_sandbox(SandboxConfig(genesys=GenesysOrg(removals_per_call=1)))
    path = f"/genesys/api/v2/outbound/dnclists/{DNC}/phonenumbers"
    add = {"action": "Add", "phoneNumbers": [PHONE]}
    assert (await client.call("PATCH", path, json=add))[0] == 401
    live = await token(client)
    assert (await client.call("PATCH", path, json=add, headers=live))[0] == 204
    remove = {"action": "Remove", "phoneNumbers": [PHONE, "+33639980002"]}
    status, body, _ = await client.call("PATCH", path, json=remove, headers=live)
    assert (status, body["code"]) == (400, "dnc.delete.entries.max.per.request.exceeded")
    await client.call("POST", "/_control/genesys/expire-tokens")
    assert (await client.call("PATCH", path, json=add, headers=live))[0] == 401
    assert (await client.state("genesys"))["states"] == {PHONE: {DNC: "suppressed"}}


async def test_genesys_empties_the_whole_list_on_a_bare_delete(open_sandbox: Any) -> None:
    client = await open_sandbox(
        SandboxConfig(genesys=GenesysOrg(permissions=("outbound:dnc:edit", "outbound:dnc:delete")))
    )
    path, live = f"/genesys/api/v2/outbound/dnclists/{DNC}/phonenumbers", await token(client)
    await client.call("PATCH", path, json={"action": "Add", "phoneNumbers": [PHONE]}, headers=live)
    await client.call("DELETE", path, headers=live)
    assert (await client.state("genesys"))["states"] == {PHONE: {DNC: "permitted"}}


async def test_genesys_lists_are_as_large_as_the_organisation_allows(open_sandbox: Any) -> None:
    client = await open_sandbox(SandboxConfig(genesys=GenesysOrg(numbers_per_list=2, numbers_per_organization=3)))
    lists, live = "/genesys/api/v2/outbound/dnclists", await token(client)

    async def change(target: str, action: str, *numbers: str) -> tuple[int, str]:
        path, body = f"{lists}/{target}/phonenumbers", {"action": action, "phoneNumbers": numbers}
        status, answer, headers = await client.call("PATCH", path, json=body, headers=live)
        assert headers["X-Sandbox-Source"]
        return status, answer["code"] if status == 400 else ""

    other = DNC[:-1] + "2"
    per_list, per_organisation = (f"dnc.phone.numbers.per.{each}.limit.exceeded" for each in ("list", "organization"))
    assert await change(DNC, "Add", "+336001", "+336002") == (204, "")
    assert await change(DNC, "Add", "+336001") == (204, "")
    assert await change(DNC, "Add", "+336003") == (400, per_list)
    assert await change(other, "Add", "+336003") == (204, "")
    assert await change(other, "Add", "+336004") == (400, per_organisation)
    assert await change(DNC, "Remove", "+336001") == (204, "")
    assert await change(other, "Add", "+336004") == (204, "")
    await client.call("PUT", "/_control/genesys", json={"numbers_per_organization": 4})
    assert await change(DNC, "Add", "+336003") == (204, "")
    assert (await client.call("PUT", "/_control/genesys", json={"numbers": 4}))[0] == 400


async def test_genesys_names_lists_in_campaigns_and_grants_permissions_by_client(open_sandbox: Any) -> None:
    client = await open_sandbox(SandboxConfig(genesys=GenesysOrg(campaigns={"a": (), "b": (DNC,)})))
    path, live = "/genesys/api/v2/outbound/campaigns?pageSize=1&pageNumber=2", await token(client)
    status, page, _ = await client.call("GET", path, headers=live)
    assert (status, page["pageCount"], page["entities"]) == (200, 2, [{"name": "b", "dncLists": [{"id": DNC}]}])
    await client.call("PUT", "/_control/genesys", json={"permissions": ["outbound:dnc:edit"]})
    status, body, headers = await client.call("GET", path, headers=live)
    assert (status, body["code"], bool(headers["X-Sandbox-Source"])) == (403, "missing.any.permissions", True)


def message(*, permitted: bool) -> bytes:
    purposes = {"newsletter": {"permitted": permitted}}
    data = {"channel": "email", "address_key": "k1.abc", "purposes": purposes}
    return json.dumps({"type": "suppression.updated", "data": data}).encode()


def signed(body: bytes, message_id: str, *, at: int | None = None, secret: str = SECRET) -> dict[str, str]:
    stamp = int(time.time()) if at is None else at
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(stamp),
        "webhook-signature": "v1,bm90IHRoaXMgb25l " + signature(secret, message_id, stamp, body),
    }


async def test_a_receiver_believes_only_signed_fresh_messages_and_each_id_once(open_sandbox: Any) -> None:
    client = await open_sandbox()

    async def send(body: bytes, headers: dict[str, str]) -> int:
        return (await client.call("POST", "/webhook/crm", data=body, headers=headers))[0]

    no, yes = message(permitted=False), message(permitted=True)
    assert await send(no, {}) == 401
    assert await send(no, signed(no, "m1", secret="whsec_d3Jvbmc=")) == 401
    assert await send(no, signed(no, "m1", at=int(time.time()) - 3_600)) == 401
    assert await send(no, signed(yes, "m1")) == 401
    assert (await client.state("webhook/crm"))["states"] == {}
    assert await send(no, signed(no, "m1")) == 204
    assert await send(yes, signed(yes, "m1")) == 204
    assert len(await client.request_log("webhook/crm")) == 6
    assert (await client.state("webhook/crm"))["states"] == {"k1.abc": {"newsletter": "suppressed"}}

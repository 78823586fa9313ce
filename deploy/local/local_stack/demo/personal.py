"""What people do themselves in the demo: STOP by SMS, one click in a mail, the preference centre.

They are people for whom nothing else is sent meanwhile: the ledger gives their choices its own time, so that nothing
else may be decided for them at the same moment.
"""

from __future__ import annotations

import base64
import hmac
import random
import re
import secrets
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

import httpx
import yaml

from consent_contracts import EVERY_PURPOSE, Decision
from consent_privacy import private_files
from consent_service.clock import now_micros
from local_stack.audit.compare import ExpectedState
from local_stack.demo.population import Person

REPLIES = ("STOP", "Stop svp", "ARRÊT!!", "désabonnez-moi", "plus de sms merci", "unsubscribe me please", "STOPP")
_SOURCE = "twilio-replies"
_WEBHOOK = f"https://consent.example.com/v1/inbound/{_SOURCE}"
"""As the tool calls it, from outside: its signature is over this URL."""
_TOKEN = "twilio-replies-token"  # noqa: S105 - a file's name
_MAIL_PURPOSES = ("newsletter", "survey")
_FORM = re.compile(r'name="form" value="([^"]+)"')


def write_sources(directory: Path) -> dict[str, str]:
    """The setting by which the API accepts the replies, and the files that it names."""
    (directory / "secrets").mkdir(mode=0o700, parents=True, exist_ok=True)
    token = directory / "secrets" / _TOKEN
    private_files.replace(token, secrets.token_hex(16))
    source = {"id": _SOURCE, "provider": "twilio", "channel": "sms", "url": _WEBHOOK, "secrets": [{"file": str(token)}]}
    file = directory / "inbound.yaml"
    file.write_text(yaml.safe_dump({"sources": [source]}), "utf-8")
    return {"CONSENT_RELAY_INBOUND_FILE": str(file)}


class PersonalChoices:
    """One thread's. Each choice that is answered 2xx is noted in ``expected``."""

    def __init__(
        self,
        api: str,
        api_key: str,
        directory: Path,
        people: Sequence[Person],
        expected: ExpectedState,
        *,
        seed: int,
    ) -> None:
        self._client = httpx.Client(base_url=api, timeout=30)
        self._authorization = {"Authorization": f"Bearer {api_key}"}
        self._token = (directory / "secrets" / _TOKEN).read_text().strip()
        self._people = people
        self._expected = expected
        self._random = random.Random(seed)  # noqa: S311 - a repeatable scenario, not a secret
        self.outcomes: Counter[str] = Counter()

    def close(self) -> None:
        self._client.close()

    def next(self) -> None:
        """One choice more, by one of the ways. TimeoutError where the API does not take it for a minute."""
        if not self._people:
            return
        way = self._random.choice((self._reply, self._click, self._prefer))
        way(self._random.choice(self._people))

    def _reply(self, person: Person) -> None:
        fields = {
            "From": person.phone,
            "To": "38000",
            "Body": self._random.choice(REPLIES),
            "MessageSid": f"SM{secrets.token_hex(16)}",
        }
        signed = _WEBHOOK + "".join(name + value for name, value in sorted(fields.items()))
        signature = base64.b64encode(hmac.digest(self._token.encode(), signed.encode(), "sha1")).decode()
        self._post(
            f"/v1/inbound/{_SOURCE}",
            content=urllib.parse.urlencode(fields).encode(),
            headers={"Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": signature},
        )
        self._note(person, "sms", EVERY_PURPOSE, way="STOP replies")

    def _click(self, person: Person) -> None:
        purpose = self._random.choice(_MAIL_PURPOSES)
        self._post(self._links(person, purpose=purpose)["unsubscribe"], data={"List-Unsubscribe": "One-Click"})
        self._note(person, "email", purpose, way="one-click posts")

    def _prefer(self, person: Person) -> None:
        page = self._links(person, subject_ref=person.subject_ref)["preferences"]
        form = _FORM.search(self._ask(lambda: self._client.get(page)).text)
        if form is None:
            raise TimeoutError("the preference centre shows no form")
        purpose = self._random.choice(_MAIL_PURPOSES)
        self._post(page, data={"form": form[1], "action": "save", f"email.{purpose}": "off"})
        self._note(person, "email", purpose, way="preference changes", subject_ref=person.subject_ref)

    def _links(self, person: Person, **more: str) -> dict[str, str]:
        wanted = {"channel": "email", "address": person.email, **more}
        (made,) = self._post("/v1/links", json={"links": [wanted]}, headers=self._authorization).json()["links"]
        return {name: url for name, url in made.items() if name in ("unsubscribe", "preferences")}

    def _post(self, url: str, **content: object) -> httpx.Response:
        return self._ask(lambda: self._client.post(url, **content))  # type: ignore[arg-type]

    def _ask(self, send: Callable[[], httpx.Response]) -> httpx.Response:
        """Again while the API cannot answer, as browsers' people and tools do."""
        deadline = time.monotonic() + 60.0
        while True:
            try:
                answer = send()
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code not in (429, 503):
                return answer.raise_for_status()
            if time.monotonic() > deadline:
                raise TimeoutError("the API did not record what people chose themselves")
            time.sleep(0.2)

    def _note(self, person: Person, channel: str, purpose: str, *, way: str, subject_ref: str | None = None) -> None:
        now = now_micros()
        decision = Decision(
            decision_id=str(uuid4()),
            subject_ref=subject_ref,
            purpose=purpose,
            status="withdrawn",
            effective_at=now,
            recorded_at=now,
            expires_at=None,
        )
        self._expected.add((channel, person.address(channel)), decision)
        self.outcomes[way] += 1

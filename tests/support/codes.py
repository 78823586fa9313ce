"""The operator's webhook for codes, without a network."""

from __future__ import annotations

from prometheus_client import Counter

from consent_api.links.code_webhook import CodeMessage, CodeWebhook


class CodePost(CodeWebhook):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__("https://example.com/codes", secret=b"", allow_private=False)
        self.sent: list[CodeMessage] = []

    def hand_over(self, message: CodeMessage, outcomes: Counter) -> None:
        self.sent.append(message)

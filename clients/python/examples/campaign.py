"""Sends to the numbers of a file that may be contacted: campaign.py KAFKA REGISTRY KEY_FILE NUMBERS [TOPIC_PREFIX]"""

import sys
from pathlib import Path

from consent_client import ListNotReadyError, SuppressionList

PURPOSE = "promotions"
AT_ONCE = 500


def send(number: str) -> None:
    print("sent to", number)  # Here your provider is called.


def main(kafka: str, registry: str, key_file: str, numbers_file: str, topic_prefix: str = "") -> int:
    numbers = Path(numbers_file).read_text(encoding="utf-8").splitlines()
    with SuppressionList.open(kafka, registry, key_file, channel="sms", topic_prefix=topic_prefix) as list_:
        for start in range(0, len(numbers), AT_ONCE):
            # Asked again for each portion: a campaign takes hours, and people withdraw meanwhile.
            portion = numbers[start : start + AT_ONCE]
            try:
                answers = list_.check(portion, PURPOSE)
            except ListNotReadyError as error:
                print(f"stopped after {start} numbers: {error}", file=sys.stderr)
                return 75  # To be tried again later.
            for number, answer in zip(portion, answers, strict=True):
                if answer.permits():
                    send(number)
                else:
                    print("not sent to", number, answer.reason)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

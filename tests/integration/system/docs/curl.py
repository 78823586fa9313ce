"""`curl` where none is installed: the options that the documents use, over httpx."""

import argparse
import sys
from pathlib import Path

import httpx


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("curl", allow_abbrev=False)
    parser.add_argument("url")
    parser.add_argument("-s", action="store_true")
    parser.add_argument("-H", action="append", default=[], dest="headers")
    parser.add_argument("-d", dest="body")
    parser.add_argument("-X", dest="method")
    asked = parser.parse_args(arguments)
    body = asked.body
    if body is not None and body.startswith("@"):
        body = Path(body[1:]).read_text("utf-8")
    headers = [tuple(each.split(": ", 1)) for each in asked.headers]
    method = asked.method or ("GET" if body is None else "POST")
    content = None if body is None else body.encode()
    print(httpx.request(method, asked.url, headers=headers, content=content, timeout=60).text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

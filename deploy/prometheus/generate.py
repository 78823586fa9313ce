"""Writes the rules for the Prometheus operator: `python deploy/prometheus/generate.py`. A test holds the file to this
program. With `--runbooks URL` the alerts lead to your copy of docs/runbooks.md there."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

HERE = Path(__file__).parent
WRITTEN = HERE.parent / "kubernetes" / "components" / "monitoring" / "prometheus-rules.yaml"
NAMES = ("rules", "alerts")
"""Of the files and, after `consent-relay-`, of the resources: one each, as names of groups are unique in a resource."""
RUNBOOKS = "docs/runbooks.md"
"""As the files name the page: a path of this repository, which no browser opens."""

_HEAD = """\
# Written by deploy/prometheus/generate.py, from {name}.yml there: change that one.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: consent-relay-{name}
  labels: {{app.kubernetes.io/name: consent-relay, app.kubernetes.io/part-of: consent-relay}}
spec:
"""
_PAGE = re.compile(r"https?://[\w.:\[\]-]+(/[\w./~%+=&?@:-]*)?", re.ASCII)


def rendered(runbooks: str = RUNBOOKS) -> str:
    """The YAML documents. The files are taken over line by line: what they hold is what `spec` holds, but for the page
    `runbooks` instead of docs/runbooks.md."""
    return "---\n".join(
        _HEAD.format(name=name) + _indented(_leading_to(runbooks, (HERE / f"{name}.yml").read_text("utf-8")))
        for name in NAMES
    )


def page(text: str) -> str:
    """The URL of a page, to which the alert's heading is added. ArgumentTypeError for anything else."""
    if not _PAGE.fullmatch(text):
        raise argparse.ArgumentTypeError("must be an http(s) URL without a heading (#...)")
    return text


def _leading_to(runbooks: str, text: str) -> str:
    return text.replace(f"runbook_url: {RUNBOOKS}#", f"runbook_url: {runbooks}#")


def _indented(text: str) -> str:
    return "".join(f"  {line}" if line.strip() else line for line in text.splitlines(keepends=True))


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the rules for the Prometheus operator.")
    parser.add_argument(
        "--runbooks",
        type=page,
        metavar="URL",
        help="of your copy of docs/runbooks.md, without a heading, such as https://docs.example.com/runbooks.html",
    )
    WRITTEN.write_text(rendered(parser.parse_args().runbooks or RUNBOOKS), "utf-8")


if __name__ == "__main__":
    main()

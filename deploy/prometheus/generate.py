"""Writes the rules for the Prometheus operator: `python deploy/prometheus/generate.py`. A test holds the file to this
program."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
WRITTEN = HERE.parent / "kubernetes" / "components" / "monitoring" / "prometheus-rules.yaml"
NAMES = ("rules", "alerts")
"""Of the files and, after `consent-relay-`, of the resources: one each, as names of groups are unique in a resource."""

_HEAD = """\
# Written by deploy/prometheus/generate.py, from {name}.yml there: change that one.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: consent-relay-{name}
  labels: {{app.kubernetes.io/name: consent-relay, app.kubernetes.io/part-of: consent-relay}}
spec:
"""


def rendered() -> str:
    """The YAML documents. The files are taken over line by line: what they hold is what `spec` holds."""
    return "---\n".join(
        _HEAD.format(name=name) + _indented((HERE / f"{name}.yml").read_text("utf-8")) for name in NAMES
    )


def _indented(text: str) -> str:
    return "".join(f"  {line}" if line.strip() else line for line in text.splitlines(keepends=True))


if __name__ == "__main__":
    WRITTEN.write_text(rendered(), "utf-8")

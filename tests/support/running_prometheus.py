"""A real Prometheus, of Debian's package, that scrapes given targets and evaluates given rules each second."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from local_stack.ports import free_port
from tests.support.debian import unpacked
from tests.support.waiting import until

SHIPPED = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES = ("rules.yml", "alerts.yml")


class Prometheus:
    """A running one, at ``url``."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=30.0)

    def close(self) -> None:
        self._client.close()

    def query(self, expression: str) -> list[Any]:
        answer = self._client.get("/api/v1/query", params={"query": expression})
        assert answer.status_code == 200, answer.text
        found: list[Any] = answer.json()["data"]["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        groups = self._client.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def firing(self) -> list[dict[str, str]]:
        """The labels of each alert that fires."""
        alerts = [alert for rule in self.rules() for alert in rule.get("alerts", ())]
        return [alert["labels"] for alert in alerts if alert["state"] == "firing"]

    def answers(self) -> bool:
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def running(
    directory: Path,
    processes: Mapping[str, str],
    *,
    tools: Mapping[str, str] | None = None,
    rules: Sequence[Path] = tuple(SHIPPED / name for name in RULES),
) -> Iterator[Prometheus]:
    """``processes``: of ours, by name, the address of their metrics. ``tools``: those of others, each a job."""
    program = unpacked("prometheus", package="prometheus", directory=directory)
    jobs = [{"job_name": "consent-relay", "static_configs": [_target(url, name) for name, url in processes.items()]}]
    jobs += [{"job_name": name, "static_configs": [_target(url)]} for name, url in (tools or {}).items()]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(file) for file in rules],
        "scrape_configs": jobs,
    }
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    listen = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [
            program,
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address={listen}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with closing(Prometheus(f"http://{listen}")) as prometheus:
            until(prometheus.answers)
            yield prometheus
    finally:
        process.terminate()
        process.wait(timeout=60)


def _target(url: str, process: str = "") -> dict[str, Any]:
    labels = {"process": process} if process else {}
    return {"targets": [url.removeprefix("http://")], "labels": labels}

"""deploy/proxy/consent-relay.conf: the real nginx accepts it, and its bounds fit those of the API and the gate."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from consent_api.settings import ApiSettings
from consent_http import http_server, request_body
from status_page import streams
from tests.support.nginx import NAMES, SHIPPED, configured

TEXT = re.sub(r"#.*", "", SHIPPED.read_text())
SERVERS = {name: block for block in TEXT.split("server {")[1:] for name in re.findall(r"server_name (\S+);", block)}
UNITS = {"": 1, "k": 1_024, "m": 1_048_576, "s": 1}


def values(directive: str, text: str = TEXT) -> list[int]:
    """Bytes or seconds, of each time that it is there."""
    found = re.findall(rf"^\s*{directive} (?:\d+ )?(\d+)([kms]?);", text, re.MULTILINE)
    return [int(number) * UNITS[unit] for number, unit in found]


@pytest.mark.long
def test_nginx_accepts_it(tmp_path: Path) -> None:
    instances = {"api": "127.0.0.1:8080", "gate": "127.0.0.1:8082", "status": "127.0.0.1:8083"}
    proxy = configured(tmp_path, **instances, user="root" if os.geteuid() == 0 else "")
    done = proxy.check()
    assert (done.returncode, "warn" in done.stderr) == (0, False), done.stderr


def test_it_closes_idle_connections_before_our_servers_do() -> None:
    """Else a request may be sent on a connection that is being closed, and is lost."""
    assert len(values("keepalive_timeout")) == 4
    assert max(values("keepalive_timeout")) <= http_server.HEAD_SECONDS / 2


def test_slow_and_large_requests_end_here() -> None:
    assert values("client_header_timeout") == [http_server.HEAD_SECONDS]
    assert values("client_body_timeout") == [request_body.BODY_SECONDS]
    assert values("large_client_header_buffers") == [http_server.MOST_HEAD_BYTES]
    assert all(values("client_max_body_size", block) for block in SERVERS.values())


def test_it_refuses_no_body_that_our_servers_take() -> None:
    batch = ApiSettings.model_fields["api_max_body"].default
    assert values("client_max_body_size", SERVERS["api.example.com"])[0] >= max(batch, 4 * UNITS["m"])
    assert values("client_max_body_size", SERVERS["gate.example.com"])[0] >= 4 * UNITS["m"]


def test_a_post_is_not_repeated_but_for_a_check() -> None:
    [everywhere] = re.findall(r"^proxy_next_upstream ([^;]+);", TEXT, re.MULTILINE)
    assert "non_idempotent" not in everywhere
    repeated = [name for name, block in SERVERS.items() if "non_idempotent" in block]
    assert repeated == ["gate.example.com"]
    assert "location = /v1/check" in SERVERS["gate.example.com"]


def test_a_caller_s_own_claim_of_its_address_does_not_count() -> None:
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in TEXT
    assert 'proxy_set_header Forwarded "";' in TEXT
    assert "$proxy_add_x_forwarded_for" not in TEXT
    assert all("proxy_set_header" not in block for block in SERVERS.values()), "one here would undo all of them"


def test_logs_hold_no_path() -> None:
    [line] = re.findall(r"^log_format without_path '([^']*)'", TEXT, re.MULTILINE)
    assert set(re.findall(r"\$(\w+)", line)).isdisjoint({"request", "request_uri", "uri", "args", "http_referer"})
    assert re.findall(r"access_log \S+ (\w+);", TEXT) == ["without_path"]


def test_persons_reach_their_pages_and_nothing_else() -> None:
    of_systems, of_employees = {"api.example.com", "gate.example.com"}, {"console.example.com", "status.example.com"}
    assert set(NAMES) == {"choices.example.com"} | of_systems | of_employees
    passed = re.findall(r"location (?:= )?(\S+) \{ proxy_pass", SERVERS["choices.example.com"])
    assert passed == ["/u/", "/p/", "/.well-known/gpc.json"]
    assert all("deny all;" in SERVERS[name] for name in of_employees)


def test_what_the_status_page_pushes_is_passed_on_as_it_comes() -> None:
    pushed = SERVERS["status.example.com"].partition("location = /status/events {")[2].partition("}")[0]
    assert "proxy_buffering off;" in pushed
    assert TEXT.count("proxy_buffering") == 1
    assert values("proxy_read_timeout")[0] > streams.HEARTBEAT_SECONDS

"""Which instances a process has, by the addresses of its name. # R39"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from status_page.discovery import Discovery
from status_page.settings import MOST_TARGETS, Target


def found(url: str, *addresses: str) -> list[tuple[str, str]]:
    """Name and URL of each instance of an API at the URL, whose name has these addresses."""
    asked = []

    async def resolve(host: str, port: int) -> Collection[str]:
        asked.append((host, port))
        if not addresses:
            raise OSError("no such name")
        return addresses

    targets = asyncio.run(Discovery([Target(name="api", process="api", url=url)], resolve).targets())
    assert {each.process for each in targets} == {"api"}
    assert asked == ([] if url.startswith("https") else [("api", 9464)])
    return [(each.name, each.url) for each in targets]


def test_each_address_of_a_name_is_an_instance_which_keeps_its_name() -> None:
    expected = [("api 10.0.0.1", "http://10.0.0.1:9464/below"), ("api 10.0.0.2", "http://10.0.0.2:9464/below")]
    assert found("http://api:9464/below", "10.0.0.1", "10.0.0.2") == expected
    assert found("http://api:9464/below", "10.0.0.2", "10.0.0.3")[0] == expected[1]


def test_an_address_of_six_words_is_put_in_brackets() -> None:
    assert ("api fd00::2", "http://[fd00::2]:9464") in found("http://api:9464", "fd00::1", "fd00::2")


@pytest.mark.parametrize("addresses", [(), ("10.0.0.1",), tuple(f"10.0.1.{at}" for at in range(MOST_TARGETS + 1))])
def test_a_name_that_is_unknown_or_has_one_address_or_too_many_is_asked_itself(addresses: tuple[str, ...]) -> None:
    assert found("http://api:9464", *addresses) == [("api", "http://api:9464")]


def test_an_instance_behind_a_certificate_is_asked_by_its_name() -> None:
    assert found("https://api:9464", "10.0.0.1", "10.0.0.2") == [("api", "https://api:9464")]


def test_this_machine_is_one_instance_though_it_has_an_address_of_each_family() -> None:
    local = Target(name="lag", process="lag", url="http://localhost:9470")
    assert asyncio.run(Discovery([local]).targets()) == [local]

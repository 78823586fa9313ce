"""docs/settings.md lists what the processes read."""

from pathlib import Path

from tests.contract.settings_page import collected, lines

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_page_is_the_one_the_code_gives() -> None:
    assert PAGE.read_text("utf-8").splitlines() == list(lines()), (
        "run: python -m tests.contract.settings_page > docs/settings.md"
    )


def test_every_setting_has_a_meaning() -> None:
    for settings in collected().values():
        for variable, (_, meaning) in settings.items():
            assert meaning, f"{variable} needs a description"
            assert "|" not in meaning, variable

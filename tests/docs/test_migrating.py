"""docs/migrating.rst and docs/django.rst: the flags and settings that they name are there."""

from __future__ import annotations

import csv
import re

import pytest

from daphne.settings import OPTIONS
from tests.servers import ROOT

FLAGS = {flag for option in OPTIONS.values() for flag in (*option.flags, option.off_flag) if flag}
OTHERS = {"--config", "--check-config"}


def rows(page: str) -> list[list[str]]:
    text = (ROOT / "docs" / page).read_text("utf-8")
    return list(csv.reader(re.findall(r'^   (".+)$', text, re.MULTILINE), skipinitialspace=True))


def test_every_flag_in_the_right_columns_is_one() -> None:
    found = rows("migrating.rst")
    assert len(found) > 50 and all(len(row) == 2 for row in found), found
    named = {flag for row in found for flag in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", row[1])}
    assert named <= FLAGS | OTHERS
    assert len(named) > 30


@pytest.mark.parametrize(
    "flag, default", [("--keep-alive-timeout", 60), ("--websocket-max-message-size", 2**20)]
)
def test_defaults_that_the_page_states(flag: str, default: int) -> None:
    [option] = [name for name, option in OPTIONS.items() if flag in option.flags]
    from daphne.settings import Settings

    assert getattr(Settings(), option) == default


def test_every_setting_that_the_page_on_django_names_is_one() -> None:
    text = (ROOT / "docs" / "django.rst").read_text("utf-8")
    named = set(re.findall(r"DAPHNE_([A-Z0-9_]+)", text))
    assert {name.lower() for name in named} <= set(OPTIONS) and named

"""How this suite is run: which tests go together, and where coverage looks (tests/conftest.py)."""

from pathlib import Path

import pytest

from tests.conftest import UNMEASURED, group_of

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("place", UNMEASURED)
def test_what_is_named_is_there(place: str) -> None:
    assert (ROOT / place).exists()


@pytest.mark.parametrize(
    ("nodeid", "group"),
    [
        (
            "tests/clients/test_a.py::test[fd-unix-application-httpx]",
            "tests/clients/ fd-unix-application",
        ),
        ("tests/clients/test_b.py::test[fd-unix-application]", "tests/clients/ fd-unix-application"),
        ("tests/clients/test_b.py::test[channel-layer-upload]", "tests/clients/ channel-layer"),
        ("tests/frameworks/test_a.py::test[raw behind a layer-100]", "tests/frameworks/ raw behind a layer"),
        ("tests/clients/test_a.py::test[local]", None),
        ("tests/streams/test_a.py::test[application]", None),
    ],
)
def test_tests_of_one_server_go_together_and_others_alone(nodeid: str, group: str | None) -> None:
    assert group_of(nodeid) == (group or nodeid)

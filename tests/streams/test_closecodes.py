"""daphne.streams.closecodes and pages: what goes out when something ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daphne.streams.closecodes import LONGEST_REASON, may_be_sent, reason_bytes
from daphne.streams.pages import error_page, reason_phrase


def test_which_codes_may_be_sent() -> None:
    """RFC 6455 section 7.4 and the IANA registry: the reserved ones never."""
    assert [code for code in range(-10, 6000) if may_be_sent(code)] == [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, *range(3000, 5000),
    ]  # fmt: skip


@given(st.text(max_size=200))
def test_a_reason_is_whole_characters_within_a_frame(reason: str) -> None:
    found = reason_bytes(reason)
    assert len(found) <= LONGEST_REASON
    whole = reason.encode("utf-8", "replace").decode()
    assert whole.startswith(found.decode())
    assert len(found) == len(whole.encode()) or len(found) > LONGEST_REASON - 4


@pytest.mark.parametrize("status", [400, 403, 404, 413, 500, 503, 599, 999])
def test_pages_name_the_status_and_nothing_else(status: int) -> None:
    page = error_page(status).decode("ascii")
    assert f"<title>{status} {reason_phrase(status)}</title>" in page
    assert "<footer>Daphne</footer>" in page
    assert "5.0" not in page


def test_a_page_with_a_sentence_of_its_own() -> None:
    assert b"<p>Too late.</p>" in error_page(503, "Too late.")

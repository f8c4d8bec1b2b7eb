"""daphne.utils: what code of daphne 1.x and 4.x imports."""

import pytest
from twisted.web.http_headers import Headers

from daphne.errors import TargetError
from daphne.utils import (
    HEADER_NAME_RE,
    INVALID_HEADER_VALUE_BYTES,
    header_value,
    import_by_path,
    parse_x_forwarded_for,
)

ORIGINAL = ["192.0.2.9", 99]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, (ORIGINAL, "http")),
        ({b"X-Forwarded-For": b"10.1.2.3"}, (["10.1.2.3", 0], "http")),
        ({b"X-Forwarded-For": [b"10.1.2.3"], b"X-Forwarded-Port": [b"1234"]}, (["10.1.2.3", 1234], "http")),
        ({"x-forwarded-for": "10.1.2.3", "x-forwarded-proto": "https"}, (["10.1.2.3", 0], "https")),
        ({b"X-Forwarded-For": b"10.1.2.3, 10.1.2.4"}, (["10.1.2.3", 0], "http")),
        ({b"X-Forwarded-For": b"1043::a321:0001, 10.0.5.6"}, (["1043::a321:0001", 0], "http")),
        ({b"X-Forwarded-For": b"10.1.2.3", b"X-Forwarded-Port": b"abc"}, (["10.1.2.3", 0], "http")),
        ({b"X-Forwarded-Proto": b"https"}, (ORIGINAL, "http")),
    ],
)
@pytest.mark.parametrize("twisted", [False, True])
def test_forwarded_headers(headers, expected, twisted):
    if twisted:
        raw = Headers()
        for name, value in headers.items():
            for item in value if isinstance(value, list) else [value]:
                raw.addRawHeader(name, item)
        headers = raw
    assert parse_x_forwarded_for(headers, original_addr=ORIGINAL, original_scheme="http") == expected


def test_without_a_name_for_the_address_the_originals_stay():
    headers = {b"X-Forwarded-For": b"10.1.2.3"}
    assert parse_x_forwarded_for(headers, address_header_name=None, original_addr=ORIGINAL) == (
        ORIGINAL,
        None,
    )


@pytest.mark.parametrize("value", [b"a", "a", [b"a", b"b"], ["a"]])
def test_the_first_value_of_a_header(value):
    assert header_value({"x": value}, "x") == "a"


def test_an_object_by_its_path():
    assert import_by_path("daphne.utils.import_by_path") is import_by_path
    assert import_by_path("daphne.utils:import_by_path") is import_by_path
    with pytest.raises(TargetError):
        import_by_path("daphne.nothing.there")


def test_the_rules_of_headers():
    assert HEADER_NAME_RE.match(b"X-Name") and not HEADER_NAME_RE.match(b"X Name")
    assert set(b"\0\r\n\x0b\x0c\x85") == set(INVALID_HEADER_VALUE_BYTES)

"""The demonstration in a real browser: over HTTP/1.1 and over HTTP/2, and both ways to the application.

Browsers speak HTTP/2 over TLS only, and then their WebSockets too go over it (RFC 8441).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.browser import Browser, Page, open_browser
from tests.servers import TARGETS, Address, serving

TALKING = "document.querySelector('#chat-text').disabled === false"


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(params=[(front, target) for front in ("tcp", "tls") for target in TARGETS], ids="-".join)
def address(request: pytest.FixtureRequest, serve: Callable[[str, str], Address]) -> Address:
    return serve(*request.param)


@pytest.fixture
def open_page(browser: Browser, address: Address) -> Iterator[Callable[[], Page]]:
    """Opens the page in another tab. That no page complains of anything is part of every test."""
    pages: list[Page] = []

    def open_page() -> Page:
        pages.append(browser.open(address.url("/")))
        return pages[-1]

    yield open_page
    complaints = [page.complaints for page in pages]
    for page in pages:
        page.close()
    assert complaints == [[]] * len(pages)


def heard(text: str) -> str:
    return f"document.querySelector('#chat-log').innerText.includes('{text}')"


def test_the_page_says_how_it_came(open_page: Callable[[], Page], address: Address) -> None:
    page = open_page()
    version, scheme, browsers_word = ("2", "wss", "h2") if address.secure else ("1.1", "ws", "http/1.1")
    assert page.text("#page-protocol") == f"HTTP/{version}"
    assert page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol") == browsers_word
    page.wait_for(TALKING)
    assert page.text("#chat-protocol") == f"WebSocket over HTTP/{version}, {scheme}."
    assert page.evaluate("JSON.parse(document.querySelector('#scope').textContent).path") == "/"


def test_everything_is_reached_below_a_root_path(browser: Browser, tmp_path: Path) -> None:
    with serving("--root-path", "/app", *TARGETS["channel-layer"], folder=tmp_path) as server:
        page = browser.open(server.address.url("/app"))
        assert page.evaluate("location.pathname") == "/app/"
        page.wait_for(TALKING)
        page.click("#upload-form button")
        page.wait_for(
            "document.querySelector('#upload-state').textContent.includes('counted 20000000 bytes')"
        )
        assert page.complaints == []
        page.close()


def test_two_tabs_chat(open_page: Callable[[], Page]) -> None:
    ann, bob = open_page(), open_page()
    for page in (ann, bob):
        page.wait_for(TALKING)
    ann.type("#chat-name", "Ann")
    bob.wait_for(heard("is now called Ann"))
    ann.type("#chat-text", "Hello <b>Bob</b>")
    bob.wait_for(heard("Ann Hello <b>Bob</b>"))
    bob.type("#chat-text", "Hello Ann")
    ann.wait_for(heard("Hello Ann"))
    ann.goto("about:blank")
    bob.wait_for(heard("Ann has left"))


def test_a_stream_fills_the_row_and_can_be_stopped(open_page: Callable[[], Page]) -> None:
    page = open_page()
    page.click("#stream-start")
    page.wait_for("document.querySelectorAll('#stream-ticks .on').length >= 3")
    assert page.evaluate("document.querySelectorAll('#stream-ticks .on').length") < 40
    page.click("#stream-stop")
    page.wait_for("document.querySelector('#stream-state').textContent === 'Stopped.'")
    page.click("#stream-start")
    page.wait_for("document.querySelector('#stream-state').textContent === 'All 40 have arrived.'")


def test_an_upload_is_counted(open_page: Callable[[], Page], tmp_path: Path) -> None:
    page = open_page()
    file = tmp_path / "file"
    file.write_bytes(b"daphne" * 100_000)
    page.choose_file("#upload-file", file)
    page.click("#upload-form button")
    page.wait_for("document.querySelector('#upload-state').textContent.includes('SHA-256')")
    assert "counted 600000 bytes" in page.text("#upload-state")
    assert page.evaluate("document.querySelector('#upload-progress').value") == 1

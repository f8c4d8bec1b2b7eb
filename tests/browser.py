"""Chromium for tests: starts it without a window and drives it through the DevTools protocol over a pipe.

Called by tests that need a real browser; calls the browser through file descriptors 3 and 4
(`--remote-debugging-pipe`: JSON messages, each ended by a NUL), so that no port and no library is needed.

    with open_browser(tmp_path) as browser:
        page = browser.open("http://127.0.0.1:8000/")
        page.click("#start")
        page.wait_for("document.title === 'Done'")

Every wait has a deadline, after which it raises `BrowserTimeout` and says what it waited for.
"""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.programs import require_program

DEADLINE = 60.0
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--no-first-run",
    "--no-proxy-server",
    "--ignore-certificate-errors",
    "--remote-debugging-pipe",
]

Json = dict[str, Any]


class BrowserTimeout(AssertionError):
    """The browser did not answer, or the page did not come to the awaited state, in time."""


class BrowserError(AssertionError):
    """The browser refused a command, or an expression threw an exception in the page."""


@contextmanager
def open_browser(folder: Path, *flags: str) -> Iterator[Browser]:
    """A browser with an empty profile in `folder`, ended with the block. Without one the test is skipped."""
    program = require_program("chromium")
    read_end, commands = os.pipe()
    answers, write_end = os.pipe()
    shell = f'exec "$@" 3<&{read_end} 4>&{write_end}'
    with (folder / "browser.log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", shell, "bash", program, *FLAGS, *flags, f"--user-data-dir={folder / 'profile'}"],
            pass_fds=(read_end, write_end),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    os.close(read_end)
    os.close(write_end)
    browser = Browser(commands, answers)
    try:
        yield browser
    finally:
        browser.close()
        try:
            process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Browser:
    """The DevTools connection: commands out, answers and events in."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = commands
        self._answers = answers
        self._received = b""
        self._number = 0
        self._pages: dict[str, Page] = {}

    def open(self, address: str) -> Page:
        """A new tab that has loaded `address`."""
        target = self.command("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.command("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "DOM", "Network"):
            page.command(f"{domain}.enable")
        page.goto(address)
        return page

    def close(self) -> None:
        """Ask the browser to end, and hang up."""
        with suppress(BrowserTimeout, BrowserError, OSError):  # it may have gone already
            self.command("Browser.close")
        os.close(self._commands)
        os.close(self._answers)

    def command(self, method: str, params: Json | None = None, session: str | None = None) -> Json:
        """Send one command and give back its result. Events that come first go to their pages."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params or {}}
        if session:
            message["sessionId"] = session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + DEADLINE
        while True:
            answer = self._next_message(deadline, method)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']['message']}")
                result: Json = answer["result"]
                return result

    def take_events(self, seconds: float) -> None:
        """Let what the browser says of its own accord reach the pages, for at most `seconds`."""
        with suppress(BrowserTimeout):
            self._next_message(time.monotonic() + seconds, "with an event")

    def _next_message(self, deadline: float, awaited: str) -> Json:
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._answers], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise BrowserTimeout(f"the browser did not answer {awaited}")
            piece = os.read(self._answers, 1 << 20)
            if not piece:
                raise BrowserError(f"the browser ended during {awaited}")
            self._received += piece
        text, _, self._received = self._received.partition(b"\0")
        message: Json = json.loads(text)
        if message.get("sessionId") in self._pages and "method" in message:
            self._pages[message["sessionId"]].take_event(message["method"], message["params"])
        return message


class Page:
    """One tab: its address, what its script says, and a user's hands."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self._loaded = False
        self.complaints: list[str] = []
        """Uncaught exceptions and errors on the console, in the order in which they came."""

    def command(self, method: str, params: Json | None = None) -> Json:
        """One DevTools command for this tab."""
        return self._browser.command(method, params, self._session)

    def take_event(self, method: str, params: Json) -> None:
        """Note what the tests ask for later; all other events are let go."""
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def goto(self, address: str) -> None:
        """Load `address`, and return once its load event has fired."""
        self._loaded = False
        failure = self.command("Page.navigate", {"url": address}).get("errorText")
        if failure:
            raise BrowserError(f"{address}: {failure}")
        self._until(lambda: self._loaded, f"the load event of {address}")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, a promise's once it is settled."""
        params = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        answer = self.command("Runtime.evaluate", params)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{expression}: {json.dumps(answer['exceptionDetails'])}")
        return answer["result"].get("value")

    def wait_for(self, expression: str, deadline: float = DEADLINE) -> Any:
        """The first true value of a JavaScript expression."""
        value = None

        def came_true() -> bool:
            nonlocal value
            value = self.evaluate(expression)
            return bool(value)

        self._until(came_true, expression, deadline)
        return value

    def click(self, selector: str) -> None:
        """Click the first element that the selector finds."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def type(self, selector: str, text: str) -> None:
        """Replace what a field holds by `text`, and press Enter."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
        self.evaluate(f"document.querySelector({json.dumps(selector)}).select()")
        self.command("Input.insertText", {"text": text})
        for kind in ("keyDown", "keyUp"):
            key = {"type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
            self.command("Input.dispatchKeyEvent", key)

    def choose_file(self, selector: str, path: Path) -> None:
        """Put a file into a file field."""
        root = self.command("DOM.getDocument")["root"]["nodeId"]
        node = self.command("DOM.querySelector", {"nodeId": root, "selector": selector})["nodeId"]
        self.command("DOM.setFileInputFiles", {"files": [str(path)], "nodeId": node})

    def text(self, selector: str) -> str:
        """What a reader sees in the first element that the selector finds."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    def screenshot(self, path: Path, width: int = 1200, height: int = 960, dark: bool = False) -> None:
        """Save a picture of the page as a PNG file."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", {"features": [scheme]})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", size)
        path.write_bytes(base64.b64decode(self.command("Page.captureScreenshot", {"format": "png"})["data"]))

    def close(self) -> None:
        """Close the tab."""
        self.command("Page.close")

    def _until(self, condition: Callable[[], bool], awaited: str, deadline: float = DEADLINE) -> None:
        end = time.monotonic() + deadline
        while not condition():
            if time.monotonic() > end:
                raise BrowserTimeout(f"waited {deadline} s for {awaited}; the page said {self.complaints}")
            self._browser.take_events(0.02)

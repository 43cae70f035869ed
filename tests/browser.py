"""
A real browser for tests: Debian's Chromium, headless, driven through chromedriver by
the WebDriver protocol (https://www.w3.org/TR/webdriver2/), which is JSON over HTTP.
The extra ``test`` brings what this imports.

Its calls block, so that tests run them in a thread, while the reactor serves the pages::

    browser = yield deferToThread(start_browser)
    self.addCleanup(deferToThread, browser.close)
    yield deferToThread(browser.open, url)
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from base64 import b64decode
from pathlib import Path
from typing import Any
from urllib.request import Request, build_opener

from tests.support import require_program

__all__ = ["OUTPUT", "Browser", "start_browser"]

#: Where screenshots go, to be looked at.
OUTPUT = Path(__file__).parent / "output"
#: For how many seconds one command, and one condition, is waited for.
PATIENCE = 60
#: How many times ChromeDriver is started before the test fails.
STARTS = 5

_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-color-profile=srgb",
]


class Browser:
    """
    One window of a running browser; made by :func:`start_browser`.
    """

    def __init__(self, driver: subprocess.Popen[str], url: str, profile: str) -> None:
        self._driver = driver
        self._profile = profile
        self._opener = build_opener()
        self._url = url
        options = {
            "binary": require_program("chromium", "chromium"),
            "args": [*_ARGUMENTS, f"--user-data-dir={profile}"],
        }
        asked = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        made = self._ask("POST", "", {"capabilities": {"alwaysMatch": asked}})
        self._url = f"{url}/{made['sessionId']}"

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode("utf-8")
        request = Request(
            self._url + path,
            data,
            {"Content-Type": "application/json"},
            method=method,
        )
        # WebDriver's errors are in the body, whatever the status.
        opener = self._opener
        for handler in opener.handlers:
            if type(handler).__name__ == "HTTPErrorProcessor":
                handler.http_response = lambda _, response: response
        with opener.open(request, timeout=PATIENCE + 10) as response:
            value = json.loads(response.read())["value"]
        if isinstance(value, dict) and "error" in value:
            raise AssertionError(f"{value['error']}: {value['message']}")
        return value

    def open(self, url: str) -> None:
        """Go to an address, and wait until it is loaded."""
        self._ask("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """
        What a script in the page returns; a promise is waited for.

        :param script: the body of a function, with its parameters in ``arguments``.
        """
        return self._ask(
            "POST", "/execute/sync", {"script": script, "args": list(arguments)}
        )

    def wait(self, condition: str) -> Any:
        """
        Wait until an expression in the page is true.

        :returns: its value.
        """
        return self.run(
            """
            const [condition, patience] = arguments;
            const ask = new Function("return (" + condition + ")");
            return new Promise((resolve, reject) => {
              const late = Date.now() + patience;
              (function look() {
                const value = ask();
                if (value) { resolve(value); }
                else if (Date.now() > late) { reject(new Error("never: " + condition)); }
                else { setTimeout(look, 20); }
              })();
            });
            """,
            condition,
            PATIENCE * 1000,
        )

    def click(self, selector: str) -> None:
        """Click on the first element that a CSS selector finds, as a mouse does."""
        found = self._ask(
            "POST", "/element", {"using": "css selector", "value": selector}
        )
        self._ask("POST", f"/element/{next(iter(found.values()))}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Type a text into an element, as a keyboard does."""
        found = self._ask(
            "POST", "/element", {"using": "css selector", "value": selector}
        )
        self._ask(
            "POST", f"/element/{next(iter(found.values()))}/value", {"text": text}
        )

    def move(self, x: float, y: float) -> None:
        """Move the mouse to a point of the window."""
        # In two steps, as a mouse comes from somewhere.
        for step in (1, 0):
            self.devtools(
                "Input.dispatchMouseEvent", type="mouseMoved", x=x - step, y=y - step
            )

    def press(self, x: float, y: float) -> None:
        """Click with the mouse at a point of the window."""
        self.move(x, y)
        for event in ("mousePressed", "mouseReleased"):
            self.devtools(
                "Input.dispatchMouseEvent",
                type=event,
                x=x,
                y=y,
                button="left",
                clickCount=1,
            )

    def devtools(self, command: str, **parameters: Any) -> Any:
        """Give a command of the Chrome DevTools Protocol."""
        body = {"cmd": command, "params": parameters}
        return self._ask("POST", "/goog/cdp/execute", body)

    def size(self, width: int, height: int) -> None:
        """Make the window as large as a screen, such as 390 by 844 of a phone."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def prefer(self, scheme: str) -> None:
        """Prefer ``'light'`` or ``'dark'``."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.devtools("Emulation.setEmulatedMedia", features=[feature])

    def zone(self, name: str) -> None:
        """Live in a time zone."""
        self.devtools("Emulation.setTimezoneOverride", timezoneId=name)

    def console(self) -> list[str]:
        """
        What the console was told since it was last asked: errors, warnings, and
        whatever a policy kept from loading or running.
        """
        return [
            line["message"]
            for line in self._ask("POST", "/se/log", {"type": "browser"})
        ]

    def screenshot(self, name: str) -> Path:
        """Keep a picture of the window in the tests' output."""
        OUTPUT.mkdir(exist_ok=True)
        path = OUTPUT / f"{name}.png"
        path.write_bytes(b64decode(self._ask("GET", "/screenshot")))
        return path

    def close(self) -> None:
        """End the browser, and remove what it kept."""
        try:
            self._ask("DELETE", "")
        finally:
            self._driver.terminate()
            self._driver.wait(PATIENCE)
            if self._driver.stdout is not None:
                self._driver.stdout.close()
            shutil.rmtree(self._profile, ignore_errors=True)


def start_browser() -> Browser:
    """
    Start a browser with an empty profile.

    :raises SkipTest: if there is no Chromium here; in CI that is a failure.
    """
    require_program("chromium", "chromium")
    program = require_program("chromedriver", "chromium-driver")
    driver, url = _start_driver(program)
    profile = tempfile.mkdtemp(prefix="txstathat-browser-")
    try:
        return Browser(driver, url, profile)
    except BaseException:
        _end(driver)
        shutil.rmtree(profile, ignore_errors=True)
        raise


def _start_driver(program: str) -> tuple[subprocess.Popen[str], str]:
    # ChromeDriver takes a free IPv4 port, and ends at once if the same IPv6
    # port happens to be in use; on a busy machine it sometimes is.
    said = ""
    for _ in range(STARTS):
        driver = subprocess.Popen(
            [program, "--port=0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert driver.stdout is not None
        for line in driver.stdout:
            port = re.search(r"started successfully on port ([0-9]+)", line)
            if port is not None:
                return driver, f"http://127.0.0.1:{port[1]}/session"
            said += line
        _end(driver)
    raise AssertionError(f"chromedriver did not start in {STARTS} tries: {said}")


def _end(driver: subprocess.Popen[str]) -> None:
    driver.kill()
    driver.wait()
    if driver.stdout is not None:
        driver.stdout.close()

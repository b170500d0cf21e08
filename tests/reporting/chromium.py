"""Chromium, driven through a pair of pipes by its own protocol: real keys, any width, every request seen."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
from pathlib import Path
from typing import Any

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage")  # fmt: skip
TIMEOUT_S = 60


class Tab:
    """One page, open while the `with` block lasts.

    Attributes:
        requests: addresses that the page has asked for.
        complaints: what it has written to its console, and errors of its script.
    """

    def __init__(self, page: Path, *, width_px: int = 1280, dark: bool = False) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._page, self._width_px, self._dark = page, width_px, dark
        self._sent, self._rest, self._session = 0, b"", ""

    def __enter__(self) -> Tab:
        theirs_in, self._write = os.pipe()
        self._read, theirs_out = os.pipe()
        # the browser reads from descriptor 3 and writes to 4, which may be ours, so by way of higher ones
        moves = f'exec {{from}}<&{theirs_in} {{to}}>&{theirs_out}; exec "$@" 3<&$from 4>&$to'
        self._process = subprocess.Popen(
            ["bash", "-c", moves, "bash", str(BROWSER), *QUIET, f"--user-data-dir={self._page.parent / 'profile'}",
             "--remote-debugging-pipe"],
            pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            self._open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _open(self) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if self._dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Emulation.setDeviceMetricsOverride", width=self._width_px, height=800, deviceScaleFactor=1,
                  mobile=self._width_px < 600)  # fmt: skip
        self.call("Page.navigate", url=self._page.as_uri())
        while self._message().get("method") != "Page.loadEventFired":
            pass

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def value(self, expression: str) -> Any:
        """What an expression is in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text
            )

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (found := self._message()).get("id") != self._sent:
            pass
        assert "error" not in found, found
        result: dict[str, Any] = found["result"]
        return result

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], TIMEOUT_S)
            data = os.read(self._read, 1 << 16) if ready else b""
            if not data:
                raise TimeoutError("the browser says nothing any more")
            self._rest += data
        first, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(first)
        method, about = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        elif method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.complaints.append(json.dumps(about)[:500])
        return message

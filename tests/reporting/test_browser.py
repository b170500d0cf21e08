"""The page in a real browser: no complaint, no request, and tables that sort."""

import re
import subprocess
from pathlib import Path

import pytest

from emotion.runs import RunFolder
from tests.reporting.chromium import BROWSER, QUIET, Tab
from tests.reporting.page_tree import Node, cells, parse, table_with

pytestmark = pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")


def opened(html: str, folder: Path, actions: str = "") -> tuple[Node, list[str]]:
    """The page's tree after `actions` have run in it, and what the browser wrote to its console.

    The page's policy allows no script but its own, so the actions get their own page with a weaker policy.
    """
    if actions:
        html = re.sub(r"script-src 'sha256-[^']+'", "script-src 'unsafe-inline'", html)
        html = html.replace("</body>", f"<script>{actions}</script></body>")
    path = folder / "page.html"
    path.write_text(html, encoding="utf-8")
    command = [str(BROWSER), *QUIET, f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr",
               "--virtual-time-budget=2000", "--dump-dom", f"file://{path}"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return parse(done.stdout), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("which", ["html", "sweep_html"])
def test_the_console_stays_empty(which: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    page, console = opened(request.getfixturevalue(which), tmp_path)
    assert console == []
    assert "js" in (page.one("html").attributes["class"] or "")  # so the script did run


def test_what_is_not_ours_does_not_run(html: str, tmp_path: Path) -> None:
    """The policy works: an injected script and a picture from the network are refused, loudly."""
    bad = "<script>document.title = 'taken'</script><img src='http://127.0.0.1:9/a.png' alt=''>"
    page, console = opened(html.replace("</main>", f"{bad}</main>"), tmp_path)
    assert page.one("title").text != "taken"
    assert any("Content Security Policy" in line for line in console)


def test_tables_sort_charts_speak_and_colours_switch(html: str, tmp_path: Path) -> None:
    page, console = opened(
        html,
        tmp_path,
        """
        const tables = [...document.querySelectorAll("table.sortable")];
        const table = tables.find((t) => t.caption.textContent.includes("Each class"));
        table.tHead.rows[0].cells[1].querySelector("button").click();
        document.body.dataset.first = [...table.tBodies[0].rows].map((r) => r.cells[1].dataset.sort).join(" ");
        document.body.dataset.said = document.getElementById("status").textContent;
        table.tHead.rows[0].cells[1].querySelector("button").click();
        const chart = document.querySelector("svg.chart");
        chart.focus();
        chart.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
        document.body.dataset.spoken = document.getElementById("status").textContent;
        const tip = document.getElementById("tip");
        document.body.dataset.tip = tip.hidden ? "" : tip.textContent;
        const colour = () => getComputedStyle(document.body).backgroundColor;
        document.body.dataset.before = colour();
        document.getElementById("theme").click();
        document.body.dataset.after = colour();
        """,
    )
    assert console == []
    body = page.one("body").attributes
    falling = [float(text) for text in (body["data-first"] or "").split()]
    assert falling == sorted(falling, reverse=True)
    assert body["data-said"] == "Sorted by Images, descending"
    rising = [float(row[1].replace(",", "")) for row in cells(table_with(page, "Each class of"))]
    assert rising == sorted(rising)
    headings = list(table_with(page, "Each class of").one("thead").find("th"))
    assert [heading.attributes["aria-sort"] for heading in headings[:3]] == ["none", "ascending", "none"]
    assert (body["data-spoken"] or "").startswith("epoch 1, training ")
    assert "epoch 1" in (body["data-tip"] or "")
    brightness = {
        key: sum(map(int, re.findall(r"\d+", body[f"data-{key}"] or ""))) / 3 for key in ("before", "after")
    }
    light, dark = max(brightness.values()), min(brightness.values())
    assert light > 240
    assert dark < 40
    assert page.one("html").attributes["data-theme"] == ("dark" if brightness["after"] == dark else "light")


def test_two_other_runs_can_be_subtracted(sweep_html: str, sweep: list[RunFolder], tmp_path: Path) -> None:
    before = parse(sweep_html).one("div", class_="difference")
    page, console = opened(
        sweep_html,
        tmp_path,
        """
        const [first, second] = document.querySelectorAll(".difference select");
        first.value = "1";
        second.value = "0";
        first.dispatchEvent(new Event("change"));
        """,
    )
    assert console == []
    after = page.one("div", class_="difference")

    def values(block: Node) -> list[list[float]]:
        body = block.one("tbody")
        return [[float(cell.text.replace("−", "-")) for cell in row.find("td")] for row in body.find("tr")]

    assert [[-value for value in row] for row in values(after)] == values(before)
    assert after.one("output").text.startswith("minivgg minus resnet18: accuracy −")


@pytest.fixture(scope="module")
def sweep_file(sweep_html: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(sweep_html, encoding="utf-8")
    return path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width_px", [1280, 375])
def test_it_fits_every_width_and_asks_for_nothing(sweep_file: Path, width_px: int, dark: bool) -> None:
    with Tab(sweep_file, width_px=width_px, dark=dark) as tab:
        tab.value("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert tab.value("document.documentElement.scrollWidth") <= width_px
        red = tab.value("+getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
        assert (red < 40) == dark
        shown = "document.querySelector('#ranking td').getBoundingClientRect()"
        assert tab.value(f"{shown}.right") <= width_px  # the accuracy is to be seen without scrolling
        assert {address.partition(":")[0] for address in tab.requests} <= {"file", "data"}
        assert [address for address in tab.requests if address.startswith("file")] == [sweep_file.as_uri()]
        assert tab.complaints == []


@pytest.mark.parametrize(("key", "code", "text"), [("Enter", 13, "\r"), (" ", 32, " ")])
def test_tables_sort_by_the_keyboard(sweep_file: Path, key: str, code: int, text: str) -> None:
    with Tab(sweep_file) as tab:
        table = "document.querySelector('#ranking table')"
        names = f"[...{table}.tBodies[0].rows].map((row) => row.cells[0].textContent.trim())"
        assert tab.value(names) == ["resnet18", "minivgg"]
        tab.value(f"{table}.tHead.rows[0].cells[0].querySelector('button').focus()")
        tab.press("Tab", 9)  # on to the next heading: accuracy, by which it is sorted
        assert tab.value("document.activeElement.textContent") == "Accuracy"
        tab.press(key, code, text)
        assert tab.value(names) == ["minivgg", "resnet18"]
        assert tab.value("document.getElementById('status').textContent") == "Sorted by Accuracy, ascending"
        assert tab.complaints == []

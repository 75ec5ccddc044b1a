"""The page opens in a real browser, from a file, with nothing from anywhere else, and its own script runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rollout.engine.states import State
from rollout.observers.timeline import MOST_ROWS, page
from rollout.observers.timing import Clock
from tests.rollout.observers.recorded_run import Recorder, finished_canary, wide

RUDE = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">'\"--></script>"


def page_of(run: Recorder) -> str:
    clock = Clock()
    for event in run.events:
        clock.fold(event)
    return page(clock.timing("20261125-120000-canary-9f2c"))


def rude() -> Recorder:
    run = Recorder(RUDE)
    run.begin([{"id": "a", "title": RUDE, "group": RUDE, "backend": RUDE}, {"id": "b"}], limits={RUDE: 1})
    run.run(0, 1, "a", State.FAILED, RUDE, RUDE, link="javascript:document.title='taken'")
    run.run(1, 3, "b", link="https://example.org/?a=1&b=<2>")
    run.end(3, "failed")
    return run


class Browser:
    """Headless Chromium. Every page is opened from a file, in a profile of its own."""

    def __init__(self, folder: Path):
        found = shutil.which("chromium")
        if not found:
            pytest.skip("there is no chromium; scripts/system-tools installs it where apt-get and root are")
        self.command = found
        self.folder = folder

    def open(self, text: str, part: str = "") -> tuple[str, list[str]]:
        """The document after its script has run, and what the console said."""
        file = self.folder / "page.html"
        file.write_text(text, encoding="utf-8")
        done = subprocess.run(
            [
                *(self.command, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
                *("--disable-extensions", "--no-first-run", "--disable-background-networking"),
                *(f"--user-data-dir={self.folder / 'profile'}", "--enable-logging=stderr", "--v=0"),
                *("--virtual-time-budget=10000", "--dump-dom", file.as_uri() + part),
            ],
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


@pytest.fixture
def browser(tmp_path):
    return Browser(tmp_path)


class Seen(HTMLParser):
    """The document as data."""

    def __init__(self, document: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(document)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        found = [attributes for name, attributes in self.elements if name == tag]
        return [
            each for each in found if all(each.get(key.replace("_", "-")) == value for key, value in wanted.items())
        ]


def order_of(document: str) -> list[str | None]:
    return [each["data-step"] for each in Seen(document).all("tr") if each.get("data-step")]


@pytest.mark.parametrize("steps", [10, 2_000])
def test_the_script_runs_without_a_complaint_at_any_size(browser, steps):
    document, console = browser.open(page_of(wide(steps)))
    assert console == []
    (html,) = Seen(document).all("html")
    assert html["data-ready"] == str(steps), "the page's own script has counted its rows, to its very end"
    assert f"{steps:,} of {steps:,} steps" in document


def test_a_console_that_complains_would_be_heard(browser):
    broken = page_of(finished_canary()).replace("</main>", "</main><img src='https://example.org/x.png'>")
    _, console = browser.open(broken)
    assert any("Content Security Policy" in line for line in console), "pictures from elsewhere are forbidden"


def test_a_script_that_is_not_ours_does_not_run(browser):
    added = page_of(finished_canary()).replace("</main>", "</main><script>document.title = 'taken'</script>")
    document, console = browser.open(added)
    assert "<title>taken</title>" not in document
    assert any("Content Security Policy" in line for line in console)


def test_words_of_others_are_text_in_the_browser_too(browser):
    document, console = browser.open(page_of(rude()), "#step=a")
    assert console == []
    seen = Seen(document)
    assert seen.all("html", data_ready="2")
    assert "<title>taken</title>" not in document
    assert not seen.all("img")
    assert len(seen.all("script")) == 2
    assert [link["href"] for link in seen.all("a")] == ["https://example.org/?a=1&b=<2>"]
    assert "&lt;script&gt;document.title" in document


def test_the_table_sorts_by_what_the_address_asks_for(browser):
    run = wide(300)
    clock = Clock()
    for event in run.events:
        clock.fold(event)
    ran = {step.id: step.seconds_in(State.RUNNING) for step in clock.timing().steps}
    down, _ = browser.open(page_of(run), "#sort=-run")
    times = [ran[step] for step in order_of(down) if step]
    assert times == sorted(ran.values(), reverse=True)
    assert Seen(down).all("th", aria_sort="descending")
    up, _ = browser.open(page_of(run), "#sort=step")
    assert order_of(up) == sorted(run.states)


def test_a_filter_leaves_what_matches_and_counts_it(browser):
    document, _ = browser.open(page_of(finished_canary()), "#filter=us-west1 passed")
    seen = Seen(document)
    shown = [row["data-step"] for row in seen.all("tr") if row.get("data-step") and "hidden" not in row]
    assert shown == ["west/update", "west/verify"]
    assert "2 of 6 steps" in document


def test_one_row_is_in_the_tab_order_and_the_address_can_choose_it(browser):
    document, _ = browser.open(page_of(finished_canary()), "#step=east/update")
    rows = Seen(document).all("div", role="option")
    assert [row["data-step"] for row in rows if row["aria-selected"] == "true"] == ["east/update"]
    assert [row["data-step"] for row in rows if row["tabindex"] == "0"] == ["east/update"]
    assert "east/update: failed, began 12:00:18Z, waited 0.1s, ran 1m00s, between tries 12s, 2 tries. quota" in document


KEYS = """
const press = key => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
document.querySelector('[role=option][tabindex="0"]').focus();
const path = [];
for (const key of ["ArrowDown", "ArrowDown", "ArrowUp", "End", "Home"]) {
  press(key);
  path.push(document.activeElement.dataset.step);
}
document.documentElement.dataset.path = path.join(" ");
"""


def test_arrow_keys_move_through_the_rows(browser):
    text = page_of(finished_canary())
    # The policy lets only our script run, so what presses keys goes without one.
    text = re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", text)
    document, console = browser.open(text.replace("</body>", f"<script>{KEYS}</script></body>"))
    assert console == []
    rows = [row["data-step"] for row in Seen(document).all("div", role="option")]
    assert Seen(document).all("html", data_path=f"{rows[1]} {rows[2]} {rows[1]} {rows[-1]} {rows[0]}")


def test_the_page_names_nothing_outside_itself():
    text = page_of(finished_canary())
    outside = re.findall(r"(?:src|href|action|poster|data)=\"([^\"]*)\"|url\(([^)]*)\)|@import", text)
    assert {each for found in outside for each in found if each} == {
        "https://console.cloud.google.com/operation-7",
        "https://console.cloud.google.com/quotas",
    }, "only what a reader may click on"
    assert " style=" not in text
    assert not re.search(r" on[a-z]+=", text)


def test_a_page_of_more_steps_than_a_browser_likes_keeps_the_path_and_says_what_it_left_out():
    text = page_of(wide(MOST_ROWS + 500))
    rows = Seen(text).all("tr")
    assert len([row for row in rows if row.get("data-step")]) == MOST_ROWS
    assert "500 shorter steps are left out here" in text
    drawn = Seen(text).all("div", role="option")
    on_path = [row for row in drawn if "path" in str(row["class"]).split()]
    assert len(on_path) == len(re.findall(r'<tr><th scope="row">', text)), "all of the path is drawn"


def test_an_empty_run_is_a_page_as_well():
    run = Recorder("nothing")
    run.begin([])
    run.end(0, "passed")
    text = page_of(run)
    assert "0 steps in <strong>0.0s</strong>" in text
    assert "Critical path" not in text

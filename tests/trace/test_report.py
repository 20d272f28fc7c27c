"""The report in a real browser: it loads without a complaint, and zoom, hover, choice, search and theme do what
they should; also with many events. The browser is Debian's chromium, driven by selenium, without a network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trace.synthetic import Story, long_records, table, written
from tests.trace.test_files import xv6_trace
from tools.trace import report
from tools.trace import trace as normaliser
from tools.trace import tracefile
from tools.trace.tracefile import Writer

webdriver = pytest.importorskip("selenium.webdriver", reason="python3-selenium is not installed")
CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --hide-scrollbars --window-size=1400,1000
--proxy-server=127.0.0.1:9""".split()
pytestmark = [
    pytest.mark.skipif(
        not (CHROMIUM.exists() and DRIVER.exists()), reason="chromium is not installed"
    ),
    pytest.mark.xdist_group("browser"),
]
FRAME, ROOT = 0x8100_0000, 0x8200_0000
SETTLE = """const done = arguments[arguments.length - 1];
requestAnimationFrame(() => requestAnimationFrame(() => done(0)));"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A fresh browser."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService if hasattr(webdriver, "ChromeService") else None
    from selenium.webdriver.chrome.service import Service

    driver = webdriver.Chrome(options=options, service=(service or Service)(str(DRIVER)))
    driver.set_script_timeout(120)
    yield driver
    driver.quit()


def story() -> Story:
    """Two requests with the memory they share, a process that comes and goes."""
    s = (
        Story(step=200)
        .process(1, "init")
        .process(2, "crypto_srv", ROOT)
        .process(5, "crypto_cli", ROOT + 4096)
    )
    s.switch(previous=0, next=5)
    s.alloc(pid=5, frame=FRAME, free=99).pte_set(
        pid=5, root=ROOT + 4096, va=0x5000, frame=FRAME, bits=0xD7
    )
    s.alloc(pid=2, frame=FRAME + 4096, free=98)
    s.pte_set(pid=2, root=ROOT, va=0, frame=FRAME + 4096, bits=0xDB)
    s.sys_enter(pid=5, call=24, a0=0x5010)
    s.request(1)
    s.sys_exit(pid=5, call=24, result=0)
    s.pte_set(pid=2, root=ROOT, va=0xC000, frame=FRAME, bits=0x1D7)
    s.note(pid=2, text="both see it")
    s.pte_clear(pid=2, root=ROOT, va=0xC000, frame=FRAME)
    s.switch(previous=5, state=2, next=0)
    return s.request(2)


def opened(browser: Any, path: Path) -> Any:
    """Loads a page and waits until it is drawn; returns a function that runs javascript in it."""
    browser.get(path.as_uri())
    for _ in range(400):
        if browser.execute_script("return !!window.page"):
            break
        browser.execute_async_script("setTimeout(arguments[0], 50)")

    def run(script: str) -> Any:
        value = browser.execute_script(script)
        browser.execute_async_script(SETTLE)
        return value

    assert run("return !!window.page"), browser.get_log("browser")
    return run


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The report of the story, open."""
    folder = tmp_path_factory.mktemp("report")
    path = written(story(), folder / "t.xt")
    assert xv6_trace("report", path, "-o", folder / "t.html", "--title", "two <requests>")[0] == 0
    return opened(browser, folder / "t.html")


def test_it_loads_silently_and_alone(browser: Any, page: Any) -> None:
    """No message on the console, nothing loaded from anywhere, the title escaped."""
    assert [e for e in browser.get_log("browser") if e["level"] != "INFO"] == []
    assert page("return performance.getEntriesByType('resource').length") == 0
    assert browser.title.startswith("two <requests>")
    assert page("return document.querySelector('h1').textContent") == "two <requests>"


def test_the_page_decodes_what_the_trace_holds(page: Any) -> None:
    """Times, events and arguments in the page are those of the records."""
    trace = story().trace()
    assert page("return [...page.trace.time]") == trace.records["time"].tolist()
    assert page("return [...page.trace.event]") == trace.records["event"].tolist()
    lines = page("return [...page.trace.time.keys()].map((i) => page.trace.line(i))")
    for i, line in enumerate(lines):
        info = trace.table.events[int(trace.records["event"][i])]
        assert info.name in line
    assert any('text="both see it"' in line for line in lines)
    assert any(
        "src=5:crypto_cli dst=2:crypto_srv from=0x5010 to=0xc010 size=83" in line for line in lines
    )


def test_zoom_and_move(page: Any) -> None:
    """Keys and buttons change the part in view; it never leaves the run."""
    page("page.timeline.all()")
    whole = page("return page.timeline.t1 - page.timeline.t0")
    page("document.querySelector('[data-zoom=\"0.5\"]').click()")
    assert page("return page.timeline.t1 - page.timeline.t0") == pytest.approx(whole / 2)
    page(
        "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true}))"
    )
    before = page("return page.timeline.t0")
    page(
        "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft', bubbles: true}))"
    )
    assert page("return page.timeline.t0") < before
    page("for (let k = 0; k < 60; k++) page.timeline.zoom(0.5)")
    assert page("return page.timeline.t1 - page.timeline.t0") > 0
    page("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '0', bubbles: true}))")
    assert page("return page.timeline.t1 - page.timeline.t0") == pytest.approx(whole)


def test_hover_says_what_is_there(page: Any) -> None:
    """Under a tick its record, under a span its length; under a request its phase."""
    found = page(
        """const t = page.timeline; t.requests(); t.draw();
        const i = page.trace.of('enqueue')[0], lane = page.model.laneOf(5);
        return t.under(t.x(page.trace.time[i]), lane.y + 26)"""
    )
    assert any("enqueue" in line and "request=1" in line for line in found["lines"])
    assert any("in the queue" in line for line in found["lines"])
    assert any("crypto_op" in line for line in found["lines"])
    lanes = page("return page.model.shown.map((l) => l.title)")
    assert "requests" in lanes and "2 crypto_srv" in lanes and "hart 0" in lanes


def test_choosing_a_moment_shows_its_memory(page: Any) -> None:
    """Before the share a frame has one mapping, during it two, afterwards one; in any order of looking."""

    def mapped(event: str, n: int) -> int:
        i = page(f"return page.trace.of('{event}')[{n}]")
        page(f"page.choose({i})")
        return int(page(f"return page.memory.mappings({FRAME}).length"))

    assert mapped("note", 0) == 2
    assert page("return page.memory.isShared(%d)" % FRAME)
    assert "2 crypto_srv at 0xc000" in page(f"return page.memory.describe({FRAME})")
    assert (
        len(page("return [...document.querySelectorAll('.space b')].map((b) => b.textContent)"))
        == 2
    )
    assert mapped("pte_clear", 0) == 1
    assert mapped("alloc", 0) == 0
    assert mapped("note", 0) == 2
    assert "both see it" in page("return document.getElementById('moment').textContent")


def search(page: Any, browser: Any, text: str) -> list[str]:
    """The rows a search leaves in the window."""
    page(f"page.table.search.value = {text!r}")
    browser.execute_async_script(
        "const done = arguments[0]; page.table.filter().then(() => requestAnimationFrame(() => done(0)))"
    )
    return list(page("return [...document.querySelectorAll('.row .e')].map((e) => e.textContent)"))


def test_search(page: Any, browser: Any) -> None:
    """Events, categories, processes, requests and plain text, alone and together."""
    assert set(search(page, browser, "map,unmap")) == {"map", "unmap"}
    assert set(search(page, browser, "frame")) == {"alloc"}
    assert search(page, browser, "request:2")[0] == "state"
    assert len(search(page, browser, "request:2")) == 8
    assert search(page, browser, "both see") == ["note"]
    assert set(search(page, browser, "program:crypto_srv shm hart:1")) >= {"dequeue", "map"}
    assert search(page, browser, "nothing-like-it") == []
    assert "of" in page("return document.getElementById('found').textContent")
    everything = len(story().rows)
    search(page, browser, "")
    assert page("return document.getElementById('found').textContent") == f"{everything} events"


def test_verdicts_and_numbers(page: Any) -> None:
    """Every rule has its verdict; the stages their latencies."""
    assert page("return document.querySelectorAll('#verdicts li').length") == 13
    assert "0 broken" in page("return document.getElementById('rules-what').textContent")
    assert page("return document.querySelectorAll('#histograms figure').length") == 6
    assert "2 requests, 2 completed" in page(
        "return document.getElementById('latency-what').textContent"
    )


def test_light_and_dark(page: Any) -> None:
    """The button turns the colours of page and canvas round."""
    paper = "return getComputedStyle(document.body).backgroundColor"
    first = page(paper)
    page("document.getElementById('theme').click()")
    second = page(paper)
    assert first != second
    page("document.getElementById('theme').click()")
    assert page(paper) == first


def test_narrow_screens(browser: Any, page: Any) -> None:
    """On a phone nothing sticks out to the side."""
    browser.set_window_size(420, 900)
    page("window.dispatchEvent(new Event('resize'))")
    assert page(
        "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
    seen = page(
        """const edge = document.getElementById('rows').getBoundingClientRect().right;
        return [...document.querySelectorAll('.row .e')].every((e) => e.getBoundingClientRect().right <= edge)"""
    )
    assert seen  # what an event is called can be read without moving anything
    browser.set_window_size(1400, 1000)


def test_paper(browser: Any, page: Any) -> None:
    """Printed from the dark theme the page is light, lanes are not squeezed, and it is dark again afterwards."""
    was = page("return document.documentElement.dataset.theme")
    if was == "light":
        page("document.getElementById('theme').click()")
    page("window.dispatchEvent(new Event('beforeprint'))")
    assert page("return document.documentElement.dataset.theme") == "light"
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shape = page(
        """const c = page.timeline.canvas, r = c.getBoundingClientRect();
        return c.width / c.height / (r.width / r.height)"""
    )
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert shape == pytest.approx(1, abs=0.02)
    page("window.dispatchEvent(new Event('afterprint'))")
    assert page("return document.documentElement.dataset.theme") == "dark"
    if was == "light":
        page("document.getElementById('theme').click()")


def test_arrows_follow_a_request(page: Any) -> None:
    """From the client to the server, along its steps there, and back: each drawn once in the part in view."""
    drawn = page(
        """const t = page.timeline, calls = [];
        t.arrow = (...a) => { calls.push('arrow'); return Timeline.prototype.arrow.apply(t, a); };
        t.along = (...a) => { calls.push('along'); return Timeline.prototype.along.apply(t, a); };
        t.requests(); t.draw(); delete t.arrow; delete t.along; return calls"""
    )
    assert drawn == ["arrow", "along", "along", "arrow"] * 2


def test_many_frames(browser: Any, tmp_path: Path) -> None:
    """Forty thousand frames scroll in a box of their own; the last can be pointed at as well as the first."""
    many = 40_000
    one = Story().process(5, "sh", ROOT).alloc(pid=5, frame=FRAME, free=1)
    records = np.tile(one.pte_set(pid=5, root=ROOT, va=0, frame=FRAME, bits=0xD7).records, many)
    records["time"] = np.arange(len(records)) + 1000
    records["sequence"] = np.arange(len(records)) + 1
    pages = np.repeat(np.arange(many, dtype=np.uint64), 2) * np.uint64(4096)
    records["args"][0::2, 0] += pages[0::2]
    records["args"][1::2, 1] += pages[1::2]
    records["args"][1::2, 2] += pages[1::2]
    path = tmp_path / "t.xt"
    tracefile.write(path, table(), records, processes=np.array(one.processes, tracefile.PROCESS))
    assert xv6_trace("report", path)[0] == 0
    run = opened(browser, tmp_path / "t.html")
    assert run("return page.memory.canvas.clientHeight") <= 440
    run("page.memory.box.scrollTop = 1e6")
    text = run(
        """const m = page.memory, k = m.frames.length - 1, s = m.size, box = m.canvas.getBoundingClientRect();
        const x = k % m.across * s + 1, y = Math.floor(k / m.across) * s + 1 - m.box.scrollTop;
        m.canvas.dispatchEvent(new PointerEvent('pointermove', {clientX: box.left + x, clientY: box.top + y}));
        return document.getElementById('frame-text').textContent"""
    )
    last = FRAME + (many - 1) * 4096
    assert f"{last:#x}" in text and f"5 sh at {(many - 1) * 4096:#x}" in text
    assert "39,400 more" in run("return document.getElementById('spaces').textContent")


def test_sizes(tmp_path: Path) -> None:
    """A thousand events make a page below 300 kB."""
    path = tmp_path / "t.xt"
    writer = Writer(path, table())
    writer.records(long_records(1000))
    writer.close()
    assert len(report.page(normaliser.load(path), "t")) < 300_000


def test_many_events(browser: Any, tmp_path: Path) -> None:
    """A hundred thousand events: decoded right, and the cost of a frame does not follow their number."""
    records = long_records(100_000)
    path = tmp_path / "t.xt"
    writer = Writer(path, table())
    writer.records(records)
    writer.close()
    assert xv6_trace("report", path, "-o", tmp_path / "t.html")[0] == 0
    run = opened(browser, tmp_path / "t.html")
    assert run("return page.trace.count") == len(records)
    total = run("return page.trace.event.reduce((a, b) => a + b, 0)")
    assert total == int(np.sum(records["event"], dtype=np.int64))
    drawn = run(
        """let n = 0; const t = page.timeline, old = CanvasRenderingContext2D.prototype.fillRect;
        CanvasRenderingContext2D.prototype.fillRect = function (...a) { n++; return old.apply(this, a); };
        t.all(); t.draw(); CanvasRenderingContext2D.prototype.fillRect = old; return n"""
    )
    assert 100 < drawn < 60_000
    assert re.search(r"[\d,]+ events", run("return document.getElementById('facts').textContent"))

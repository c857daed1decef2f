"""A report in a real browser without a screen: nothing complained of, nothing asked for, sorted and filtered by keys."""

import itertools
import shutil

import numpy as np
import pytest

import models
from tests.command import tse_onnx as run

webdriver = pytest.importorskip("selenium.webdriver", reason="pip install '.[browser]' brings selenium")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="there is no chromium with its chromedriver here")

QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A document of a network with 16 blocks, opened."""
    folder = tmp_path_factory.mktemp("browser")
    models.save("efficientnet_b0_torchscript_11", folder / "b0.onnx")
    np.save(folder / "x.npy", models.images("efficientnet_b0_torchscript_11"))
    done = run("convert", "b0.onnx", "tiled.onnx", "--rows", "7", "--html", "r.html", "--data", "x.npy", cwd=folder)
    assert done.returncode == 0, done.stderr
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in (*QUIET, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        driver.get((folder / "r.html").as_uri())
        yield driver
    finally:
        driver.quit()


def _first_cells(page):
    return page.execute_script(
        "return [...document.querySelector('.table table').tBodies[0].rows].filter(r => !r.hidden)"
        ".map(r => [...r.cells].map(c => c.textContent))"
    )


def test_nothing_is_complained_of_and_nothing_is_asked_for(page):
    assert page.get_log("browser") == []
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0
    asked = [entry["message"] for entry in page.get_log("performance") if "requestWillBeSent" in entry["message"]]
    assert not [message for message in asked if "http" in message.split('"url":"')[1][:5]]


def test_a_column_is_sorted_by_keys_and_says_so(page):
    head = page.execute_script(
        "return [...document.querySelectorAll('.table th')].find(h => h.textContent === 'buffer before')"
    )
    button = head.find_element("tag name", "button")
    column = page.execute_script("return arguments[0].cellIndex", head)
    for direction, wanted in (("ascending", sorted), ("descending", lambda found: sorted(found, reverse=True))):
        button.send_keys("\n")
        assert head.get_attribute("aria-sort") == direction
        *rows, last = _first_cells(page)
        assert last[0] == "total"
        found = [int(row[column].replace(",", "")) for row in rows]
        assert found == wanted(found)
        assert len(found) == 16
        assert len(set(found)) > 3


def test_rows_are_filtered_and_the_number_is_said(page):
    field = page.find_element("css selector", ".filter input")
    assert field.find_element("xpath", "..").tag_name == "label"
    field.send_keys("blocks.5.1")
    rows = _first_cells(page)
    assert [row[0] for row in rows[:-1]] == [row[0] for row in rows if "blocks.5.1" in row[0]]
    assert "of 16 rows" in page.find_element("css selector", ".filter [role=status]").text
    field.clear()
    field.send_keys(" \b")
    assert len(_first_cells(page)) == 17


def test_every_picture_and_table_has_a_name_and_headings_come_in_order(page):
    unnamed = page.execute_script(
        "return [...document.querySelectorAll('svg[role=img]')].filter(s => !s.querySelector('title').textContent).length"
        " + [...document.querySelectorAll('table')].filter(t => !t.caption).length"
        " + [...document.querySelectorAll('input')].filter(i => !i.labels.length).length"
    )
    assert unnamed == 0
    levels = page.execute_script("return [...document.querySelectorAll('h1,h2,h3,h4')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


@pytest.mark.parametrize("width", [400, 800, 1400])
def test_the_page_itself_never_scrolls_sideways(page, width):
    page.set_window_size(width, 900)
    wide, room = page.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= room

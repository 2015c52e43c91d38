"""The report's page in a real browser: opened from disk, without network, in both themes."""

import pytest
from clones import ROOT
from conftest import browser_page

PAGES = sorted((ROOT / "reports").glob("*/index.html"))


def test_there_is_a_page():
    assert [path.parent.name for path in PAGES] == ["cifar10-small", "mnist5k"]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.parent.name)
def test_the_page_opens_from_disk(path, theme, tmp_path):
    with browser_page(tmp_path, color_scheme=theme) as page:
        problems, requests = [], []
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        assert problems == []
        assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
        images = page.eval_on_selector_all("img", "all => all.map(img => [img.complete, img.naturalWidth])")
        figures, sheets = len(list(path.parent.glob("*.svg"))), page.get_by_text("What the network sees").count()
        assert len(images) - sheets == figures >= 4
        assert all(complete and width > 0 for complete, width in images)
        paper, ink = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        assert lightness(paper) > 200 if theme == "light" else lightness(paper) < 50
        assert abs(lightness(paper) - lightness(ink)) > 150
        assert "values" in page.inner_text(".headline")


def lightness(colour):
    """Mean of red, green and blue of "rgb(r, g, b)"."""
    return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")) / 3


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.parent.name)
def test_tables_sort_by_number(path, tmp_path):
    with browser_page(tmp_path) as page:
        page.goto(path.as_uri())
        table = page.locator("table", has=page.locator("th", has_text="Unique values")).first
        heading = table.locator("th", has_text="Unique values")
        column = heading.evaluate("th => th.cellIndex + 1")

        def shown():
            texts = table.locator(f"tbody td:nth-child({column})").all_inner_texts()
            return [int(text.replace(",", "")) for text in texts]

        before = shown()
        heading.locator("button").click()
        assert shown() == sorted(before)
        assert heading.get_attribute("aria-sort") == "ascending"
        heading.locator("button").click()
        assert shown() == sorted(before, reverse=True)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.parent.name)
def test_it_prints(path, tmp_path):
    """On white, dark theme or not, and nothing is wider than A4 on its side (at 96 pixels an inch, with margins)."""
    with browser_page(tmp_path, color_scheme="dark", viewport={"width": 1046, "height": 718}) as page:
        page.goto(path.as_uri())
        page.emulate_media(media="print")
        assert lightness(page.evaluate("getComputedStyle(document.body).backgroundColor")) == 255
        assert page.evaluate("document.documentElement.scrollWidth") <= 1046
        assert page.pdf(format="A4", landscape=True).startswith(b"%PDF")

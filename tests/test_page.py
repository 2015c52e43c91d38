"""The pages of results in a real browser: from disk, without network, in both themes, on a phone and on paper."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from clones import ROOT
from conftest import browser_page

REPORT, START = ROOT / "reports" / "mnist5k" / "index.html", ROOT / "reports" / "index.html"
PAGES = [pytest.param(REPORT, id="report"), pytest.param(START, id="start")]
PHONE, LAPTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 800}


def lightness(colour):
    """Mean of red, green and blue of "rgb(r, g, b)"."""
    return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")) / 3


@pytest.mark.parametrize("viewport", [PHONE, LAPTOP], ids=["phone", "laptop"])
@pytest.mark.parametrize("path", PAGES)
def test_the_page_opens_from_disk(path, viewport, tmp_path):
    """Nothing is asked of a network, nothing is wrong in the console, nothing is wider than the window."""
    with browser_page(tmp_path, viewport=viewport) as page:
        problems, requests = [], []
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        assert problems == []
        assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
        images = page.eval_on_selector_all("img", "all => all.map(img => [img.complete, img.naturalWidth])")
        assert all(complete and width > 0 for complete, width in images)
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        for panel in page.locator("svg").all():
            assert panel.bounding_box()["width"] > 250


@pytest.mark.parametrize("viewport", [PHONE, LAPTOP], ids=["phone", "laptop"])
def test_the_first_screen_answers_the_questions(viewport, tmp_path):
    with browser_page(tmp_path, viewport=viewport) as page:
        page.goto(REPORT.as_uri())
        for question in ("What did it cost?", "What did it save?", "Does the paper hold?", "How do I use it?"):
            box = page.locator(".cards div", has_text=question).bounding_box()
            assert box["y"] + box["height"] < viewport["height"], question


@pytest.mark.parametrize("path", PAGES)
def test_it_follows_the_theme(path, tmp_path):
    with browser_page(tmp_path) as page:
        page.goto(path.as_uri())
        found = {}
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            paper, ink = page.evaluate(
                "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
            )
            texts = page.eval_on_selector_all("svg text", "all => all.map(text => getComputedStyle(text).fill)")
            found[theme] = lightness(paper), lightness(ink), {round(lightness(text)) for text in texts}
        (white, black, drawn), (night, bright, lit) = found["light"], found["dark"]
        assert white > 200 > 100 > black
        assert bright > 200 > 50 > night
        assert all(each < 100 for each in drawn)
        assert all(each > 150 for each in lit)


@pytest.mark.long
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing(path, tmp_path):
    """Headings, names, contrast, landmarks: the rules of axe-core; in the dark that on contrast."""
    with browser_page(tmp_path) as page:
        page.goto(path.as_uri())
        for theme, rules in (("light", None), ("dark", {"runOnly": ["color-contrast"]})):
            page.emulate_media(color_scheme=theme)
            found = Axe().run(page, options=rules)
            assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("path", PAGES)
def test_contents_lead_to_every_section(path, tmp_path):
    with browser_page(tmp_path, viewport=LAPTOP) as page:
        page.goto(path.as_uri())
        headings = page.locator("main h2, main h3").all_inner_texts()
        links = page.locator("nav a").all()
        assert [link.inner_text() for link in links] == headings
        assert len(headings) > 3
        for link in links:
            link.click()
            target = page.locator(link.get_attribute("href"))
            assert target.count() == 1
            assert target.bounding_box()["y"] < LAPTOP["height"]
        for card in page.locator(".cards a").all():
            assert page.locator(card.get_attribute("href")).count() == 1


def table_of(page, heading):
    return page.locator("section", has=page.get_by_role("heading", name=heading, exact=True))


def test_tables_sort_by_number(tmp_path):
    with browser_page(tmp_path) as page:
        page.goto(REPORT.as_uri())
        table = table_of(page, "WFN against other methods")
        heading = table.locator("th", has_text="Unique values")
        column = heading.evaluate("th => th.cellIndex + 1")

        def shown():
            texts = table.locator(f"tbody tr > :nth-child({column})").all_inner_texts()
            return [int(text.partition(" ")[0].replace(",", "")) for text in texts]

        before = shown()
        heading.locator("button").focus()
        page.keyboard.press("Enter")
        assert shown() == sorted(before)
        assert heading.get_attribute("aria-sort") == "ascending"
        heading.locator("button").click()
        assert shown() == sorted(before, reverse=True)


def test_five_columns_come_first_and_a_switch_shows_the_rest(tmp_path):
    with browser_page(tmp_path, viewport=LAPTOP) as page:
        page.goto(REPORT.as_uri())
        table = table_of(page, "WFN against other methods")

        def headings():
            return table.locator("thead th:visible").all_inner_texts()

        first = ["Method", "Top-1, %", "Change, points", "Packed file, MB", "Unique values"]
        assert headings() == first
        right = table.locator("thead th", has_text="Unique values").bounding_box()
        assert right["x"] + right["width"] < LAPTOP["width"]
        assert all("n = " in name or "one run" in name for name in table.locator("tbody th").all_inner_texts())
        table.get_by_label("all columns").check()
        assert headings()[:5] == first
        assert {"Epochs", "Index entropy, bits", "LZW, MB", "Runs"} <= set(headings())


def test_the_pages_lead_to_each_other(tmp_path):
    with browser_page(tmp_path) as page:
        page.goto(START.as_uri())
        page.get_by_role("link", name="mnist5k").click()
        assert page.url == REPORT.as_uri()
        page.get_by_role("link", name="All results").click()
        assert page.url == START.as_uri()


@pytest.mark.parametrize("path", PAGES)
def test_it_prints(path, tmp_path):
    """On white in any theme; nothing is wider than A4 (at 96 pixels an inch, less margins), no figure is split."""
    with browser_page(tmp_path, color_scheme="dark", viewport={"width": 688, "height": 1017}) as page:
        page.goto(path.as_uri())
        page.emulate_media(media="print")
        assert lightness(page.evaluate("getComputedStyle(document.body).backgroundColor")) == 255
        assert page.evaluate("document.documentElement.scrollWidth") <= 688
        widths = page.eval_on_selector_all("table", "all => all.map(table => table.scrollWidth)")
        assert max(widths) <= 688
        sizes = page.eval_on_selector_all("td", "all => all.map(cell => parseFloat(getComputedStyle(cell).fontSize))")
        assert min(sizes) >= 10  # pixels: 7.5 points
        heights = page.eval_on_selector_all("figure", "all => all.map(figure => figure.getBoundingClientRect().height)")
        breaks = page.eval_on_selector_all("figure", "all => all.map(figure => getComputedStyle(figure).breakInside)")
        assert max(heights, default=0) < 1017  # of a page
        assert set(breaks) <= {"avoid"}
        assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")

"""Uses the pages of recordings as a reader would, in headless Chromium.

    check.py [--shots FOLDER] PAGE...

PAGE is a report/index.html. Needs the packages of requirements.txt, and Chromium: Playwright's own, or one named by
CHROMIUM. Fails at the first thing that does not work. Not part of `cargo test`: it needs a browser.
"""

import argparse
import os
import pathlib
import time

from playwright.sync_api import Page, expect, sync_playwright

OPEN_S = 2.0  # the limit on opening a page of some hundred runs
ROWS = "#table tbody tr:not([hidden])"


def opened(page: Page, path: pathlib.Path) -> list[str]:
    """Opens the page; returns what went wrong while it was open, a list that grows."""
    trouble = []
    page.on("console", lambda message: trouble.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda request: trouble.append(f"asks for {request.url}") if asks(request, path) else None)
    start = time.monotonic()
    page.goto(path.as_uri())
    expect(page.locator("#plot svg .axis").first).to_be_attached()
    took_s = time.monotonic() - start
    assert took_s < OPEN_S, f"opened in {took_s:.2f} s, expected less than {OPEN_S} s"
    print(f"  opened in {took_s:.2f} s")
    return trouble


def asks(request, path: pathlib.Path) -> bool:
    return request.url.split("#")[0] != path.as_uri() and not request.url.startswith("data:")


def numbers(page: Page, column: int) -> list[float]:
    cells = page.locator(f"{ROWS} td:nth-child({column})").all_inner_texts()
    return [float(text.split("×")[0]) for text in cells if text[0].isdigit()]


def sorts(page: Page) -> None:
    header = page.locator("#table th", has_text="speed-up")
    header.locator("button").click()
    expect(header).to_have_attribute("aria-sort", "descending")
    speeds = numbers(page, 4)
    assert speeds == sorted(speeds, reverse=True), speeds
    header.locator("button").press("Enter")
    expect(header).to_have_attribute("aria-sort", "ascending")
    speeds = numbers(page, 4)
    assert speeds == sorted(speeds), speeds


def filters(page: Page) -> None:
    rows, points = page.locator(ROWS).count(), page.locator(".point").count()
    word = page.locator(ROWS).last.locator("td").nth(1).inner_text().split()[0]
    page.fill("#filter", word.upper())
    labels = page.locator(f"{ROWS} td:nth-child(2)").all_inner_texts()
    assert labels and all(word.lower() in label.lower() for label in labels), (word, labels)
    assert page.locator(".point").count() <= points
    page.fill("#filter", "no policy is called this")
    expect(page.locator(ROWS)).to_have_count(0)
    page.fill("#filter", "")
    expect(page.locator(ROWS)).to_have_count(rows)
    page.locator("#plot-controls").uncheck()
    assert page.locator(ROWS).count() < rows
    page.locator("#plot-controls").check()


def selects(page: Page) -> None:
    while page.locator(".chip").count():
        page.locator(".chip button").first.click()
    expect(page.locator("#selected-note")).to_contain_text("Nothing is selected")
    row = page.locator(ROWS).nth(2)
    row.click()
    expect(page.locator(".chip")).to_have_count(1)
    expect(row.locator("input")).to_be_checked()
    row.locator("input").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator(".chip")).to_have_count(2)
    if page.locator(".point").count() > 1:
        page.locator(".point[tabindex='0']").focus()
        page.keyboard.press("ArrowRight")
        expect(page.locator("#tip")).to_be_visible()
        pressed = page.locator(".point:focus").get_attribute("aria-pressed") == "true"
        page.keyboard.press("Enter")
        expect(page.locator(".point:focus")).to_have_attribute("aria-pressed", str(not pressed).lower())


def plots(page: Page) -> None:
    for select in ("#plot-y", "#plot-x"):
        for option in page.locator(f"{select} option").all():
            page.select_option(select, option.get_attribute("value"))
            if select == "#plot-y":
                name = option.inner_text()
                expect(page.locator("#plot svg .title").nth(1)).to_contain_text(name)
    page.select_option("#plot-x", "speedup")
    legend = page.locator("#legend button").first
    before = page.locator(".point").count()
    legend.click()
    expect(legend).to_have_attribute("aria-pressed", "false")
    assert page.locator(".point").count() < before
    legend.click()
    expect(page.locator(".point")).to_have_count(before)
    point = page.locator(".point").last
    point.hover(force=True)
    expect(page.locator("#tip")).to_contain_text("compute")


def compares(page: Page) -> None:
    if page.locator("#compared-section").is_hidden():
        return print("  nothing to compare")
    rows, tables = page.locator("#compared-table tbody tr"), page.locator("#compared option").all()
    for option in tables:
        page.select_option("#compared", option.get_attribute("value"))
        assert rows.count(), option.inner_text()
        if page.locator("#compared-at").is_visible():
            for value in page.locator("#compared-at option").all():
                page.select_option("#compared-at", value.get_attribute("value"))
                assert rows.count(), f"{option.inner_text()} at {value.inner_text()}"
    page.select_option("#compared", "0")
    if page.locator("#compared-at option").count() > 1:
        before = page.locator("#compared-at").input_value()
        page.locator("#compared-at").focus()
        page.keyboard.press("ArrowDown")
        if page.locator("#compared-at").input_value() == before:
            page.keyboard.press("ArrowUp")
        assert page.locator("#compared-at").input_value() != before
    column = page.locator("#compared-table th").all_inner_texts().index("compute") + 1
    header = page.locator(f"#compared-table th:nth-child({column})")
    for press, order in ((header.locator("button").click, "ascending"), (lambda: header.locator("button").press("Enter"), "descending")):
        press()
        expect(header).to_have_attribute("aria-sort", order)
        cells = page.locator(f"#compared-table td:nth-child({column})").all_inner_texts()
        shares = [float(cell.split()[0]) for cell in cells]
        assert shares == sorted(shares, reverse=order == "descending"), shares


def pixels(page: Page) -> list[str]:
    return page.evaluate("[...document.querySelectorAll('#clips canvas')].map((canvas) => canvas.toDataURL())")


def plays(page: Page) -> None:
    if page.locator("#clips-section").is_hidden():
        return print("  no videos")
    page.reload()
    expect(page.locator("#clips figure").nth(1)).to_be_visible()
    frame = page.locator("#frame")
    expect(page.locator("#play")).to_have_text("pause")
    start = frame.input_value()
    page.wait_for_function("start => document.getElementById('frame').value !== start", arg=start)
    page.keyboard.press("k")
    expect(page.locator("#play")).to_have_text("play")
    still, before = int(frame.input_value()), pixels(page)
    page.wait_for_timeout(300)
    assert int(frame.input_value()) == still, "it plays on while paused"
    page.locator("#forth").click()
    count = int(frame.get_attribute("max")) + 1
    assert int(frame.input_value()) == (still + 1) % count
    after = pixels(page)
    assert all(a != b for a, b in zip(before, after)), "a clip stands still"
    page.locator("#back").click()
    assert pixels(page) == before, "one frame on and one back is another frame"
    page.select_option("#gain", "1")
    assert pixels(page) != before, "the amplification changes nothing"
    page.select_option("#gain", "")


def decides(page: Page) -> None:
    maps = page.locator("#decisions svg[tabindex]")
    expect(page.locator("#decisions .decided")).to_have_count(page.locator(".chip").count())
    maps.first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    for readout in page.locator("#decisions .readout").all_inner_texts():
        assert readout.startswith("step 2 · "), readout
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#decisions .readout").first).to_contain_text("step 1 ·")
    box = maps.first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    expect(page.locator("#decisions .readout").first).not_to_contain_text("step 1 ·")


def regroups(page: Page) -> None:
    if not page.locator("#group").count():
        return
    for option in page.locator("#group option").all()[::-1]:
        page.select_option("#group", option.get_attribute("value"))
        assert page.locator(ROWS).count() and page.locator(".chip").count(), option.inner_text()


def fits(page: Page) -> None:
    for width in (1280, 800, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(200)
        wide = page.evaluate("document.scrollingElement.scrollWidth")
        assert wide <= width, f"{wide} pixels wide in a window of {width}"
    page.set_viewport_size({"width": 1280, "height": 900})


def check(browser, path: pathlib.Path, shots: pathlib.Path | None) -> None:
    print(path)
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(5000)
    trouble = opened(page, path)
    for step in (sorts, filters, plots, compares, selects, plays, decides, regroups, fits):
        step(page)
        assert not trouble, f"after {step.__name__}: {trouble}"
    if shots:
        shots.mkdir(parents=True, exist_ok=True)
        name = "-".join(path.parts[-4:-1])
        for scheme, width in ((scheme, width) for scheme in ("light", "dark") for width in (1280, 800)):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 900})
            page.screenshot(path=shots / f"{name}-{scheme}-{width}.png", full_page=True)
        page.pdf(path=shots / f"{name}.pdf", format="A4", print_background=True)
    page.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shots", type=pathlib.Path, help="folder for screenshots and prints")
    parser.add_argument("pages", type=pathlib.Path, nargs="+")
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM"), args=["--no-sandbox"])
        for path in options.pages:
            check(browser, path.resolve(), options.shots)
        browser.close()
    print(f"{len(options.pages)} pages work")


if __name__ == "__main__":
    main()

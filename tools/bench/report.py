"""Write the page of an evaluation and open it in a browser: `python -m tools.bench.report`.

Different pages of text as large as scanned receipts are drawn on the fly, every fourth item with an answer's box. The
CPU time to write includes drawing them, which stands beside it. The browser is Chromium, if it is installed; its times
are CPU times too. Filling all rows at once is what the page avoids.
"""

import argparse
import random
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

from PIL import Image as Pillow
from PIL import ImageDraw
from PIL.Image import Image

from foveal.core import Box
from recipes.reports.evaluation_page import Shown, write_page
from tools.bench.timing import machine

SIZE = (600, 1100)
LINE = 22
BASES = 40
FILL = "for (const each of rows.values()) fill(each)"
WORDS = ("total", "tax", "cash", "item", "date", "shop", "street", "number", "thank you", "12.50", "8.10", "3 x")


@cache
def base(number: int) -> Image:
    """A page full of text."""
    chosen, picture = random.Random(number), Pillow.new("RGB", SIZE, (250, 248, 244))
    draw = ImageDraw.Draw(picture)
    for line in range(10, SIZE[1] - LINE, LINE):
        draw.text((20, line), " ".join(chosen.choices(WORDS, k=6)), fill=(40, 40, 44), font_size=15)
    return picture


def drawn(number: int) -> Image:
    """A page that differs from all others: a base, moved a bit, with its number."""
    moved = Pillow.new("RGB", SIZE, "white")
    moved.paste(base(number % BASES), (number // BASES % 7, number // BASES % 5))
    ImageDraw.Draw(moved).text((300, 12), f"number {number}", fill="black", font_size=15)
    return moved


def items(number: int, pictures: int) -> Iterator[Shown]:
    """Items of which those in a row share a picture."""
    chosen, each = random.Random(0), number // pictures
    opener: Callable[[], Image] = partial(drawn, 0)
    for index in range(number):
        if index % each == 0:
            opener = partial(drawn, index // each)
        score = chosen.choice((0.0, 1.0, round(chosen.random(), 4)))
        boxes = (Box(300, 10, 400, 30),) if index % 4 == 0 else ()
        group = ("total", "date", "shop", "street")[index % 4]
        question = f"<image>\nWhat is the {group}?\nAnswer the question using a single word or phrase."
        yield Shown(f"{index}", question, (f"number {index}",), f"number {index // 2}", score, (opener,), group, boxes)


def in_browser(path: Path) -> list[str]:
    """CPU time of the browser's main thread to open the page, to apply a filter, and to fill all rows at once."""
    executable = shutil.which("chromium")
    if executable is None:
        return ["no chromium"] * 3
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(300_000)
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})

        def spent() -> float:
            # Two frames, so that what was changed is drawn.
            page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            metrics = session.send("Performance.getMetrics")["metrics"]
            return float(next(each["value"] for each in metrics if each["name"] == "TaskDuration"))

        page.goto(path.as_uri())
        page.locator(".item img").first.evaluate("image => image.decode()")
        took = [spent()]
        for change in ("search.value = 'number 1'; select()", "search.value = ''; select()", FILL):
            page.evaluate(change)
            took.append(spent())
        browser.close()
    opened, chosen, filled = took[0], took[1] - took[0], took[3] - took[2]
    return [f"{each * 1e3:.0f} ms" for each in (opened, chosen, filled)]


def row(folder: Path, number: int, pictures: int) -> str:
    """A row of the table."""
    start = time.process_time()
    for index in range(pictures):
        drawn(index)
    drawing, before = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path, start = folder / f"{number}-{pictures}.html", time.process_time()
    write_page(items(number, pictures), path, title="Receipts", facts={}, scores={})
    took = time.process_time() - start
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
    figures = [f"{took:.1f} s", f"{drawing:.1f} s", f"{more:.0f} MB", f"{path.stat().st_size / 1e6:.1f} MB"]
    return f"| {number:,} | {pictures:,} | {' | '.join([*figures, *in_browser(path)])} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a page of a few items")
    tiny = parser.parse_args().tiny
    print(f"\n{machine()}\n")
    print(
        "| items | pictures | written | of which drawing | more memory | file | opened | filtered | all rows filled |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for number, pictures in ((20, 10),) if tiny else ((100, 100), (1000, 1000), (5000, 1000), (5000, 5000)):
            print(row(Path(folder), number, pictures), flush=True)


if __name__ == "__main__":
    main()

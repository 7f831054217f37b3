"""The page of a large study that nobody ran: its size, and when a browser shows it.

    python benchmarks/report_page.py
    python benchmarks/report_page.py --tasks 400 --configurations 20 --seeds 5 --views 16 --out page.json

The page is opened `--repeats` times in a headless Chromium, from a file, each time in a new process of the browser. Of
the milliseconds the median is told: from the address to the first paint; until the page is there to its end; from a key
to the matrix of all tasks; from the matrix to a task with all that was found for it, unpacked and drawn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path += [str(ROOT / "workflow_scripts"), str(ROOT / "tests" / "helpers")]

import browsers  # noqa: E402
from made_pages import page_of  # noqa: E402
from made_reports import made_study, made_tasks  # noqa: E402

TIMES = """
const done = arguments[0];
const drawn = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
const until = async (selector) => { while (!document.querySelector(selector)) await drawn(); await drawn(); };
const told = {};
const painted = () => performance.getEntriesByType("paint").find((entry) => entry.name === "first-contentful-paint");
const timed = async (key, address, selector) => {
  const start = performance.now();
  location.hash = address;
  await until(selector);
  told[key] = performance.now() - start;
};
(async () => {
  while (!painted()) await drawn();
  told.first_paint = painted().startTime;
  told.whole = performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd;
  await timed("matrix", "#/tasks", "#matrix .cell");
  await timed("task", document.querySelector(".cell").getAttribute("href"), "#task .views");
  done(told);
})();
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=400)
    parser.add_argument("--configurations", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--views", type=int, default=8, help="searched views, and as many of the scoring")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", help="a file for the figures, beside standard output")
    asked = parser.parse_args()
    if why := browsers.missing():
        sys.exit(f"error: {why}, expected a headless Chromium with its driver")
    study = made_study(made_tasks(asked.tasks), asked.configurations, asked.seeds, views=asked.views)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        path.write_text(page_of(study), encoding="utf-8")
        told = [opened(path) for _ in range(asked.repeats)]
        figures = {
            "tasks": asked.tasks,
            "configurations": asked.configurations,
            "seeds": asked.seeds,
            "views": 2 * asked.views,
            "mib": path.stat().st_size / 2**20,
            "milliseconds": {key: statistics.median(each[key] for each in told) for key in told[0]},
        }
    text = json.dumps(figures, indent=2)
    print(text)
    if asked.out:
        Path(asked.out).write_text(text + "\n", encoding="utf-8")


def opened(path: Path) -> dict[str, float]:
    """Milliseconds of a page that is opened by a browser that has just started."""
    driver: Any = browsers.start()
    try:
        driver.get(path.as_uri())
        times: dict[str, float] = driver.execute_async_script(TIMES)
        return times
    finally:
        driver.quit()


if __name__ == "__main__":
    main()

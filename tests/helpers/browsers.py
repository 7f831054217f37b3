"""A headless Chromium for the tests marked `browser`, and for looking at a page by hand.

python tests/helpers/browsers.py page.html#/tasks picture.png [--width 390] [--dark] [--whole]
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def missing() -> str | None:
    """What is not there that a test in a browser needs; None if all is."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed"
    if _browser() is None:
        return f"no browser: none of {', '.join(BROWSERS)} is on the path"
    return None if shutil.which("chromedriver") else "no chromedriver is on the path"


def _browser() -> str | None:
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def start(width: int = 1280, height: int = 900) -> Any:
    """A driver; whoever starts it calls its quit()."""
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = _browser() or ""
    # a sandbox needs rights that neither root nor a container has; the pages are our own
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    options.add_argument(f"--window-size={width},{height}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def look_like(driver: Any, width: int, height: int = 844, *, phone: bool = False) -> None:
    """Gives the page another width; a phone's is told to the page as a phone tells it."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def prefer(driver: Any, scheme: str) -> None:
    """As a system that is light or dark."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", help="a file, perhaps with an address behind #")
    parser.add_argument("picture")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--phone", action="store_true")
    parser.add_argument("--whole", action="store_true", help="down to the page's end")
    asked = parser.parse_args()
    driver = start()
    try:
        prefer(driver, "dark" if asked.dark else "light")
        look_like(driver, asked.width, asked.height, phone=asked.phone)
        file, _, place = asked.page.partition("#")
        driver.get(f"{Path(file).resolve().as_uri()}#{place}")
        if asked.whole:
            whole = driver.execute_script("return document.documentElement.scrollHeight")
            look_like(driver, asked.width, whole, phone=asked.phone)
        driver.execute_async_script("setTimeout(arguments[0], 300)")
        driver.save_screenshot(os.fspath(asked.picture))
        for line in driver.get_log("browser"):
            print(line["level"], line["message"])
    finally:
        driver.quit()


if __name__ == "__main__":
    main()

"""Make the pictures of the admin that the documentation shows anew: ``make screenshots``.

Serves the example project on data of its own, fills a map, and takes each page at the width of a
desktop and of a phone with Debian's own chromium. Runs in the virtual environment, outside the
test suite: ``screenshots.py [DIRECTORY]``.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from django.contrib.admin.utils import quote
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from lpcm import LPCM, Engine
from lpcm.django.addresses import AdminUrl
from lpcm.text import encode_key

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "examples" / "django_site" / "demo.py"
SIZES = {"": (1024, 700), "-phone": (390, 844)}
ROOMS: dict[Any, Any] = {
    "lobby": {"visits": 3, "messages": ["hello", "welcome", "is anybody here?"]},
    ("eu", 7): {"visits": 1, "owners": {"ada", "grace"}},
    ("eu", 8): {"visits": 12, "owners": {"linus"}},
    7: "a room with a number",
    b"\xff\x00": b"bytes are keys, too",
    "a name of a room that is too long for one line on any screen": 1.5,
}


def main(directory: Path) -> None:
    """Take every page at every width."""
    with TemporaryDirectory() as data, served(Path(data)) as site, browser() as driver:
        fill(f"sqlite:///{data}/maps.sqlite3")
        log_in(driver, site)
        for name, page in pages().items():
            for suffix, size in SIZES.items():
                resize(driver, *size)
                driver.get(f"{site}{page}")
                driver.execute_script("document.getElementById('djDebugRoot')?.remove()")
                driver.save_screenshot(str(directory / f"admin-{name}{suffix}.png"))


def fill(url: str) -> None:
    """Put something worth a look into the maps."""
    with Engine.open(url) as engine:
        rooms: LPCM[Any, Any] = LPCM("rooms", using=engine)
        rooms.update(ROOMS)
        rooms.set("guests", {"ada": 3}, ttl=86_400)
        LPCM("hits", using=engine).update({"home": 12, "fruit/fig": 3})


def pages() -> dict[str, str]:
    """Return the path of each page that is shown, by the name of its picture."""
    rooms = AdminUrl("default", "rooms")
    lobby = rooms.within(encode_key("lobby"))
    where = "admin/lpcm/map/{}/change/"
    return {"keys": where.format(quote(str(rooms))), "entry": where.format(quote(str(lobby)))}


@contextmanager
def served(data: Path) -> Iterator[str]:
    """Serve the example project; yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name[:5] != "LPCM_"}
    process = subprocess.Popen(
        [sys.executable, DEMO, str(port)], cwd=data, env={**environment, "SHOP_DATA": str(data)}
    )
    try:
        site = f"http://127.0.0.1:{port}/"
        wait_for(f"{site}async/up/", process)
        yield site
    finally:
        process.kill()
        process.wait(20)


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    """Return once the address answers."""
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(address, timeout=5).close()  # noqa: S310  # http: see served
        except OSError:
            time.sleep(0.1)
        else:
            return
    sys.exit("the example project did not start")


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """Yield a headless Chromium."""
    options = Options()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        yield driver
    finally:
        driver.quit()


def resize(driver: webdriver.Chrome, width: int, height: int) -> None:
    """Show pages as a screen of this size does."""
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


def log_in(driver: webdriver.Chrome, site: str) -> None:
    """Log in as the example's admin."""
    driver.get(f"{site}admin/")
    for field in ("username", "password"):
        driver.find_element(By.NAME, field).send_keys("demo")
    driver.find_element(By.CSS_SELECTOR, "input[type=submit]").click()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "howto")

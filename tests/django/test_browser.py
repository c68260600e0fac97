"""The example project in a real browser: what a newcomer sees, and what a person does there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
from django.contrib.admin.utils import quote
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from lpcm import LPCM, Engine

SITE = Path(__file__).parents[2] / "examples" / "django_site"
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return the directory that the project keeps its data in."""
    return tmp_path_factory.mktemp("site")


@pytest.fixture(scope="module")
def site(data):
    """Run the project as `make django-demo` does; yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LPCM_", "DJANGO_SETTINGS"))
    }
    with (data / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, SITE / "demo.py", str(port)],
            cwd=data,
            env={**environment, "SHOP_DATA": str(data)},
            stdout=log,
            stderr=log,
        )
        address = f"http://127.0.0.1:{port}/"
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{address}async/up/", timeout=5).close()
                break
            except OSError:
                time.sleep(0.05)
        assert process.poll() is None, (data / "log").read_text()
        yield address
        process.kill()
        process.wait(20)


@pytest.fixture(scope="module")
def browser():
    """Yield a headless Chromium."""
    options = Options()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    driver.set_window_size(1200, 900)
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


def see(browser, selector, timeout=30):
    """Return the first element of a selector, waiting for it."""
    return WebDriverWait(browser, timeout).until(
        lambda driver: driver.find_element(By.CSS_SELECTOR, selector)
    )


def click(browser, element):
    """Click what may be under the toolbar, or off the screen."""
    browser.execute_script("arguments[0].click()", element)


def press(browser, words):
    click(browser, see(browser, f"input[value='{words}']"))


@pytest.fixture
def logged_in(site, browser):
    """Log in as the demo says."""
    browser.get(f"{site}admin/")
    if browser.find_elements(By.NAME, "username"):
        browser.find_element(By.NAME, "username").send_keys("demo")
        browser.find_element(By.NAME, "password").send_keys("demo")
        press(browser, "Log in")
    return browser


def test_it_counts(site, browser):
    """A visitor picks fruit, and everybody's and the own counts grow."""
    for number in (1, 2):
        browser.get(f"{site}fruit/fig/")
        assert f"{number} \N{MULTIPLICATION SIGN} fig" in see(browser, "p").text
    browser.get(site)
    rows = dict(row.text.rsplit(" ", 1) for row in browser.find_elements(By.TAG_NAME, "tr"))
    assert rows["fruit/fig"] == "2"
    browser.find_element(By.CSS_SELECTOR, "input[value=dark]").click()
    click(browser, see(browser, "form button"))
    WebDriverWait(browser, 30).until(
        lambda driver: driver.find_elements(By.CSS_SELECTOR, "html[data-theme=dark]")
    )


def test_a_person_changes_an_entry(site, logged_in):
    """From the admin's index to an entry, a change, its history, and its end."""
    browser = logged_in
    urllib.request.urlopen(f"{site}fruit/kiwi/", timeout=60).close()
    browser.get(f"{site}admin/")
    browser.find_element(By.LINK_TEXT, "Maps").click()
    see(browser, ".lpcm-maps caption")
    browser.find_element(By.LINK_TEXT, "hits").click()
    see(browser, "#searchbar").send_keys("fruit/k")
    press(browser, "Search")
    WebDriverWait(browser, 30).until(lambda driver: "q=" in driver.current_url)
    see(browser, "#result_list")
    rows = browser.find_elements(By.CSS_SELECTOR, "#result_list tbody tr")
    assert [row.text.split() for row in rows] == [['"fruit/kiwi"', "1", "int", "never"]]
    browser.find_element(By.CSS_SELECTOR, ".lpcm-key a").click()
    area = see(browser, "#id_value")
    assert area.get_attribute("value") == "1"
    area.clear()
    area.send_keys("41")
    press(browser, "Save")
    assert "was changed" in see(browser, ".messagelist .success").text
    click(browser, see(browser, ".historylink"))
    assert "Changed the value." in see(browser, "#change-history").text
    browser.back()
    click(browser, see(browser, ".deletelink"))
    press(browser, "Yes, delete it")
    assert "was deleted" in see(browser, ".messagelist .success").text


LONG = "a-name-without-spaces-" * 12


def test_every_page_fits_a_phone(site, logged_in, data):
    """Names and keys of any length wrap: no page is wider than the screen."""
    browser = logged_in
    with Engine.open(f"sqlite:///{data}/maps.sqlite3") as engine:
        LPCM(LONG, using=engine)[LONG] = {LONG: LONG}
    token = [urlsafe_b64encode(LONG.encode()).decode()] * 2
    listed, entry = (quote("/".join(["default", *token[:n]])) for n in (1, 2))
    pages = ["", f"{listed}/change/", f"{listed}/add/", f"{entry}/change/", f"{entry}/delete/"]
    screen = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        for page in pages:
            browser.get(f"{site}admin/lpcm/map/{page}")
            see(browser, "#content")
            browser.execute_script("document.getElementById('djDebugRoot')?.remove()")
            width = browser.execute_script("return document.documentElement.scrollWidth")
            assert width == 360, page
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_person_adds_an_entry(site, logged_in):
    """From a map's keys to a new entry, and back by a search for its key as it is shown."""
    browser = logged_in
    urllib.request.urlopen(f"{site}fruit/kiwi/", timeout=60).close()
    browser.get(f"{site}admin/lpcm/map/")
    browser.find_element(By.LINK_TEXT, "hits").click()
    click(browser, see(browser, ".object-tools .addlink"))
    see(browser, "#id_key").send_keys('{"!tuple": ["by", "hand"]}')
    see(browser, "#id_value").send_keys("7")
    press(browser, "Save")
    assert "was added" in see(browser, ".messagelist .success").text
    browser.find_element(By.LINK_TEXT, "hits").click()
    see(browser, "#searchbar").send_keys('{"!tuple":["by","hand"]}')
    press(browser, "Search")
    WebDriverWait(browser, 30).until(lambda driver: "q=" in driver.current_url)
    assert see(browser, "#result_list .lpcm-key").text == '{"!tuple":["by","hand"]}'


def test_hostile_values_do_nothing(site, logged_in):
    """A stored script is text: nothing runs, and the page is whole."""
    browser = logged_in
    name = "%3Cscript%3Ealert(1)%3C%2Fscript%3E"
    urllib.request.urlopen(f"{site}fruit/{name.replace('%2F', '')}/", timeout=60).close()
    browser.get(f"{site}admin/lpcm/map/")
    browser.find_element(By.LINK_TEXT, "hits").click()
    see(browser, "#result_list")
    assert "<script>alert(1)" in browser.find_element(By.ID, "result_list").text
    assert see(browser, "nav.paginator").is_displayed()
    assert not browser.find_elements(By.XPATH, "//script[contains(., 'alert')]")


def test_the_panel_shows_what_a_page_asked(site, browser):
    """The toolbar names each operation, who answered, and what was read again."""
    browser.get(site)
    bar = see(browser, "#djDebugRoot").shadow_root
    if not bar.find_element(By.ID, "djDebugToolbar").is_displayed():
        bar.find_element(By.ID, "djShowToolBarButton").click()
    link = WebDriverWait(browser, 30).until(
        lambda _: bar.find_element(By.CSS_SELECTOR, "a.LPCMPanel")
    )
    WebDriverWait(browser, 30).until(lambda _: " in " in link.text)
    assert link.text.startswith("Maps")
    link.click()
    WebDriverWait(browser, 30).until(
        lambda _: bar.find_elements(By.CSS_SELECTOR, "#LPCMPanel table")
    )
    words = bar.find_element(By.ID, "LPCMPanel").text
    for wanted in ("hits", '"home"', "write", "scan", "answered by the store"):
        assert wanted in words


def make_viewer(data):
    """Make a staff user who may look at maps, and nothing else."""
    code = (
        "from django.contrib.auth.models import Permission, User;"
        "made = User.objects.create_user('viewer', password='viewer', is_staff=True);"
        "made.user_permissions.add(Permission.objects.get(codename='view_map'))"
    )
    subprocess.run(
        [sys.executable, SITE / "manage.py", "shell", "-v0", "-c", code],
        cwd=data,
        env={**os.environ, "SHOP_DATA": str(data), "DJANGO_SETTINGS_MODULE": "shop.settings"},
        check=True,
        timeout=60,
    )


def log_in(browser, site, name):
    """Log in under a name that is also the password, in a browser without a past."""
    browser.get(f"{site}admin/")
    browser.delete_all_cookies()
    browser.get(f"{site}admin/")
    see(browser, "[name=username]").send_keys(name)
    browser.find_element(By.NAME, "password").send_keys(name)
    press(browser, "Log in")
    see(browser, "#user-tools")


def keys_of_sessions(data):
    """Return what a reader of the table sees for keys of sessions."""
    url = f"sqlite:///{data}/maps.sqlite3"
    done = subprocess.run(
        [sys.executable, "-m", "lpcm", "--url", url, "keys", "django.sessions"],
        env={name: value for name, value in os.environ.items() if not name.startswith("LPCM_")},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return {line.strip('"') for line in done.stdout.splitlines()}


def test_a_viewer_takes_over_no_session(site, browser, data):
    """Who may view maps, or read the table, finds nothing there to become a superuser with."""
    make_viewer(data)
    log_in(browser, site, "demo")
    assert browser.find_elements(By.LINK_TEXT, "Users")
    log_in(browser, site, "viewer")
    own = browser.get_cookie("sessionid")
    found = keys_of_sessions(data)
    assert len(found) >= 2
    assert own["value"] not in found
    browser.get(f"{site}admin/lpcm/map/")
    see(browser, ".lpcm-maps caption")
    assert not browser.find_elements(By.LINK_TEXT, "django.sessions")
    token = urlsafe_b64encode(b"django.sessions").decode()
    browser.get(f"{site}admin/lpcm/map/{quote(f'default/{token}')}/change/")
    found |= {each.text.strip('"') for each in browser.find_elements(By.CSS_SELECTOR, ".lpcm-key")}
    for key in found:
        browser.add_cookie({**own, "value": key})
        browser.get(f"{site}admin/")
        see(browser, "#header")
        assert not browser.find_elements(By.LINK_TEXT, "Users"), key
    browser.delete_all_cookies()

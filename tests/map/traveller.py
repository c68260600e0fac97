"""A program that configures lpcm under ``__main__`` alone and sends a map to its children.

Run as ``traveller.py METHOD SCENARIO [URL]``; prints as JSON where the map was for each process,
and what it held in the end. ``tests/map/test_travel.py`` judges.
"""

import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import lpcm
from lpcm import LPCM


def configured(_: str) -> LPCM:
    """Return a map of the default alias."""
    lpcm.configure("sqlite:///shop.sqlite3?synchronous=normal&busy_timeout=7", ttl=3600)
    return LPCM("m", default=0)


def namespace(_: str) -> LPCM:
    """Return a map in a namespace."""
    lpcm.configure("sqlite:///shop.sqlite3?namespace=blue", using="shop")
    return LPCM("m", using="shop", default=0)


def relative(_: str) -> LPCM:
    """Return a map at a path relative to a directory that the program has left."""
    m = LPCM("m", url="sqlite:///shop.sqlite3", default=0)
    m.get("n")
    Path("elsewhere").mkdir()
    os.chdir("elsewhere")
    return m


def cached(url: str) -> LPCM:
    """Return a map behind memcached."""
    lpcm.configure("sqlite:///shop.sqlite3", cache=url, cache_ttl=60)
    return LPCM("m", default=0)


def dynamodb(url: str) -> LPCM:
    """Return a map of a table."""
    lpcm.configure(url, using="table", namespace="blue")
    return LPCM("m", using="table", default=0)


def django(_: str) -> LPCM:
    """Return a map of an alias in Django's settings."""
    import django
    from django.conf import settings

    path = Path("shop.sqlite3").absolute()
    reports = {"STORE": f"sqlite:///{path}", "OPTIONS": {"namespace": "reports"}}
    settings.configure(INSTALLED_APPS=["lpcm"], LPCM={"reports": reports})
    django.setup()
    return LPCM("m", using="reports", default=0)


def work(m: LPCM) -> list[object]:
    """Count in the map, and return where it is."""
    m.increment("n")
    entry = m.entry("n")
    engine = m._bound[2].engine
    cache = engine.stack.cache
    settings = engine._settings
    options = [settings.ttl, settings.cache_ttl, *map(list, settings.store_options)]
    return [engine.location, m._bound[2].namespace, cache and str(cache), options, entry.key]


def into(queue: "multiprocessing.Queue[object]", m: LPCM) -> None:
    """Put what ``work`` returns into a queue."""
    queue.put(work(m))


def main(method: str, scenario: str, url: str = "") -> None:
    """Work here and in a child of each kind; print what they saw."""
    m = globals()[scenario](url)
    seen = [work(m)]
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=into, args=(queue, m))
    child.start()
    seen.append(queue.get(timeout=30))
    child.join(60)
    with context.Pool(1) as pool:
        seen.append(pool.apply_async(work, (m,)).get(timeout=30))
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        seen.append(executor.submit(work, m).result(timeout=30))
    print(json.dumps({"seen": seen, "n": m["n"]}))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Loads of DynamoDB are spread: over maps, and over distant places of each."""

import json
import time
from itertools import pairwise

import pytest
from click.testing import CliRunner

import lpcm
from lpcm import LPCM
from lpcm.administration import Records
from lpcm.cli import main
from lpcm.cli.copying import Copy
from lpcm.cli.spreading import PARTS, bounds, spread
from lpcm.operations.operations import Entries
from lpcm.text import encode_key
from tests.dynamodb.tables import Table
from tests.dynamodb.test_limiting import limited
from tests.opened import Opened


@pytest.fixture
def table(dynoxide):
    table = Table(dynoxide.endpoint, "spread")
    table.empty()
    yield table
    lpcm.close()
    table.close()


@pytest.fixture
def here(tmp_path):
    return f"sqlite:///{tmp_path}/here.sqlite3?synchronous=normal"


def invoke(*words, stdin=None, code=0):
    result = CliRunner().invoke(main, ["--json", *words], input=stdin)
    assert result.exit_code == code, (result.output, result.stderr, result.exception)
    return json.loads(result.stdout)


@pytest.fixture
def written(monkeypatch):
    """Return the keys that are stored into maps of strings, in order."""
    keys = []
    restore = Entries.restore

    async def noted(self, entries):
        entries = list(entries)
        keys.extend(entry.key for entry in entries if isinstance(entry.key, str))
        await restore(self, entries)

    monkeypatch.setattr(Entries, "restore", noted)
    return keys


def distances(keys, wanted):
    """Return how many places of the sorted keys lie between each one and the next."""
    place = {key: number for number, key in enumerate(sorted(wanted))}
    return [abs(place[two] - place[one]) for one, two in pairwise(keys)]


WANTED = {f"user-{number:06}": number for number in range(4000)}


def of_map(written):
    """Return the keys of the map: others are how far the copy got."""
    return [key for key in written if key in WANTED]


def test_a_copy_into_dynamodb_takes_turns_between_distant_keys(table, here, written):
    """Neighbours in time are an eighth of the map apart; each entry is copied once."""
    LPCM("m", url=here).set_many(WANTED)
    told = invoke("copy", here, table.url)
    assert (told["copied"], told["repaired"], told["failed"]) == (4000, 0, 0)
    found = of_map(written)
    assert sorted(found) == sorted(WANTED)
    apart = distances(found, WANTED)
    assert sorted(apart)[len(apart) // 10] >= 400
    assert LPCM("m", url=table.url).copy() == WANTED


def test_a_copy_into_a_file_is_in_key_order(here, tmp_path, written):
    """A file is written fastest so."""
    LPCM("m", url=here).set_many(WANTED)
    invoke("copy", here, f"sqlite:///{tmp_path}/there.sqlite3")
    assert of_map(written) == sorted(WANTED)


def test_a_broken_off_copy_goes_on_in_every_part(table, here, written, monkeypatch):
    """How far each part got is noted with each page: nothing is copied twice, nothing left out."""
    LPCM("m", url=here).set_many(WANTED)
    restore = Entries.restore
    pages = []

    async def breaking(self, entries):
        pages.append(entries)
        if len(pages) == 6:  # a page and a note of it, twice; then in the midst of the third
            raise KeyboardInterrupt
        await restore(self, entries)

    with monkeypatch.context() as patch:
        patch.setattr(Entries, "restore", breaking)
        done = CliRunner().invoke(main, ["copy", here, table.url])
    assert done.exit_code == 130
    assert "goes on from here" in done.stderr
    before = len(of_map(written))
    assert 1000 <= before < 4000
    told = invoke("copy", here, table.url, "--no-verify")
    assert told["copied"] + told["resumed"] == 4000
    assert told["copied"] < 4000
    assert LPCM("m", url=table.url).copy() == WANTED


def test_what_comes_to_the_source_meanwhile_is_copied_or_compared(table, here):
    """Keys before the first and behind the last part's bound are in a part, too."""
    source = LPCM("m", url=here)
    source.set_many(WANTED)
    work = Copy(here, table.url)
    parts = work._cut(Records("m", url=here))
    assert (parts[0].after, parts[-1].last, len(parts)) == (None, None, PARTS)
    assert [part.last for part in parts[:-1]] == [part.after for part in parts[1:]]
    source["a"], source["z"] = 1, 2
    work.copy("m", lambda _: None)
    assert LPCM("m", url=table.url).copy() == {**WANTED, "a": 1, "z": 2}
    work.forget()


def test_bounds_cut_a_map_evenly(here):
    """Whatever its keys are like; a map of fewer entries than parts has fewer parts."""
    m = LPCM("m", url=here)
    m.set_many({("eu" if number % 7 else "us", number): 1 for number in range(5000)})
    keys = [encode_key(key) for key in m]
    found = [keys.index(each) for each in bounds(Records("m", url=here))]
    assert len(found) == PARTS - 1
    sizes = [two - one for one, two in zip([-1, *found], [*found, 4999], strict=True)]
    assert max(sizes) <= 1.1 * 5000 / PARTS
    for count in range(4):
        few = LPCM(f"few{count}", url=here)
        few.set_many(dict.fromkeys(range(count), 1))
        cut = bounds(Records(f"few{count}", url=here))
        assert len(cut) <= count
        assert cut == sorted(set(cut))


def test_a_map_of_few_entries_is_copied_once(table, here):
    """Parts do not overlap, and leave nothing out, however small they are."""
    for count in range(1, 12):
        LPCM(f"m{count}", url=here).set_many({number: number for number in range(count)})
    told = invoke("copy", here, table.url)
    assert (told["copied"], told["failed"], told["extra"]) == (sum(range(1, 12)), 0, 0)
    for count in range(1, 12):
        assert LPCM(f"m{count}", url=table.url).copy() == {n: n for n in range(count)}


def test_maps_are_copied_at_once(table, here):
    """Four maps, each limited to 100 units a second, take as long as one of them."""
    for name in "abcd":
        LPCM(name, url=here).set_many({number: number for number in range(300)})
    with limited(table, writes=100, saved=1) as proxy:
        url = table.url.replace(table.endpoint, proxy.endpoint)
        began = time.monotonic()
        told = invoke("copy", here, url, "--no-verify")
        took = time.monotonic() - began
    assert (told["copied"], told["failed"]) == (1200, 0)
    assert took < 7  # one after the other: 12 s
    assert len(LPCM("d", url=table.url)) == 300


def test_the_first_error_ends_the_copy_of_all_maps(table, here, monkeypatch):
    """The others end after the page in hand; what they copied is noted."""
    since = Opened()
    for name in "abcd":
        LPCM(name, url=here).set_many({number: number for number in range(1500)})
    copy = Copy.copy

    def failing(self, name, *arguments, **options):
        if name == "b":
            raise lpcm.StoreUnavailable("no route")
        return copy(self, name, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Copy, "copy", failing)
        done = CliRunner().invoke(main, ["copy", here, table.url])
    assert done.exit_code == 4
    assert "no route" in done.stderr
    assert len(since.threads()) < 20
    told = invoke("copy", here, table.url)
    assert told["copied"] + told["resumed"] == 6000
    for name in "abcd":
        assert len(LPCM(name, url=table.url)) == 1500


def test_the_rate_is_of_all_maps(table, here):
    """``--rate`` holds for the maps that are copied at once together."""
    for name in "abcd":
        LPCM(name, url=here).set_many({number: number for number in range(250)})
    began = time.monotonic()
    invoke("copy", here, table.url, "--no-verify", "--rate", "500")
    assert time.monotonic() - began >= 1.9


def lines(keys):
    return "".join(
        json.dumps({"map": "m", "key": key, "value": WANTED[key]}) + "\n" for key in keys
    )


def test_an_import_into_dynamodb_takes_turns(table, written):
    """Within a window, entries are written in an order of distant keys."""
    told = invoke("--url", table.url, "import", stdin=lines(sorted(WANTED)))
    assert told["stored"] == 4000
    assert sorted(written) == sorted(WANTED)
    apart = distances(written, WANTED)
    assert sorted(apart)[len(apart) // 10] >= 400
    assert LPCM("m", url=table.url).copy() == WANTED


def test_the_last_line_of_a_key_counts(table):
    """Also where its lines are distant: they are one entry of the window."""
    twice = lines(sorted(WANTED)) + '{"map":"m","key":"user-000001","value":"last"}\n'
    twice = '{"map":"m","key":"user-003999","value":"first"}\n' + twice
    invoke("--url", table.url, "import", stdin=twice)
    m = LPCM("m", url=table.url)
    assert (m["user-000001"], m["user-003999"]) == ("last", 3999)


def test_lines_before_the_bad_one_are_stored(table):
    """One that cannot be used, or not stored, ends the import behind those before it."""
    keys = sorted(WANTED)
    broken = lines(keys[:1500]) + "{nothing\n" + lines(keys[1500:])
    done = CliRunner().invoke(main, ["--url", table.url, "import"], input=broken)
    assert done.exit_code == 3
    assert "line 1501" in done.stderr
    assert len(LPCM("m", url=table.url)) == 1500
    LPCM("m", url=table.url).clear()
    large = json.dumps({"map": "m", "key": "large", "value": "x" * 500_000}) + "\n"
    limited = ["--url", f"{table.url}&max_value=409600", "import"]
    done = CliRunner().invoke(main, limited, input=lines(keys[:70]) + large + lines(keys[70:90]))
    assert done.exit_code != 0
    assert "line 71" in done.stderr
    assert LPCM("m", url=table.url).get_many(keys[:70]).keys() == {*keys[:70]}


def test_a_window_is_bounded_by_its_text(table, monkeypatch):
    """Large values make small windows, of a thousand lines at least."""
    from lpcm.cli import transfer

    sizes = []
    store = transfer._store

    def noted(records, lines, bad, **options):
        sizes.append(len(lines))
        return store(records, lines, bad, **options)

    monkeypatch.setattr(transfer, "_store", noted)
    monkeypatch.setattr(transfer, "_MOST", 100_000)
    invoke("--url", table.url, "import", stdin=lines(sorted(WANTED)))
    assert len(sizes) == 2
    assert all(1000 <= size <= 2500 for size in sizes)


def test_spread():
    """Nothing is lost, whatever the number of items."""
    for count in range(60):
        assert sorted(spread(range(count))) == list(range(count))

"""What compression saves on DynamoDB and costs: write units, and processor time to read and write.

Run ``python benchmarks/compression.py``. Four values that applications have: a support chat, whose
sentences come back, one of prose (this project's own documentation), rows of a report, and rows
of random numbers. Units are those of the items that lpcm sends, by DynamoDB's rules; times are of
this process alone, medians of interleaved rounds, ``none`` twice for what the machine adds.
DynamoDB is dynoxide, on this machine.
"""

from __future__ import annotations

import json
import os
import random
import re
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.append(str(Path(__file__).parents[1]))


from benchmarks.messages import create_table
from checks import servers
from lpcm import LPCM, Engine
from lpcm.stores.dynamodb import items
from lpcm.verify import proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).parents[1]
ROUNDS = 15
EACH = 10
WAYS = ("none", "zlib", "zstd", "none again")
SENTENCES = """Hello, and thank you for writing to us about your order.
I am sorry that the parcel has not reached you yet.
Let me look up where it is just now, which takes a moment.
The carrier says that it left the depot in {city} on {day}.
It should be with you by {day} at the latest.
Could you tell me the number of the order, please?
The number of my order is {number}, and I paid by card.
I have waited since {day} and nobody rang at my door.
Your refund of {number} cents has been sent to your bank today.
Please allow three to five working days until you see it.
Is there anything else that I can do for you today?
No, that is all, thank you very much for your help!
The invoice still shows my old address in {city}.
I have changed the address of your account to {city} now.
Would you prefer a replacement, or your money back?
A replacement, please, and if possible in the larger size.
We have {number} of them in our shop in {city}, so that is no problem.
You will get an email with the new tracking number shortly.
The discount code from your newsletter does not work for me.
The code is valid until {day}, for orders of fifty euros and more.
I have added it by hand, so that the total is now correct.
Great, I can see it on my side as well.
Please do not hesitate to contact us again if it fails to arrive.
May I ask how you heard about our shop in the first place?"""
CITIES = ("Lisbon", "Ghent", "Aarhus", "Tartu", "Graz", "Cork", "Turin", "Malmo")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")


def messages(texts: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"role": ("user", "assistant")[turn % 2], "content": text, "time": 1764165000.25 + 7 * turn}
        for turn, text in enumerate(texts)
    ]


def support(rng: random.Random) -> list[dict[str, Any]]:
    """40 messages of six of two dozen sentences each."""
    texts = [
        " ".join(
            sentence.format(
                city=rng.choice(CITIES), day=rng.choice(DAYS), number=rng.randrange(10_000, 99_999)
            )
            for sentence in rng.sample(SENTENCES.split("\n"), 6)
        )
        for _ in range(40)
    ]
    return messages(texts)


def prose(rng: random.Random) -> list[dict[str, Any]]:
    """40 messages of 360 characters of a text that repeats nothing."""
    text = (ROOT / "docs" / "explanation" / "coherence.md").read_text(encoding="utf-8")
    text = re.sub(r"\s+", " ", text)
    begin = rng.randrange(len(text) - 40 * 360)
    return messages([text[begin + 360 * turn :][:360] for turn in range(40)])


def report(rng: random.Random) -> list[dict[str, Any]]:
    """300 lines of orders, as a table of a shop has them."""
    products = [(f"SKU-{rng.randrange(10_000):04}", rng.randrange(100, 5000)) for _ in range(40)]
    rows: list[dict[str, Any]] = []
    for number in range(300):
        product, price = rng.choice(products)
        rows.append(
            {
                "order": 48_000 + number,
                "day": f"2026-11-{1 + number // 12:02}",
                "product": product,
                "price": price,
                "quantity": rng.choice((1, 1, 1, 2, 3)),
                "status": rng.choice(("paid", "sent", "sent", "returned")),
            }
        )
    return rows


def noise(rng: random.Random) -> list[dict[str, Any]]:
    """300 rows of numbers that nothing relates."""
    return [
        {"id": rng.getrandbits(48), "score": rng.random(), "code": f"{rng.getrandbits(64):x}"}
        for _ in range(300)
    ]


VALUES: dict[str, tuple[Callable[[random.Random], Any], int | None]] = {
    "40 messages of a support chat": (support, 4),
    "40 messages of prose": (prose, None),
    "300 rows of a report": (report, 4),
    "300 rows of noise": (noise, None),
}
"""What makes a value, and the write units that it shall take at most with zlib."""


class Counting(proxy.HTTPProxy):
    """A proxy that adds up the write units of what is put."""

    units = 0

    async def exchange(self, fault: str, head: bytes, body: bytes, ends: proxy.Ends) -> bool:
        if b"DynamoDB_20120810.PutItem" in head:
            self.units += -(-items.size(json.loads(body)["Item"]) // 1024)
        return await super().exchange(fault, head, body, ends)


def units(endpoint: str, way: str, value: object) -> int:
    host, port = endpoint.removeprefix("http://").split(":")
    with proxy.running(Counting((host, int(port)), proxy.Faults(), seed=None)) as counting:
        url = f"dynamodb://lpcm?endpoint=http://127.0.0.1:{counting.port}"
        with Engine.open(url, compress=way) as engine:
            m = LPCM("sizes", using=engine)
            m["first"] = 0
            counting.units = 0
            m["k"] = value
    return counting.units


def times(maps: dict[str, Any], work: Callable[[Any], object]) -> dict[str, float]:
    """Return the processor time of one operation for each map, in microseconds."""
    taken: dict[str, list[float]] = {way: [] for way in maps}
    for turn in range(ROUNDS):
        ways = list(maps)
        for way in ways[turn % len(ways) :] + ways[: turn % len(ways)]:
            begun = time.process_time()
            for _ in range(EACH):
                work(maps[way])
            taken[way].append((time.process_time() - begun) / EACH * 1e6)
    return {way: statistics.median(found) for way, found in taken.items()}


def main() -> int:
    os.environ |= servers.AWS
    missed: list[str] = []
    print("| value | compress | write units | read, CPU | write, CPU |\n|---|---|--:|--:|--:|")
    with servers.dynoxide() as dynoxide, ExitStack() as stack:
        create_table(dynoxide.endpoint, "lpcm", "pk", "sk")
        url = f"dynamodb://lpcm?endpoint={dynoxide.endpoint}"
        maps: dict[str, Any] = {}
        for way in WAYS:
            engine = stack.enter_context(Engine.open(url, compress=way.split()[0]))
            maps[way] = LPCM(way, using=engine, live=False)
        for name, (make, most) in VALUES.items():
            value = make(random.Random(7))
            for m in maps.values():
                m["k"] = value
                assert m["k"] == value

            def put(m: Any, value: Any = value) -> None:
                m["k"] = value

            reads, writes = times(maps, lambda m: m["k"]), times(maps, put)
            for way in WAYS:
                sent = units(dynoxide.endpoint, way.split()[0], value)
                read, write = reads[way] / reads["none"], writes[way] / writes["none"]
                print(f"| {name} | {way} | {sent} | {read:.2f} | {write:.2f} |", flush=True)
                if way == "zlib" and most is not None and (sent > most or read > 1.5):
                    missed.append(f"{name}: {sent} units of {most}, read {read:.2f} of 1.5")
    print("\n" + ("\n".join(["Missed:", *missed]) if missed else "No target was missed."))
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())

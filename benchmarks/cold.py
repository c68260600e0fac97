"""A fresh process to its first read over TLS, in turns with boto3: time and memory.

``python benchmarks/cold.py``. Keys and region are in the environment, as on Lambda, and no file of
AWS's configuration is there. Each process imports its library, reads one entry from a server that
answers at once, prints the most memory it had, and ends. The first round, which compiles both, is
not counted.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trustme

ROUNDS = 21
MEMORY = "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
"""Prints the most KiB that the process had; ``ru_maxrss`` begins with those of its parent."""
PROGRAMS = {
    "boto3": """
import boto3, sys
client = boto3.client("dynamodb", endpoint_url=sys.argv[1])
key = {"pk": {"S": "user/1"}, "sk": {"S": "k"}}
client.get_item(TableName="table", Key=key, ConsistentRead=True)
""",
    "lpcm": """
import sys
from lpcm import LPCM
LPCM("user/1", url=f"dynamodb://table?endpoint={sys.argv[1]}").get("k")
""",
    "lpcm again": "",
}
PROGRAMS["lpcm again"] = PROGRAMS["lpcm"]
"""The same twice: what the machine does to a ratio."""


def main() -> None:
    """Print the medians, and each ratio to boto3's time of the same round."""
    times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    memory: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(place / "ca.pem")
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
            place / "server.pem"
        )
        (place / "replies").write_text(
            json.dumps(dict.fromkeys(("GetItem", "catalogue", "BatchGetItem"), "{}"))
        )
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_CA_BUNDLE": str(place / "ca.pem"),
            "HOME": folder,
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        server = Path(__file__).with_name("canned_dynamodb.py")
        with subprocess.Popen(
            [sys.executable, server, place / "replies", place / "server.pem"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            endpoint = f"https://127.0.0.1:{int(process.stdout.readline())}"
            for turn in range(ROUNDS + 1):
                for name, program in PROGRAMS.items():
                    begun = time.perf_counter()
                    done = subprocess.run(
                        [sys.executable, "-c", program + MEMORY, endpoint],
                        capture_output=True,
                        check=True,
                        env=environment,
                        text=True,
                    )
                    if turn:  # the first round compiles
                        times[name].append(time.perf_counter() - begun)
                    memory[name] = float(done.stdout) / 1024
            process.communicate()
    for name, taken in times.items():
        ratios = sorted(one / other for one, other in zip(taken, times["boto3"], strict=True))
        low, middle, high = (
            statistics.quantiles(ratios, n=4) if name != "boto3" else (1.0, 1.0, 1.0)
        )
        print(
            f"{name:10} {statistics.median(taken) * 1000:4.0f} ms, {memory[name]:3.0f} MB, "
            f"{middle:.2f} of boto3's time ({low:.2f} to {high:.2f})"
        )


if __name__ == "__main__":
    main()

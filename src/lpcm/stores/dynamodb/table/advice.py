"""Advice: a table, compared with what is recommended, for ``lpcm table check`` and ``lpcm doctor``.

Knows descriptions, asks nobody. What is *wrong* breaks a promise of maps; what is a *note* could be
better. https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/best-practices.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lpcm.ports.findings import Finding
from lpcm.stores.dynamodb.table.design import TTL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lpcm.stores.dynamodb.table.table import Table

__all__ = ["advice", "is_usable"]


def is_usable(table: Table) -> bool:
    """Tell whether maps can use a table."""
    return table.ours and table.status in {"ACTIVE", "UPDATING"}


def advice(table: Table) -> Iterator[Finding]:
    """Yield what is found of a table, each with what to do about it."""
    yield _form(table)
    yield _ttl(table)
    if table.replicas:
        yield _replicas(table)
    fix = "`lpcm table create --recovery` turns it on" if table.recovery == "off" else ""
    yield Finding("recovery", f"point-in-time recovery is {table.recovery}", fix)
    yield _protection(table)
    yield Finding("encryption", f"by {table.encryption}")
    if table.table_class != "STANDARD":
        fix = "where most of its cost is requests, the standard class is cheaper"
        yield Finding("class", table.table_class, fix)
    if table.most:
        fix = "what goes beyond is throttled: leave it, if that is meant"
        yield Finding("limit", f"at most {table.most} are served", fix)


def _form(table: Table) -> Finding:
    found = f"{table.name}: {table.status}, keys {', '.join(table.keys)}, {table.billing}"
    fix = ""
    if not table.ours:
        fix = "choose another name, and `lpcm table create`: it has not lpcm's keys"
    elif not is_usable(table):
        fix = "wait until it is ACTIVE"
    return Finding("table", found, fix, wrong=not is_usable(table))


def _ttl(table: Table) -> Finding:
    if table.ttl == TTL:
        return Finding("ttl", f"on, by {TTL}")
    if table.ttl != "off":
        fix = f"turn it off there; `lpcm table create` then turns {TTL} on"
        return Finding("ttl", f"by the attribute {table.ttl}, not {TTL}", fix, wrong=True)
    found = "off: what has expired stays, and is paid for"
    if table.consistency == "STRONG":
        fix = "no table of this consistency has it: delete by `lpcm purge`"
        return Finding("ttl", found, fix)
    return Finding("ttl", found, "`lpcm table create` turns it on", wrong=True)


def _replicas(table: Table) -> Finding:
    regions = f"a global table, in {', '.join(table.replicas)} too"
    if table.consistency == "STRONG":
        found = f"{regions}, strongly consistent: transactions are refused there"
        return Finding("replicas", found, "where maps need transactions, use a table of one region")
    found = (
        f"{regions}, eventually consistent: of two regions that write one key, the write of one is "
        "lost, counts and etags included"
    )
    fix = "write in one region alone, or give each region keys and maps of its own"
    return Finding("replicas", found, fix, wrong=True)


def _protection(table: Table) -> Finding:
    if table.protected:
        return Finding("protection", "deleting it is refused")
    fix = f"aws dynamodb update-table --table-name {table.name} --deletion-protection-enabled"
    return Finding("protection", "one request deletes it, with all entries", f"`{fix}`")

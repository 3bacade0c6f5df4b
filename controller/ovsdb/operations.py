"""Operations on a database (RFC 7047 section 5.2), as the JSON they are sent as. PURE."""

from __future__ import annotations

from collections.abc import Iterable

from controller.ovsdb.found import MARK, Pairs

Operation = dict[str, object]
Reference = tuple[str, str]
"""("uuid", of a row that is there) or ("named-uuid", of one that the same transaction inserts)."""


def row_of(uuid: str) -> Reference:
    return ("uuid", uuid)


def insert(table: str, name: str, columns: dict[str, object]) -> Operation:
    """name: by which other operations refer to the row; `new_row(name)`."""
    return {"op": "insert", "table": table, "uuid-name": name, "row": columns}


def new_row(name: str) -> Reference:
    return ("named-uuid", name)


def update(table: str, row: Reference, columns: dict[str, object]) -> Operation:
    return {"op": "update", "table": table, "where": _where(row), "row": columns}


def add_to(table: str, row: Reference, column: str, values: Iterable[object]) -> Operation:
    """Add members to a set."""
    return _mutate(table, row, [column, "insert", a_set(values)])


def take_from(table: str, row: Reference, column: str, values: Iterable[object]) -> Operation:
    """Take members from a set, or keys from a map."""
    return _mutate(table, row, [column, "delete", a_set(values)])


def put_keys(table: str, row: Reference, column: str, pairs: Iterable[tuple[object, object]]) -> Operation:
    """Set keys of a map, whatever they were; others stay."""
    pairs = list(pairs)
    keys = a_set(key for key, _ in pairs)
    return _mutate(table, row, [column, "delete", keys], [column, "insert", ["map", [list(pair) for pair in pairs]]])


def count_up(table: str, row: Reference, column: str) -> Operation:
    return _mutate(table, row, [column, "+=", 1])


def require(table: str, row: Reference, columns: dict[str, object]) -> Operation:
    """Nothing of the transaction is done unless the columns are still this."""
    return {
        "op": "wait", "table": table, "timeout": 0, "where": _where(row), "columns": sorted(columns),
        "until": "==", "rows": [columns],
    }  # fmt: skip


def a_set(values: Iterable[object]) -> object:
    return ["set", list(values)]


def a_map(pairs: Pairs) -> object:
    return ["map", [list(pair) for pair in pairs]]


def optional(value: object) -> object:
    """A column of at most one value."""
    return a_set(()) if value is None else value


MARKED = a_map(((MARK, MARK),))


def _where(row: Reference) -> object:
    return [["_uuid", "==", list(row)]]


def _mutate(table: str, row: Reference, *mutations: object) -> Operation:
    return {"op": "mutate", "table": table, "where": _where(row), "mutations": list(mutations)}

"""Every row of the checklist and every weakness has a test that is there, or a decision that says why not."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

HERE = Path(__file__).parent
CHECKLIST: dict[str, dict[int, dict[str, Any]]] = YAML(typ="safe", pure=True).load(HERE / "checklist.yaml")
ENTRIES = [
    pytest.param(entry, id=f"{part} {number}")
    for part, entries in CHECKLIST.items()
    for number, entry in entries.items()
]


@cache
def functions_in(path: str) -> frozenset[str]:
    """The test functions at the top of a file."""
    tree = ast.parse((HERE.parent / path).read_text(encoding="utf-8"))
    names = (node.name for node in tree.body if isinstance(node, ast.FunctionDef))
    return frozenset(name for name in names if name.startswith("test_"))


def test_all_rows_and_weaknesses_are_there():
    assert {part: list(entries) for part, entries in CHECKLIST.items()} == {
        "rows": list(range(1, 41)),
        "weaknesses": list(range(1, 25)),
    }


@pytest.mark.parametrize("entry", ENTRIES)
def test_each_names_a_test_or_a_refusal_and_says_what_and_why(entry):
    assert set(entry) <= {"what", "tests", "refused", "why"}
    assert entry["what"]
    assert entry.get("tests") or entry.get("refused")
    assert bool(entry.get("refused")) == bool(entry.get("why"))


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_it_names_is_there(entry, root):
    named = entry.get("tests", [])
    assert len(named) == len(set(named))
    for test in named:
        path, _, name = test.partition("::")
        assert (HERE.parent / path).is_file(), f"{path} is not there"
        assert name in functions_in(path), f"{path} has no {name}"
    if "refused" in entry:
        assert Path(entry["refused"]).parent == Path("docs/adr")
        assert (root / entry["refused"]).is_file(), f"{entry['refused']} is not there"


def test_no_weakness_is_only_refused():
    assert [number for number, entry in CHECKLIST["weaknesses"].items() if not entry.get("tests")] == []

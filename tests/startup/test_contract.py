"""The metadata contract and those who keep it: the list on a VM, the reference page, and the scripts that read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fleet.metadata import RunnerMetadata, attribute_name
from startup import contract

FIELDS = sorted(RunnerMetadata.model_fields)
LOOP = re.compile(r"for name in ([a-z -]+); do\n[^\n]*\b(?:attribute|known) \"?runner-\$name", re.MULTILINE)


def scripts(root: Path) -> dict[str, str]:
    """The scripts below startup/ by their path; common.sh only defines how they read."""
    startup = root / "startup"
    paths = [
        path for part in ("bin", "hooks", "image", "lib") for path in (startup / part).rglob("*") if path.is_file()
    ]
    texts = {path.relative_to(startup).as_posix(): path for path in paths if path.suffix in ("", ".sh")}
    return {name: path.read_text() for name, path in texts.items() if name != "lib/common.sh"}


def reads(text: str) -> set[str]:
    """The attributes a script asks for by name, or by a loop over names."""
    code = re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
    named = set(re.findall(r"\b(?:attribute|known) \"?(runner-[a-z0-9-]+)", code))
    return named | {f"runner-{name}" for names in LOOP.findall(code) for name in names.split()}


def test_the_list_on_a_vm_is_the_contracts() -> None:
    assert contract.NAMES.read_text() == contract.names(), "run python -m startup.contract"


def test_the_reference_page_is_the_contracts() -> None:
    assert contract.PAGE.read_text() == contract.page(), "run python -m startup.contract"


@pytest.mark.parametrize("field", FIELDS)
def test_an_attributes_readers_are_the_scripts_that_read_it(field: str, root: Path) -> None:
    readers = sorted(name for name, text in scripts(root).items() if attribute_name(field) in reads(text))
    assert sorted(contract.readers(field)) == (readers or ["people"])


def test_no_script_reads_what_is_not_in_the_contract(root: Path) -> None:
    known = {attribute_name(field) for field in FIELDS}
    strangers = {name: sorted(reads(text) - known) for name, text in scripts(root).items()}
    assert {name: found for name, found in strangers.items() if found} == {}


def test_no_script_asks_for_attributes_past_the_one_function(root: Path) -> None:
    assert [name for name, text in scripts(root).items() if "instance/attributes" in text] == []


def test_the_check_finds_both_ways_to_read() -> None:
    assert reads('x="$(attribute runner-pool)"\n# attribute runner-group\nknown runner-trust 1') == {
        "runner-pool",
        "runner-trust",
    }
    assert reads('for name in pool max-run-seconds; do\n  value="$(known "runner-$name" 1)"\n') == {
        "runner-pool",
        "runner-max-run-seconds",
    }

"""All interleavings of askers, leavers, lost writes and faults, and that no guard is there in vain."""

from __future__ import annotations

import pytest

from tests.functions.deleter import deleter_model
from tests.functions.deleter.deleter_model import BROKEN, SOUND, Rules, search


@pytest.mark.parametrize("scene", SOUND)
def test_no_interleaving_gives_more_permits_than_surplus_or_blocks_anybody_for_ever(scene):
    verdict = search(Rules(), SOUND[scene])
    assert verdict.violations == {}
    assert verdict.states > 5000, "the model does not explore"


@pytest.mark.parametrize("missing", BROKEN)
def test_without_a_guard_the_search_finds_what_it_is_for(missing):
    rules, scene, violated = BROKEN[missing]
    assert violated in search(rules, scene).violations


def test_the_table_of_the_search_can_be_printed(capsys, monkeypatch):
    monkeypatch.setattr(deleter_model, "SOUND", {"faults": SOUND["faults"]})
    monkeypatch.setattr(deleter_model, "BROKEN", {})
    deleter_model.main()
    assert "holds" in capsys.readouterr().out

"""An edit of YAML changes what is named, and not one other byte."""

from __future__ import annotations

import copy
import io
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from rollout.config.yaml_text import HandError, entry, has, insert_after, remove, rename, set_value, written

ROLLOUT = ("config", "runner-fleet:rollout")


def meaning(text):
    return YAML(typ="safe", pure=True).load(io.StringIO(text))


def common(one, other):
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def changed_parts(before, after):
    """What stood between the common beginning and the common end, and what stands there now."""
    start = common(before, after)
    end = common(before[start:][::-1], after[start:][::-1])
    return before[start : len(before) - end], after[start : len(after) - end]


# Any YAML that people write ------------------------------------------------------------------------------------------

KEYS = st.sampled_from(["stable", "canary", "a", "b-1", "2026-11-30", "runner-fleet:x", "ü"])
SCALARS = st.sampled_from([None, True, 7, "2026-11-22", "plain", "two words", "it's", "", "ends: so", "# no comment"])
TREES = st.recursive(
    SCALARS,
    lambda inner: st.dictionaries(KEYS, inner, min_size=1, max_size=4) | st.lists(SCALARS, max_size=3),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(KEYS, TREES, min_size=1, max_size=4)


class Writer:
    """Writes data as YAML in a way that is drawn: blocks or braces, quotes, blank lines, numbered comments."""

    def __init__(self, draw):
        self.draw = draw
        self.comments = 0

    def comment(self):
        if not self.draw(st.integers(0, 3)):
            self.comments += 1
            return f"# comment {self.comments}, not: {{ data }}"
        return ""

    def scalar(self, value):
        text = written(value)
        if isinstance(value, str) and self.draw(st.booleans()):
            quoted = value.replace("'", "''")
            return f"'{quoted}'"
        return text

    def flow(self, value):
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{self.scalar(k)}: {self.flow(v)}" for k, v in value.items()) + " }"
        if isinstance(value, list):
            return "[" + ", ".join(self.scalar(item) for item in value) + "]"
        return self.scalar(value)

    def block(self, tree, margin):
        lines = []
        for key, value in tree.items():
            lines += [""] * self.draw(st.integers(0, 1))
            if above := self.comment():
                lines.append(" " * margin + above)
            head = " " * margin + self.scalar(key) + ":"
            beside = self.comment()
            tail = f" {beside}" if beside else ""
            if isinstance(value, dict) and self.draw(st.booleans()):
                lines.append(head + tail)
                lines += self.block(value, margin + self.draw(st.sampled_from([2, 4])))
            elif value is None and self.draw(st.booleans()):
                lines.append(head + tail)
            else:
                lines.append(f"{head} {self.flow(value)}{tail}")
        return lines


@st.composite
def texts(draw):
    """A document, and one of the many ways to write it."""
    data = draw(DOCUMENTS)
    line_break = draw(st.sampled_from(["\n", "\r\n"]))
    text = line_break.join(Writer(draw).block(data, 0))
    return data, text + (line_break if draw(st.booleans()) else "")


def paths(tree, above=()):
    """Every key of a document."""
    for key, value in tree.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from paths(value, (*above, key))


def parent(tree, path):
    for key in path[:-1]:
        tree = tree[key]
    return tree


@settings(max_examples=150)
@given(texts(), st.data())
def test_a_value_changes_alone_whatever_the_file_looks_like(document, data):
    before, text = document
    assert meaning(text) == before
    leaves = [path for path in paths(before) if not isinstance(parent(before, path)[path[-1]], dict)]
    path = data.draw(st.sampled_from(leaves))
    value = data.draw(SCALARS)
    after = set_value(text, path, value)
    expected = copy.deepcopy(before)
    parent(expected, path)[path[-1]] = value
    assert meaning(after) == expected
    gone, _ = changed_parts(text, after)
    assert "\n" not in gone
    assert "# comment" not in gone


@settings(max_examples=150)
@given(texts(), st.data())
def test_a_key_is_added_at_the_end_of_its_mapping_and_nothing_goes(document, data):
    before, text = document
    mappings = [()] + [path for path in paths(before) if isinstance(parent(before, path)[path[-1]], dict)]
    path = (*data.draw(st.sampled_from(mappings)), "new")
    expected = copy.deepcopy(before)
    parent(expected, path)["new"] = ["p", "q"]
    after = set_value(text, path, ["p", "q"])
    assert meaning(after) == expected
    assert not changed_parts(text, after)[0]
    assert text.endswith("\n") == after.endswith("\n")


@settings(max_examples=150)
@given(texts(), st.data())
def test_a_key_goes_with_what_is_inside_it_and_every_other_comment_stays(document, data):
    before, text = document
    removable = [path for path in paths(before) if len(parent(before, path)) > 1]
    if not removable:
        only = next(iter(before))
        with pytest.raises(HandError):
            remove(text, (only,))
        return
    path = data.draw(st.sampled_from(removable))
    after = remove(text, path)
    expected = copy.deepcopy(before)
    del parent(expected, path)[path[-1]]
    assert meaning(after) == expected
    gone, come = changed_parts(text, after)
    assert not come
    value = parent(before, path)[path[-1]]
    if not isinstance(value, dict):
        assert gone.count("\n") <= 1, "one line at most"


# What this project writes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ('r: { s: "1", c: null } # why', 'r: { s: "1", c: "2" } # why'),
        ("r:\n  s: '1'\n  c: 'x' # y\n", "r:\n  s: '1'\n  c: '2' # y\n"),
        ("r:\n  c:\n  s: 1\n", 'r:\n  c: "2"\n  s: 1\n'),
        ("r:\n  c: # none yet\n  s: 1\n", 'r:\n  c: "2" # none yet\n  s: 1\n'),
        ('{"r": {"c":null}}', '{"r": {"c":"2"}}'),
    ],
)
def test_a_value_keeps_its_surroundings(text, after):
    assert set_value(text, ("r", "c"), "2") == after


@pytest.mark.parametrize(
    "text",
    ["r:\n  c: |\n    long\n", "r:\n  c: [1,\n    2]\n", "r:\n  c:\n    d: 1\n", "r: 1\n", "[r]\n", "", "r: {c\n"],
)
def test_what_is_written_over_several_lines_or_not_at_all_is_left_to_people(text):
    with pytest.raises(HandError):
        set_value(text, ("r", "c"), "2")


def test_a_comment_between_two_keys_in_braces_is_not_lost():
    text = "r: { s: 1, # the stable one\n  c: 2 }\n"
    with pytest.raises(HandError):
        remove(text, ("r", "c"))
    with pytest.raises(HandError):
        remove("r: { s: 1, # the stable one\n  c: 2 }\n", ("r", "s"))


def test_an_entry_is_copied_with_its_comments_and_inserted_below():
    text = 'v:\n  "1":\n    a: x # one\n    # two\n\n  # of the next\n  "0": { a: y }\n'
    lines = rename(entry(text, ("v", "1")), ("1",), "2")
    assert lines == '  "2":\n    a: x # one\n    # two\n'
    assert insert_after(text, ("v", "1"), lines).startswith('v:\n  "1":\n    a: x # one\n    # two\n' + lines)


def test_an_entry_in_braces_over_several_lines_is_taken_whole():
    text = "v:\n  a: {\n    x: 1\n  } # end\n  b: 2\n"
    assert entry(text, ("v", "a")) == "  a: {\n    x: 1\n  } # end\n"
    assert remove(text, ("v", "a")) == "v:\n  b: 2\n"


def test_an_entry_inside_braces_has_no_lines_of_its_own():
    with pytest.raises(HandError):
        entry("v: { a: 1 }\n", ("v", "a"))


def test_a_key_is_found_by_what_it_says_not_by_its_quotes():
    assert has('v: { "2026-11-22": 1 }', ("v", "2026-11-22"))
    assert has("v:\n  2026-11-22: 1", ("v", "2026-11-22"))
    assert not has("v: 1", ("v", "w"))


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 0.5, "x", "2.337.0", "2026-11-30", "1e5", "7" * 64, "true", "a: b", "é", ["x", "1"], {"a": "n"}],
)
def test_what_is_written_reads_the_same(value):
    assert meaning(f"k: {written(value)}\n") == {"k": value}

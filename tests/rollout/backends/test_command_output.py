"""What is kept of a command's output, however it is cut, and how much of it."""

from __future__ import annotations

import itertools
import re
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from rollout.backends.output import LINE_BYTES, TAIL_CHARACTERS, TAIL_LINES, Output

TEXT = st.text(alphabet="ab\n\r é€😀", max_size=60)


def heard(*pieces: bytes, **patterns: re.Pattern[str]) -> Output:
    output = Output(**patterns)
    for piece in pieces:
        output.feed(piece)
    output.end()
    return output


@given(text=TEXT, cuts=st.lists(st.integers(0, 200), max_size=8))
def test_it_does_not_matter_where_the_pieces_are_cut(text, cuts):
    data = text.encode()
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]
    pattern = re.compile("^a+b$")
    output = heard(*pieces, fails=pattern, passes=re.compile("é"))
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    lines = lines if text.split("\n")[-1] else lines[:-1]
    assert output.tail == tuple(lines[-TAIL_LINES:])
    assert output.failing_line == next(filter(pattern.search, lines), "")
    assert output.passing == any("é" in line for line in lines)
    assert output.last_line == next((line for line in reversed(lines) if line.strip()), "")


@given(data=st.binary(max_size=200))
def test_no_bytes_are_too_strange(data):
    output = heard(*(data[n : n + 1] for n in range(len(data))))
    assert output.tail == heard(data).tail


def test_bytes_that_are_no_text_are_shown():
    assert heard(b"\xff caf\xc3", b"\xa9 \xe2\x82").tail == ("\\xff café \\xe2\\x82",)


def test_a_line_has_a_limit_beyond_which_nobody_looks():
    head = b"x" * LINE_BYTES
    assert heard(head, b"needle", passes=re.compile("needle")).passing is False
    assert heard(head[:-6], b"needle", passes=re.compile("needle")).passing is True
    assert heard(head, b"rest\n", b"next\n").tail == (f"{'x' * TAIL_CHARACTERS}… ({LINE_BYTES} characters)", "next")


def test_memory_does_not_grow_with_the_output():
    output = Output(fails=re.compile("never"))
    piece = b"y" * 65536
    tracemalloc.start()
    try:
        for _ in range(5 * LINE_BYTES // len(piece)):
            output.feed(piece)
        output.feed(b"\n" * 1000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert LINE_BYTES < peak < 3 * LINE_BYTES
    assert output.tail == ("",) * TAIL_LINES

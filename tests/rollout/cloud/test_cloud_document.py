"""Answers that have another form than documented are found out field by field."""

from __future__ import annotations

import pytest

from rollout.cloud.document import Document, MalformedError


@pytest.mark.parametrize(
    "read",
    [
        lambda d: d.text("number"),
        lambda d: d.text("absent"),
        lambda d: d.whole("text"),
        lambda d: d.whole("flag"),
        lambda d: d.whole("absent"),
        lambda d: d.flag("text"),
        lambda d: d.flag("absent", default=None),
        lambda d: d.inner("list"),
        lambda d: d.list("text"),
        lambda d: d.list("texts"),
        lambda d: d.list("absent", required=True),
        lambda d: d.texts("list"),
        lambda d: d.time("text"),
        lambda d: d.time("absent"),
        lambda _: Document([]),
        lambda _: Document(None),
    ],
)
def test_a_field_of_another_form_is_an_error_that_does_not_show_its_value(read):
    document = Document(
        {"text": "secret", "number": 7, "flag": True, "list": [{"a": 1}], "texts": ["secret"], "object": {}}
    )
    with pytest.raises(MalformedError) as caught:
        read(document)
    assert "secret" not in str(caught.value)


def test_absent_fields_have_the_defaults_that_the_documentation_gives_them():
    document = Document({"null": None})
    assert (document.text("null", ""), document.whole("null", 0), document.flag("x")) == ("", 0, False)
    assert (document.whole_or_none("x"), document.list("x"), document.texts("x")) == (None, [], ())
    assert (document.mapping("x"), document.time_or_none("x"), document.has("null")) == ({}, None, False)


def test_numbers_times_and_links_are_read_in_googles_forms():
    document = Document(
        {
            "size": "12345678901234567890",
            "at": "2026-11-25T04:00:00.000-08:00",
            "nano": "2026-11-25T12:00:00.123456789Z",
            "zone": "https://www.googleapis.com/compute/v1/projects/p/zones/us-west1-a",
        }
    )
    assert document.whole("size") == 12345678901234567890
    assert document.time("at") == 1795608000
    assert document.time("nano") == pytest.approx(1795608000.123456, abs=1e-5)
    assert document.name("zone") == "us-west1-a"

"""A cut adds one entry, a copy of the newest; which id, which release and which images it may have."""

from __future__ import annotations

import datetime

import pytest

from fleet.schema.version import RunnerRelease
from rollout.config.version_cut import check_id, choose_release, cut, image_source, next_id, retire
from rollout.config.yaml_text import HandError
from rollout.exits import Exit, Problem

DIGEST = f"sha256:{'d' * 64}"
LAST = "2026-11-25"
BOTH = {"x64": "a" * 64, "arm64": "b" * 64}


@pytest.fixture(scope="module")
def text(root):
    return (root / "Pulumi.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def old(prod_files):
    return prod_files.sections["versions"][LAST]


def release(day="2026-08-17", **digests):
    return RunnerRelease.model_validate({"released": day, "sha256": digests})


def added(before, after):
    """The lines that are new; nothing else may have changed."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    start = next(i for i, line in enumerate(new) if i >= len(old) or old[i] != line)
    count = len(new) - len(old)
    assert new[:start] + new[start + count :] == old
    return new[start : start + count]


def test_a_cut_adds_a_copy_of_the_newest_entry_and_not_one_other_byte(text, old):
    after = cut("2027-01-05", LAST, old, {**old, "boot_bundle": DIGEST}).change(text)
    lines = added(text, after)
    assert lines[0] == '      "2027-01-05":\n'
    assert f"        boot_bundle: {DIGEST}\n" in lines
    assert any("# stock Ubuntu" in line for line in lines), "the comments of the entry come along"
    assert len(lines) == 7


def test_a_cut_can_pin_another_release_image_snapshot_and_image_key(text, old):
    images = {
        **old["images"],
        "cpu": {"source_image": "projects/p/global/images/new"},
        "gpu": {"source_snapshot": "projects/p/global/snapshots/baked"},
        "tpu": {"source_image": "projects/p/global/images/tpu"},
    }
    new = {"runner": "2.338.0", "boot_bundle": old["boot_bundle"], "images": images}
    wanted = cut("2027-01-05", LAST, old, new)
    lines = [line.strip() for line in added(text, wanted.change(text))]
    assert 'runner: "2.338.0"' in lines
    assert "cpu: { source_image: projects/p/global/images/new }" in lines
    assert "gpu: { source_snapshot: projects/p/global/snapshots/baked }" in lines
    assert "tpu: { source_image: projects/p/global/images/tpu }" in lines


def test_a_second_cut_starts_from_the_first(text, old):
    new = {**old, "boot_bundle": DIGEST}
    once = cut("2027-01-05", LAST, old, new).change(text)
    assert len(added(once, cut("2027-01-05-1", "2027-01-05", new, new).change(once))) == 7


def test_versions_written_in_one_line_are_left_to_people(old):
    with pytest.raises(HandError):
        cut("2027-01-05", LAST, old, old).change('config: { runner-fleet:versions: { value: { "2026-11-25": {} } } }')


def test_a_retired_version_goes_and_not_one_other_byte(text, old):
    twice = cut("2027-01-05", LAST, old, old).change(text)
    assert retire("2027-01-05").change(twice) == text


@pytest.mark.parametrize(
    ("day", "listed", "expected"),
    [
        ("2026-11-30", ["2026-11-25"], "2026-11-30"),
        ("2026-11-25", ["2026-11-25"], "2026-11-25-1"),
        ("2026-11-25", ["2026-11-25", "2026-11-25-9", "2026-11-25-10"], "2026-11-25-11"),
        ("2026-11-24", ["2026-11-25"], "2026-11-25-1"),
        ("2026-11-24", [], "2026-11-24"),
    ],
)
def test_the_next_id_is_todays_first_free_one_and_never_sorts_before_the_newest(day, listed, expected):
    assert next_id(listed, datetime.date.fromisoformat(day)) == expected


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("2026-11-25", ["exists", "immutable", "2026-11-25-1"]),
        ("2026-11-21", ["sorts before the newest", "2026-11-25-1"]),
        ("next", ["YYYY-MM-DD"]),
        ("2027-1-5", ["YYYY-MM-DD"]),
        ("2027-02-30", ["YYYY-MM-DD"]),
        ("2027-01-05-100", ["1 to 99"]),
    ],
)
def test_an_id_that_cannot_be_the_newest_is_refused_with_one_that_can(version, words):
    with pytest.raises(Problem) as caught:
        check_id(version, [LAST])
    assert caught.value.code == Exit.FAULT
    assert all(word in str(caught.value) for word in words)


def test_the_newest_release_with_both_digests_is_pinned_by_itself():
    table = {"2.99.0": release(**BOTH), "2.337.0": release(**BOTH), "2.336.0": release(**BOTH)}
    chosen = choose_release(None, table, {"x64", "arm64"})
    assert (chosen.release, chosen.remark) == ("2.337.0", "")


def test_a_newest_release_without_a_digest_is_passed_over_and_that_is_said():
    table = {"2.337.0": release(**BOTH), "2.338.0": release("2026-11-20", x64="a" * 64)}
    chosen = choose_release(None, table, {"x64", "arm64"})
    assert chosen.release == "2.337.0"
    assert "2.338.0: runner_releases has no digest of it for arm64" in chosen.remark
    assert "2026-12-20" in chosen.remark, "the day after which GitHub may give it no jobs"
    assert choose_release(None, table, {"x64"}).release == "2.338.0", "a fleet without ARM needs no such digest"


def test_an_older_release_is_pinned_when_asked_for_and_its_deadline_is_said():
    table = {"2.337.0": release(**BOTH), "2.336.0": release(**BOTH)}
    assert "not the newest" in choose_release("2.336.0", table, {"x64"}).remark
    assert not choose_release("2.337.0", table, {"x64"}).remark


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("9.9.9", ["not in runner_releases, which lists 2.328.0, 2.337.0", "bump-runner 9.9.9"]),
        ("2.338.0-beta", ["not in runner_releases"]),
        ("2.328.0", ["GitHub does not register it"]),
        ("2.337.0", ["no digest of it for arm64", "bump-runner 2.337.0"]),
    ],
)
def test_a_release_that_no_runner_could_be_installed_from_is_refused(asked, words):
    table = {"2.337.0": release(x64="a" * 64), "2.328.0": release(**BOTH)}
    with pytest.raises(Problem) as caught:
        choose_release(asked, table, {"x64", "arm64"})
    assert all(word in str(caught.value) for word in ["--runner", *words])


def test_a_table_without_a_usable_release_is_a_fault():
    with pytest.raises(Problem, match=r"no release of runner_releases will do: 2.328.0: GitHub does not register"):
        choose_release(None, {"2.328.0": release(**BOTH)}, {"x64"})


def test_an_image_is_named_by_key_and_source():
    image, snapshot = "projects/p/global/images/i", "projects/p/global/snapshots/s"
    assert image_source(f"cpu={image}") == ("cpu", {"source_image": image})
    assert image_source(f"cpu={snapshot}") == ("cpu", {"source_snapshot": snapshot})
    for wrong in ("cpu", f"={image}", "cpu=ubuntu", "cpu=projects/p/global/disks/d"):
        with pytest.raises(Problem, match="allowed is KEY=projects"):
            image_source(wrong)

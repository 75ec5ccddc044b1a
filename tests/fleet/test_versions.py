"""Rules about versions, with the real releases of actions/runner and the days on which they came out."""

import datetime

import pytest

from fleet.schema.version import ImageSource, Rollout, RunnerRelease, SourceImage, Version
from fleet.versions import (
    REGISTRATION_FLOOR,
    Edit,
    below_floor,
    deadline,
    deadline_state,
    edits,
    newest,
    release_key,
    role,
)

RELEASED = {
    "2.329.0": "2025-10-14",
    "2.330.0": "2025-11-19",
    "2.331.0": "2026-01-09",
    "2.332.0": "2026-02-25",
    "2.333.0": "2026-03-18",
    "2.333.1": "2026-03-27",
    "2.334.0": "2026-04-21",
    "2.335.0": "2026-06-08",
    "2.335.1": "2026-06-08",
    "2.336.0": "2026-07-20",
    "2.337.0": "2026-08-17",
}
RELEASES = {
    release: RunnerRelease(released=datetime.date.fromisoformat(day), sha256={}) for release, day in RELEASED.items()
}


def day(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)


@pytest.mark.parametrize(
    ("release", "due"),
    [
        ("2.336.0", "2026-09-16"),
        ("2.335.1", "2026-08-19"),
        ("2.334.0", "2026-07-08"),
        ("2.332.0", "2026-04-17"),
        ("2.329.0", "2025-12-19"),
    ],
)
def test_a_release_must_be_gone_thirty_days_after_the_next(release: str, due: str):
    assert deadline(release, RELEASES) == day(due)


def test_a_dot_release_counts_as_the_next():
    assert deadline("2.333.0", RELEASES) == day("2026-03-27") + datetime.timedelta(days=30)
    assert deadline("2.335.0", RELEASES) == day("2026-06-08") + datetime.timedelta(days=30)


def test_the_next_release_counts_and_not_the_newest():
    only = {release: RELEASES[release] for release in ("2.331.0", "2.332.0", "2.337.0")}
    assert deadline("2.331.0", only) == day("2026-02-25") + datetime.timedelta(days=30)


def test_the_next_release_is_the_next_by_number():
    releases = {"2.100.0": RELEASES["2.337.0"], "2.99.0": RELEASES["2.336.0"], "2.98.0": RELEASES["2.335.1"]}
    assert deadline("2.98.0", releases) == day("2026-08-19"), "2.100.0 is the first only by its letters"
    assert deadline("2.99.0", releases) == day("2026-09-16")
    assert deadline("2.100.0", releases) is None


def test_the_newest_release_has_no_deadline():
    assert deadline("2.337.0", RELEASES) is None


@pytest.mark.parametrize(
    ("on", "state"),
    [
        ("2026-08-17", "within"),
        ("2026-09-05", "within"),  # eleven days are left
        ("2026-09-06", "near"),  # ten
        ("2026-09-15", "near"),
        ("2026-09-16", "near"),  # the day itself
        ("2026-09-17", "past"),
    ],
)
def test_where_the_deadline_of_2_336_stands(on: str, state: str):
    assert deadline_state(deadline("2.336.0", RELEASES), day(on)) == state


def test_no_deadline_is_never_near():
    assert deadline_state(None, day("2036-01-01")) == "newest"


def test_the_floor_is_the_oldest_release_that_may_register():
    assert REGISTRATION_FLOOR == "2.329.0"
    assert not below_floor("2.329.0")
    assert not below_floor("2.1000.0")
    assert below_floor("2.328.9")
    assert below_floor("2.99.0")
    assert below_floor("1.999.0")


def test_releases_are_ordered_by_number():
    assert sorted(["2.100.0", "2.99.0", "2.99.10", "2.99.9", "10.0.0"], key=release_key) == [
        "2.99.0",
        "2.99.9",
        "2.99.10",
        "2.100.0",
        "10.0.0",
    ]


def test_the_newest_version_is_the_one_cut_last():
    ids = ["2026-08-20", "2026-11-02", "2026-11-02-2", "2026-11-02-10", "2025-12-31-99"]
    assert newest(dict.fromkeys(ids)) == "2026-11-02-10"
    assert newest(dict.fromkeys(ids[:2])) == "2026-11-02"
    assert newest({}) is None


def test_a_version_has_one_role_in_an_environment():
    rollout = Rollout(stable="2026-08-20", canary="2026-11-02", keep=("2026-07-01", "2026-08-20"))
    ids = ("2026-08-20", "2026-11-02", "2026-07-01", "2026-06-01")
    assert [role(version, rollout) for version in ids] == ["stable", "canary", "kept", "unused"]


def test_without_a_canary_no_version_is_one():
    assert role("2026-11-02", Rollout(stable="2026-08-20", canary=None)) == "unused"


# What may never change ----------------------------------------------------------------------------------------------


def image(name: str) -> SourceImage:
    return SourceImage(source_image=f"projects/acme-images/global/images/{name}")


@pytest.fixture
def version() -> Version:
    images: dict[str, ImageSource] = {"cpu": image("noble-1"), "gpu": image("noble-1")}
    return Version(runner="2.336.0", boot_bundle="sha256:" + "a" * 64, images=images)


def after(version: Version, **changes: object) -> dict[str, Version]:
    return {"2026-08-20": version.model_copy(update=changes)}


def test_an_untouched_version_has_no_edit(version: Version):
    assert edits(after(version), after(version)) == ()


def test_another_runner_is_an_edit(version: Version):
    assert edits(after(version), after(version, runner="2.337.0")) == (Edit("2026-08-20", "runner"),)


def test_another_boot_bundle_is_an_edit(version: Version):
    other = "sha256:" + "b" * 64
    assert edits(after(version), after(version, boot_bundle=other)) == (Edit("2026-08-20", "boot_bundle"),)


def test_another_image_is_an_edit(version: Version):
    images = {**version.images, "gpu": image("noble-2")}
    assert edits(after(version), after(version, images=images)) == (Edit("2026-08-20", "images.gpu"),)


def test_taking_an_image_away_is_an_edit(version: Version):
    images = {"cpu": version.images["cpu"]}
    assert edits(after(version), after(version, images=images)) == (Edit("2026-08-20", "images.gpu"),)


def test_an_image_for_a_class_that_had_none_is_no_edit(version: Version):
    images = {**version.images, "arm64": image("noble-arm64-1")}
    assert edits(after(version), after(version, images=images)) == ()


def test_versions_may_come_and_go(version: Version):
    assert edits(after(version), {}) == ()
    assert edits({}, after(version)) == ()


def test_every_edit_is_told(version: Version):
    changed = after(version, runner="2.337.0", boot_bundle="sha256:" + "b" * 64, images={})
    assert [edit.field for edit in edits(after(version), changed)] == [
        "runner",
        "boot_bundle",
        "images.cpu",
        "images.gpu",
    ]

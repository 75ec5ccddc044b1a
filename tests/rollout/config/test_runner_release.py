"""What GitHub says of a runner release, and which of it goes into the table."""

from __future__ import annotations

import datetime

import pytest

from fleet.schema.version import RunnerRelease
from rollout.cloud.releases import Asset, Release
from rollout.config.runner_release import Upstream, between, choose, judged, list_releases
from rollout.exits import Exit, Problem

X64, ARM64, OTHER = "a" * 64, "b" * 64, "c" * 64
TABLE = """config:
  runner-fleet:runner_releases:
    value:
      # the oldest
      "2.336.0":
        released: 2026-07-20
      "2.337.0":
        released: 2026-08-17 # or later
        sha256:
          x64: {x64}
"""
TEXT = TABLE.format(x64=X64)


def notes(x64=X64, arm64=ARM64):
    return f"""## SHA-256
- x64 <!-- BEGIN SHA linux-x64 -->{x64}<!-- END SHA linux-x64 -->
- arm <!-- BEGIN SHA linux-arm -->{OTHER}<!-- END SHA linux-arm -->
- arm64 <!-- BEGIN SHA linux-arm64 -->{arm64}<!-- END SHA linux-arm64 -->
"""


def github(tag, day="2026-11-20", *, body=None, digests=(X64, ARM64), prerelease=False, draft=False):
    assets = [
        Asset(
            name=f"actions-runner-linux-{arch}-{tag[1:]}.tar.gz",
            digest=f"sha256:{digest}" if digest else "",
            size=1,
            url="",
        )
        for arch, digest in zip(("x64", "arm64"), digests, strict=True)
    ]
    published = datetime.datetime.fromisoformat(f"{day}T23:30:00+00:00").timestamp()
    return Release(
        tag=tag,
        published=published,
        prerelease=prerelease,
        draft=draft,
        body=notes() if body is None else body,
        assets=tuple(assets),
    )


LISTED = [github("v2.99.0"), github("v2.339.0", prerelease=True), github("v2.338.0"), github("v2.340.0", draft=True)]
LISTED += [github("v2.341.0-beta.1"), github("v2.337.1", "2026-09-10"), github("v2.337.0", "2026-08-20")]


def test_the_newest_release_is_chosen_by_number_and_no_pre_release_draft_or_beta():
    assert choose(LISTED, None).tag == "v2.338.0"


@pytest.mark.parametrize("asked", ["2.339.0", "2.340.0", "2.341.0-beta.1"])
def test_a_pre_release_is_refused_when_asked_for(asked):
    with pytest.raises(Problem, match=r"pre-release.*newest release is 2.338.0") as caught:
        choose(LISTED, asked)
    assert caught.value.code == Exit.REFUSED


def test_a_release_that_is_not_there_is_a_fault_and_an_empty_list_is_no_answer():
    with pytest.raises(Problem, match="no such release"):
        choose(LISTED, "2.400.0")
    with pytest.raises(Problem) as caught:
        choose([], None)
    assert caught.value.code == Exit.UNREACHABLE


def test_releases_in_between_are_listed_by_their_day():
    found = between(LISTED, "2.337.0", "2.338.0")
    assert found == [Upstream(release="2.337.1", released=datetime.date(2026, 9, 10))]


def test_a_digest_counts_when_notes_and_file_agree_on_both_architectures():
    found = judged(github("v2.338.0"), None)
    assert found.sha256 == {"x64": X64, "arm64": ARM64}
    assert found.released == datetime.date(2026, 11, 20)


@pytest.mark.parametrize(
    ("release", "downloaded", "words"),
    [
        (github("v2.338.0", body=notes(arm64=OTHER)), None, "do not agree"),
        (github("v2.338.0", body=notes() + notes()), None, "do not agree"),
        (github("v2.338.0", body="nothing here"), None, "only GitHub's digest of the file.*--verify"),
        (github("v2.338.0", digests=(X64, "")), None, "only the notes.*arm64.*--verify"),
        (github("v2.338.0"), {"x64": OTHER, "arm64": ARM64}, "do not agree.*the file: c"),
        (github("v2.338.0", body="", digests=("", "")), {"x64": X64, "arm64": ARM64}, "only the file"),
    ],
)
def test_digests_that_differ_or_have_one_source_are_refused(release, downloaded, words):
    with pytest.raises(Problem, match=words) as caught:
        judged(release, downloaded)
    assert caught.value.code == Exit.REFUSED


def test_the_file_itself_is_a_second_source():
    release = github("v2.338.0", digests=("", ""))
    assert judged(release, {"x64": X64, "arm64": ARM64}).sha256 == {"x64": X64, "arm64": ARM64}


def test_a_release_without_a_file_for_an_architecture_is_refused():
    whole = github("v2.338.0")
    part = Release(
        tag=whole.tag, published=0.0, prerelease=False, draft=False, body=whole.body, assets=whole.assets[:1]
    )
    with pytest.raises(Problem, match=r"no file actions-runner-linux-arm64-2.338.0"):
        judged(part, None)


def test_releases_go_below_their_predecessors_and_nothing_else_changes():
    found = [
        Upstream(release="2.336.1", released=datetime.date(2026, 8, 1)),
        Upstream(release="2.338.0", released=datetime.date(2026, 11, 20), sha256={"x64": X64, "arm64": ARM64}),
    ]
    lines = TEXT.splitlines(keepends=True)
    lines[6:6] = ['      "2.336.1":\n', "        released: 2026-08-01\n"]
    lines += ['      "2.338.0":\n', "        released: 2026-11-20\n", "        sha256:\n"]
    lines += [f"          x64: {X64}\n", f"          arm64: {ARM64}\n"]
    assert list_releases(found, {}).change(TEXT) == "".join(lines)


def test_a_missing_digest_is_added_and_a_listed_day_stays():
    found = [Upstream(release="2.337.0", released=datetime.date(2026, 8, 20), sha256={"x64": X64, "arm64": ARM64})]
    after = list_releases(found, {}).change(TEXT)
    assert after == TEXT + f"          arm64: {ARM64}\n"
    assert list_releases(found, {}).change(after) == after


def test_digests_are_added_to_a_release_that_has_none():
    found = [Upstream(release="2.336.0", released=datetime.date(2026, 7, 20), sha256={"x64": X64, "arm64": ARM64})]
    after = list_releases(found, {}).change(TEXT)
    assert f"        sha256: {{ x64: {X64}, arm64: {ARM64} }}\n" in after


def test_a_digest_that_the_table_has_otherwise_is_never_replaced():
    table = {"2.337.0": RunnerRelease.model_validate({"released": "2026-08-17", "sha256": {"x64": OTHER}})}
    found = [Upstream(release="2.337.0", released=datetime.date(2026, 8, 17), sha256={"x64": X64, "arm64": ARM64})]
    with pytest.raises(Problem, match=r"another digest of 2.337.0 for x64") as caught:
        list_releases(found, table)
    assert caught.value.code == Exit.REFUSED

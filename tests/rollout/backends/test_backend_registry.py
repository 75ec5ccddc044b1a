"""Backends by name: imported when they are asked for, checked, and explained when they are none."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from rollout.backends import registry
from rollout.backends.fake import Fake, passes
from rollout.backends.local import LocalProcesses
from rollout.backends.registry import BUILT_IN, BackendError, Registry, with_plugins


class Whole:
    """All that the protocol asks for, and an argument of its own."""

    def __init__(self, site: str = "") -> None:
        self.site = site

    async def run(self, attempt): ...

    async def reattach(self, attempt, external_id): ...

    async def cancel(self, attempt): ...

    async def close(self): ...


class NoReattach:
    async def run(self, attempt): ...

    async def cancel(self, attempt): ...

    async def close(self): ...


class Blocking:
    def run(self, attempt): ...

    async def reattach(self, attempt, external_id): ...

    async def cancel(self, attempt): ...

    async def close(self): ...


class OtherArguments:
    async def run(self, attempt): ...

    async def reattach(self, attempt): ...

    async def cancel(self, attempt): ...

    async def close(self, *, really): ...


def of(**places: str) -> Registry:
    return Registry({name: f"{__name__}:{place}" for name, place in places.items()})


def test_ours_are_there_by_name():
    assert Registry().names() == ("local", "google", "github", "fake")
    assert isinstance(Registry().create("fake", {"a": passes()}), Fake)
    assert isinstance(Registry().create("local", kill_seconds=1), LocalProcesses)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_one_of_ours_keeps_the_protocol(name):
    module, _, _ = BUILT_IN[name].partition(":")
    made = registry._imported(name, BUILT_IN[name])
    registry._check(name, BUILT_IN[name], made)
    assert made.__module__ == module


def test_nothing_is_imported_before_it_is_asked_for(root: Path):
    script = (
        "import sys; from rollout.backends.registry import with_plugins; r = with_plugins(); "
        "heavy = {'psutil', 'aiohttp', 'rollout.backends.local', 'rollout.backends.google'}; "
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys(); "
        "r.create('local'); assert 'psutil' in sys.modules; print('ran')"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("ran\n", "")


def test_arguments_go_to_what_makes_it():
    backend = of(site="Whole").create("site", "west")
    assert isinstance(backend, Whole)
    assert backend.site == "west"


def test_a_function_can_make_it():
    def function() -> Fake:
        return Fake()

    registered = Registry({})
    registered.register("made", function)
    assert isinstance(registered.create("made"), Fake)
    nothing: Any = lambda: None  # noqa: E731 - it is what is to be found out
    registered.register("nothing", nothing)
    with pytest.raises(BackendError, match="is none: has no run; has no reattach; has no cancel; has no close"):
        registered.create("nothing")


@pytest.mark.parametrize(
    ("place", "faults"),
    [
        ("NoReattach", "has no reattach"),
        ("Blocking", "run is no coroutine function (async def)"),
        ("OtherArguments", "reattach does not take (attempt, external_id); close does not take ()"),
    ],
)
def test_a_class_that_does_not_keep_the_protocol_is_told_all_that_is_missing(place, faults):
    """Each fault alone is enough: a class with three of the four calls is no backend."""
    with pytest.raises(BackendError) as caught:
        of(site=place).create("site")
    assert str(caught.value) == f"backend 'site' ({__name__}:{place}) is none: {faults}"


def test_a_name_that_is_not_there_is_told_with_the_nearest():
    with pytest.raises(BackendError) as caught:
        Registry().create("gogle")
    told = "there is no backend 'gogle'; did you mean 'google'? (there are local, google, github, fake)"
    assert str(caught.value) == told
    with pytest.raises(BackendError, match=r"no backend 'xyz' \(there are"):
        Registry().create("xyz")


def test_a_name_is_given_once():
    registered = of(site="Whole")
    with pytest.raises(BackendError) as caught:
        registered.register("site", Fake)
    told = f"backend 'site' is {__name__}:Whole and cannot be rollout.backends.fake:Fake as well"
    assert str(caught.value) == told


@pytest.mark.parametrize("place", ["", "rollout.backends.fake", ":Fake", "rollout backends:Fake", "a:b:c"])
def test_a_path_that_is_none_is_refused_at_once(place):
    with pytest.raises(BackendError, match="is no path; write it as package"):
        Registry({"site": place})


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("no_such_package.backend:Site", "cannot be imported: No module named 'no_such_package'"),
        ("rollout.backends.fake:Site", "is not there: module 'rollout.backends.fake' has no attribute 'Site'"),
        ("rollout.backends.fake:PASSES", "is a Act, not a class or a function"),
    ],
)
def test_a_path_that_leads_nowhere_is_told_when_it_is_followed(place, told):
    registered = Registry({"site": place})
    with pytest.raises(BackendError) as caught:
        registered.create("site")
    assert str(caught.value) == f"backend 'site' ({place}) {told}"


def installed(monkeypatch: pytest.MonkeyPatch, **places: str) -> None:
    points = [EntryPoint(name, place, registry.GROUP) for name, place in places.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "runner_fleet.backends" else [])


def test_installed_packages_bring_theirs(monkeypatch):
    installed(monkeypatch, site=f"{__name__}:Whole [extra]")
    assert with_plugins().names() == ("local", "google", "github", "fake", "site")
    assert isinstance(with_plugins().create("site"), Whole)


def test_installed_packages_do_not_replace_ours(monkeypatch):
    installed(monkeypatch, local=f"{__name__}:Whole")
    with pytest.raises(BackendError, match="backend 'local' is rollout"):
        with_plugins()


def test_a_package_on_the_path_is_found_by_its_metadata(tmp_path, root):
    """What an installer writes, without an installer."""
    metadata = tmp_path / "site_backends-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: site-backends\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[runner_fleet.backends]\nsite = site_backends:Site\n")
    (tmp_path / "site_backends.py").write_text("from rollout.backends.fake import Fake\nclass Site(Fake): ...\n")
    script = "from rollout.backends.registry import with_plugins; print(type(with_plugins().create('site')).__name__)"
    argv = [sys.executable, "-c", script]
    environment = {"PYTHONPATH": f"{tmp_path}:{root}"}
    done = subprocess.run(argv, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("Site\n", "")

"""Which part may import which: the arrows of the architecture, read from the source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
OURS = {"fleet", "components", "startup", "rehearsal", "rollout", "policy", "functions", "emulators", "demo"}
OURS |= {"__main__", "broker", "deleter", "listener", "reconciler", "scaleset", "simulation"}
MAY_IMPORT = {
    "fleet": {"fleet"},
    "components": {"components", "fleet"},
    "startup": {"startup", "fleet"},
    "emulators": {"emulators"},
    "simulation": {"simulation", "emulators", "fleet", "rehearsal", "startup"}
    | {"broker", "deleter", "listener", "reconciler", "scaleset"},
    "demo": {"demo", "rollout", "simulation", "emulators", "fleet", "rehearsal", "startup"},
    "rehearsal": {"rehearsal", "fleet", "startup"},
    "rollout": {"rollout", "fleet", "startup", "rehearsal"},
    "functions/pack.py": set(),
    "functions/registration_broker": {"broker"},
    "functions/instance_deleter": {"deleter"},
    "functions/demand_listener/listener": {"listener", "scaleset"},
    "functions/demand_listener/scaleset": {"scaleset"},
    "functions/demand_listener/main.py": {"listener"},
    "functions/reconciler": {"reconciler"},
    "__main__.py": {"components", "fleet", "functions", "startup"},
}
WITHIN_ROLLOUT = {
    "engine": {"engine"},
    "cloud": {"cloud"},
    "observers": {"observers", "engine"},
    "backends": {"backends", "engine", "cloud"},
    "bake": {"bake"},
    "adopt": {"adopt"},
    "config": {"config", "cloud", "exits", "commands.frame"},
    "view": {"view", "cloud"},
    "plans": {"plans", "engine", "backends", "observers", "cloud", "view", "bake", "config"},
}
"""What the parts of rollout/ use of one another. The engine knows nothing of runners, Google or GitHub."""
NOT_IN_FLEET = {"pulumi", "pulumi_gcp", "pulumi_github", "requests", "httpx", "socket", "subprocess", "os", "pathlib"}


def imports(path: Path) -> set[str]:
    """The top names that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level and path.is_relative_to(ROOT / "functions"):
                continue  # a function's package, which is deployed as it is, names its own modules relatively
            assert node.level == 0, f"{path} imports relatively, which hides the layer"
            found.add((node.module or "").partition(".")[0])
    return found


def files(part: str) -> list[Path]:
    return [ROOT / part] if part.endswith(".py") else sorted((ROOT / part).rglob("*.py"))


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_a_part_imports_only_what_stands_below_it(part):
    assert files(part), f"{part} has moved; say so in MAY_IMPORT"
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files(part)
        for name in imports(path) & OURS - MAY_IMPORT[part]
    }
    assert not wrong


@pytest.mark.parametrize("part", WITHIN_ROLLOUT)
def test_a_part_of_rollout_imports_only_what_stands_below_it(part):
    wrong = set()
    for path in files(f"rollout/{part}"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                inner = name.removeprefix("rollout.")
                if name.startswith("rollout.") and not any(
                    f"{inner}.".startswith(f"{w}.") for w in WITHIN_ROLLOUT[part]
                ):
                    wrong.add(f"{path.relative_to(ROOT)} imports {name}")
                if part == "engine" and name.partition(".")[0] in OURS - {"rollout"}:
                    wrong.add(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_the_model_knows_no_engine_and_no_machine():
    wrong = {f"{path.relative_to(ROOT)} imports {n}" for path in files("fleet") for n in imports(path) & NOT_IN_FLEET}
    assert not wrong


def test_every_part_of_ours_is_listed_here():
    here = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert here <= OURS


def test_the_composition_root_reads_like_a_table_of_contents():
    lines = (ROOT / "__main__.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 80
    tree = ast.parse("\n".join(lines))
    assert not [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]


@pytest.mark.parametrize("word", ["prod", "testing"])
def test_no_code_branches_on_an_environments_name(word):
    """The difference between environments is YAML, where it is reviewed."""
    for part in ("fleet", "components", "startup", "__main__.py"):
        for path in files(part):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Compare):
                    values = [v.value for v in [node.left, *node.comparators] if isinstance(v, ast.Constant)]
                    assert word not in values, f"{path.relative_to(ROOT)}:{node.lineno} compares with {word}"

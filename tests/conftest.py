"""What every area's tests share: the project's root, and what its two stacks register."""

from __future__ import annotations

import copy
import os
import shutil
import signal
from pathlib import Path

import coverage
import hypothesis
import pytest

from fleet.settings import Settings, load
from rehearsal import stack_files
from rehearsal.inventory import Inventory
from rehearsal.run import rehearse_project
from startup import bundle
from tests.simulation import seed_summary
from tests.startup import line_coverage

ROOT = Path(__file__).parent.parent

# A busy machine is no fault of the code's, and a run that cannot be repeated helps nobody.
hypothesis.settings.register_profile("project", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("project")

# Whoever starts us in the background ignores the signal, and every process that a test starts would ignore it, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Where line coverage is asked for, tell the tests' processes, of this and of every worker, where to leave it."""
    if os.environ.get("RUNNER_FLEET_COVERAGE") and not hasattr(config, "workerinput"):
        trace = ROOT / ".build/coverage"
        shutil.rmtree(trace, ignore_errors=True)
        trace.mkdir(parents=True)
        os.environ["RUNNER_FLEET_TRACE"] = str(trace)
    trace = os.environ.get("RUNNER_FLEET_TRACE")
    if trace and (hasattr(config, "workerinput") or not config.getoption("numprocesses", None)):
        # Before anything is collected: a module's own lines run when it is imported.
        measured = coverage.Coverage(data_file=f"{trace}/.coverage.{os.getpid()}", include=["*/startup/lib/*.py"])
        config.stash[line_coverage.MEASURED] = measured
        measured.start()


def pytest_collection_finish(session: pytest.Session) -> None:
    """From here on only the tests of `startup/` are measured (their own fixture): it slows long searches down."""
    if measured := session.config.stash.get(line_coverage.MEASURED, None):
        measured.stop()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Judge how much of the VM's scripts ran, when all of their tests did."""
    config = session.config
    trace = os.environ.get("RUNNER_FLEET_TRACE")
    if measured := config.stash.get(line_coverage.MEASURED, None):
        measured.save()
    if not trace or hasattr(config, "workerinput") or config.option.keyword or session.testsfailed:
        return
    found = line_coverage.scripts(Path(trace))
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    assert reporter
    reporter.write_line("")
    reporter.section("lines of the VM's scripts that ran")
    for line in line_coverage.table(found):
        reporter.write_line(line)
    if line_coverage.percent(found) < line_coverage.FLOOR_PERCENT:
        reporter.write_line(f"FAILED: less than {line_coverage.FLOOR_PERCENT} % of the scripts' lines ran", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many fleets were simulated, which only the process that shows the results can."""
    seed_summary.write(terminalreporter)


@pytest.fixture(scope="session", autouse=True)
def _project_as_working_directory():
    """The engine runs the program in the project's folder; so do we."""
    before = Path.cwd()
    os.chdir(ROOT)
    yield
    os.chdir(before)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def tree_bundle() -> str:
    return bundle.build(ROOT / "startup").digest


@pytest.fixture(scope="session")
def prod_files() -> stack_files.StackFiles:
    return stack_files.read(ROOT, "prod")


@pytest.fixture(scope="session")
def prod_settings(prod_files, tree_bundle) -> Settings:
    return load(prod_files.sections, environment="prod", tree_bundle=tree_bundle)


@pytest.fixture(scope="session")
def prod(prod_files) -> Inventory:
    return rehearse_project(ROOT, "prod", prod_files.config)


@pytest.fixture(scope="session")
def testing() -> Inventory:
    return rehearse_project(ROOT, "testing", stack_files.read(ROOT, "testing").config)


@pytest.fixture
def prod_config(prod_files) -> dict:
    """Prod's configuration, to be edited."""
    return copy.deepcopy(dict(prod_files.config))


@pytest.fixture(scope="session")
def mixed_config(prod_files) -> dict:
    """Prod's configuration with a pool that follows CPU load and a fixed one beside those that follow jobs."""
    config = copy.deepcopy(dict(prod_files.config))
    pools = config["runner-fleet:pools"]
    for key, smallest, scaling in (
        ("presubmit-cpu", 1, {"signal": "cpu", "target": 0.6, "cool_down_seconds": 60}),
        ("presubmit-gpu", 2, {"signal": "fixed"}),
    ):
        pools[key]["scaling"] = scaling
        for size in pools[key]["regions"].values():
            size["min"] = smallest
    return config


@pytest.fixture(scope="session")
def mixed(mixed_config) -> Inventory:
    return rehearse_project(ROOT, "prod", mixed_config)


@pytest.fixture
def rehearse_edited():
    """The inventory of an edited prod configuration."""
    return lambda config: rehearse_project(ROOT, "prod", config)

"""What the broker sends, unpacked (startup/lib/jit_config.py): never anything but a runner's own files."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulators.cloud import JIT_MARK, jit_config
from startup.lib import jit_config as lib


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def reply(config: Any = None, runner: Any = 23) -> bytes:
    return json.dumps({"jit_config": jit_config() if config is None else config, "runner_id": runner}).encode()


def files(**more: Any) -> str:
    """A configuration with what every runner needs, and more."""
    contents: dict[str, Any] = {".runner": encoded(b"{}"), ".credentials": encoded(b"{}")} | more
    return encoded(json.dumps(contents).encode())


def test_a_configuration_becomes_its_files() -> None:
    runner, contents = lib.read(reply())
    assert runner == 23
    assert contents == {
        ".runner": b"{}",
        ".credentials": json.dumps({"mark": JIT_MARK}).encode(),
        ".credentials_rsaparams": JIT_MARK.encode(),
    }


def test_a_byte_order_mark_and_unknown_fields_do_not_matter() -> None:
    answer = json.loads(reply()) | {"another": [1]}
    assert lib.read(json.dumps(answer).encode())[0] == 23


@pytest.mark.parametrize("file", [".runner_migrated", ".credentials_migrated", ".credentials_rsaparams"])
def test_the_names_that_githubs_runner_knows_are_taken(file: str) -> None:
    assert file in lib.read(reply(files(**{file: encoded(b"x")})))[1]


@pytest.mark.parametrize(
    "file",
    [
        *[
            "../x",
            "../../etc/passwd",
            "/etc/passwd",
            ".runner/x",
            ".runner/../../x",
            ".bashrc/.runner",
            "",
            ".",
            "..",
            "bin",
        ],
        *[
            ".env",
            ".path",
            ".bashrc",
            ".profile",
            ".service",
            "runner",
            ".Runner",
            ".runner.bak",
            ".runner_",
            ".runner_A",
        ],
        *[".runner\n", ".runner\0", ".rünner", " .runner", ".runner_" + "a" * 41],
    ],
)
def test_no_other_file_name_is_taken(file: str) -> None:
    with pytest.raises(lib.BrokenConfigError, match="none of a runner's"):
        lib.read(reply(files(**{file: encoded(b"x")})))


DEEP = b"[" * 200_000
BROKEN: dict[str, bytes] = {
    "the answer is not JSON": b"<html>",
    "the answer is no JSON object": b"[1, 2]",
    "it names no runner": json.dumps({"jit_config": jit_config()}).encode(),
    "there is no jit_config in it": b'{"runner_id": 1}',
    "jit_config is not base64": reply("*** not base64 ***"),
    "jit_config is not JSON": reply(encoded(b"not JSON")),
    "jit_config is no JSON object": reply(encoded(b'"text"')),
    "a file in it is not base64": reply(files(**{".runner": "***"})),
    "it lacks .credentials": reply(encoded(json.dumps({".runner": encoded(b"{}")}).encode())),
    "it lacks .credentials, .runner": reply(encoded(b"{}")),
    "it has more than 1048576 bytes": b"x" * (2 << 20),
}


@pytest.mark.parametrize("reason", BROKEN)
def test_what_is_broken_is_said_without_a_word_of_it(reason: str) -> None:
    with pytest.raises(lib.BrokenConfigError) as error:
        lib.read(BROKEN[reason])
    assert str(error.value) == reason


@pytest.mark.parametrize(
    "data", [DEEP, reply(encoded(DEEP)), b'{"a":' * 100_000, b"\xff\xfe", b"", b"1" * 10_000, b"\0"]
)
def test_deep_and_garbled_text_is_broken_like_any_other(data: bytes) -> None:
    with pytest.raises(lib.BrokenConfigError, match="is not JSON"):
        lib.read(data)


@pytest.mark.parametrize("value", [1, 1234, None, True, [], {}, 1.5, "ä", "\ud800", "YQ", "YQ==\n", "Y Q="])
def test_a_configuration_and_a_file_are_base64_text_and_nothing_else(value: Any) -> None:
    with pytest.raises(lib.BrokenConfigError, match="jit_config is not base64"):
        lib.read(json.dumps({"jit_config": value, "runner_id": 1}).encode())
    with pytest.raises(lib.BrokenConfigError, match="a file in it is not base64"):
        lib.read(reply(files(**{".runner": value})))


@pytest.mark.parametrize("runner", [None, 0, -1, "23", "", "$(id)", [23], 1.5, True])
def test_a_runners_id_is_a_number_and_safe_to_print(runner: Any) -> None:
    with pytest.raises(lib.BrokenConfigError, match="names no runner"):
        lib.read(reply(runner=runner))


@given(st.binary())
def test_no_bytes_make_it_fail_in_another_way(data: bytes) -> None:
    with suppress(lib.BrokenConfigError):
        lib.read(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
NAMES = st.sampled_from([".runner", ".credentials", ".env", "../x"]) | st.text()
CONTENTS = st.dictionaries(NAMES, JSON | st.binary().map(encoded), max_size=4)


@given(CONTENTS | JSON, st.sampled_from([23, "", 0]))
def test_no_configuration_makes_it_fail_in_another_way(contents: Any, runner: Any) -> None:
    data = reply(encoded(json.dumps(contents).encode()), runner)
    try:
        seen, got = lib.read(data)
    except lib.BrokenConfigError:
        return
    assert seen == 23
    assert got.keys() >= lib.REQUIRED
    assert all("/" not in file and file.startswith((".runner", ".credentials")) for file in got)


def test_the_files_are_written_for_their_owner_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "reply").write_bytes(reply())
    (tmp_path / "into").mkdir()
    assert lib.main(["--reply", str(tmp_path / "reply"), "--into", str(tmp_path / "into")]) == 0
    assert capsys.readouterr().out == "23\n"
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "into").iterdir()}
    assert modes == {".runner": 0o600, ".credentials": 0o600, ".credentials_rsaparams": 0o600}


@pytest.mark.parametrize("into", ["nowhere", "reply"])
def test_what_cannot_be_written_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], into: str
) -> None:
    (tmp_path / "reply").write_bytes(reply())
    assert lib.main(["--reply", str(tmp_path / "reply"), "--into", str(tmp_path / into)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert JIT_MARK not in err

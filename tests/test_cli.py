"""The command line without a deployment: what is printed, what is parsed, what is imported."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import unicodedata
from typing import TYPE_CHECKING

import attrs
import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awe_core.cli import COMMANDS, following, render, root, run
from awe_core.cli.arguments import arguments, read_object, strict_json
from awe_core.cli.shared import SHARED, Invocation
from awe_core.contract import Schema
from awe_core.errors import ContractError, PackError, TrustError, UsageError
from awe_core.events import Failure, Residue
from awe_core.runtime import RunResult

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def leaves() -> Iterator[tuple[str, click.Command]]:
    """Give every command that does something, by the words that call it."""
    ctx = click.Context(root, info_name="awe")
    for name in COMMANDS:
        found = root.get_command(ctx, name)
        assert found is not None, name
        if isinstance(found, click.Group):
            yield from ((f"{name} {inner}", each) for inner, each in found.commands.items())
        else:
            yield name, found


LEAVES = dict(leaves())


# ------------------------------------------------------------------------------------ the commands


@pytest.mark.parametrize("words", LEAVES)
def test_every_command_has_help_and_the_shared_options(words, capsys):
    assert LEAVES[words].help
    assert set(SHARED) <= set(LEAVES[words].params)
    assert 0 == run([*words.split(), "--help"])
    assert "--json" in capsys.readouterr().out


def test_the_line_in_the_table_says_what_a_command_s_own_help_says():
    ctx = click.Context(root)
    for name, (_, says) in COMMANDS.items():
        found = root.get_command(ctx, name)
        assert found is not None
        assert says.split()[:2] == (found.help or "").split()[:2]


def test_help_and_version_import_no_more_than_click_and_errors():
    program = (
        "import sys; from awe_core.cli import run; run(sys.argv[1:]);"
        "print(*(name for name in sys.modules if name.startswith('awe_core')), file=sys.stderr);"
        "print(*sys.modules, file=sys.stderr)"
    )
    heavy = {"rich", "jsonschema", "sqlite3", "asyncio", "cryptography", "importlib.metadata"}
    heavy |= {"securesystemslib", "pypi_attestations"}
    for words in (["--help"], ["--version"]):
        command = [sys.executable, "-c", program, *words]
        ours, every = subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stderr.splitlines()
        chapters = {name.split(".")[1] for name in ours.split() if "." in name}
        assert {"cli", "errors"} == chapters
        assert set() == heavy & set(every.split())


@pytest.mark.parametrize(
    "words", [["--json", "version"], ["version", "--json"], ["--json", "config", "check"]]
)
def test_json_before_or_after_the_command_is_one_document(words, capsys):
    assert 0 == run(words)
    printed = capsys.readouterr()
    assert json.loads(printed.out)["ok"] is True
    assert json.loads(printed.out)["awe"] == "cli/v1"
    assert printed.err == ""


@pytest.mark.parametrize(
    "words", [["frobnicate"], [], ["runs"], ["run"], ["runs", "list", "--limit", "x"]]
)
def test_bad_usage_is_2_with_the_help_to_read_next(words, capsys):
    assert 2 == run(words)
    assert "error[cli.usage]" in capsys.readouterr().err
    assert 2 == run([*words, "--json"])
    printed = capsys.readouterr()
    assert json.loads(printed.out)["error"]["next"].endswith("--help")
    assert printed.err == ""


# ---------------------------------------------------------------------------------------- rendering


@given(st.text())
def test_nothing_a_stranger_wrote_moves_the_cursor_or_turns_the_line_around(text):
    shown = render.plain(text)
    assert all(unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co", "Cn"} for c in shown)
    assert "\n" not in shown
    if text.isascii() and text.isprintable():
        assert text == shown


def test_hostile_text_is_shown_as_code_points():
    hostile = "ok\x1b[2J\x07\u202egpj.exe\u200b\r\n"
    assert "ok<U+001B>[2J<U+0007><U+202E>gpj.exe<U+200B><U+000D><U+000A>" == render.plain(hostile)


def test_json_is_ascii_so_that_it_does_nothing_to_a_terminal_either():
    text = render.document({"x": "\u202e\x9b31m\u2028"}, is_ok=True)
    assert text.isascii()
    assert text.isprintable()


@given(st.lists(st.tuples(st.text(), st.integers(), st.text()), min_size=1))
def test_a_table_has_a_line_a_row_whatever_is_in_it(rows):
    table = render.Table(("one", "two", "three"), tuple(rows))
    assert len(rows) + 1 == len(list(render.table_lines(table)))


def test_columns_are_aligned_and_only_the_last_one_is_never_cut():
    table = render.Table(("id", "text"), (("a" * 190, "b" * 190), ("x", "y")))
    first, wide, narrow = render.table_lines(table)
    assert f"{'a' * 157}...  {'b' * 190}" == wide
    assert first.index("text") == narrow.index("y")


ERRORS = {
    "not_active": PackError(
        "pack.not_active",
        distribution="awe-pack-jira",
        version="1.4.0",
        status="SUSPENDED",
        capability="jira.close",
        doing="begin new runs",
        details=["trust.expired: the manifest is expired", "second\x1b[2J line"],
    ),
    "rollback": TrustError("trust.rollback", found="3-41", seen="3-44"),
    "usage": UsageError("cli.usage", what="No such option '--fo\x1b[31m'", command="awe runs list"),
}


def test_errors_say_what_then_details_then_the_state_then_the_next_command(golden):
    shown = "\n\n".join("\n".join(render.error_lines(error)) for error in ERRORS.values())
    golden.check("cli/errors.txt", f"{shown}\n")


def test_an_error_in_json_is_the_same_error(capsys):
    error = ERRORS["rollback"]
    assert 3 == render.fail(error, Invocation(is_json=True))
    printed = capsys.readouterr()
    assert {"awe": "cli/v1", "ok": False, "error": error.as_json()} == json.loads(printed.out)
    assert printed.err == ""


@pytest.mark.parametrize(
    ("environ", "terminal", "wanted", "coloured"),
    [
        ({}, True, "auto", True),
        ({}, False, "auto", False),
        ({"NO_COLOR": "1"}, True, "auto", False),
        ({"FORCE_COLOR": "1"}, False, "auto", True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, "auto", False),
        ({"TERM": "dumb"}, True, "auto", False),
        ({"NO_COLOR": "1"}, False, "always", True),
        ({"FORCE_COLOR": "1"}, True, "never", False),
    ],
)
def test_the_flag_comes_before_the_environment_and_that_before_the_terminal(
    environ, terminal, wanted, coloured, monkeypatch
):
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert coloured == render.is_coloured(is_terminal=terminal, wanted=wanted)


@pytest.mark.parametrize("wanted", ["always", "never"])
def test_colour_never_changes_the_words_of_an_error(wanted, capsys):
    render.fail(ERRORS["rollback"], Invocation(color=wanted))
    shown = capsys.readouterr().err
    assert ("\x1b[" in shown) is (wanted == "always")
    assert "\n".join(render.error_lines(ERRORS["rollback"])) == click.unstyle(shown).rstrip("\n")


@attrs.frozen
class Thing:
    name: str
    at_us: int
    parts: tuple[dict[str, int], ...] = ()
    _secret: str = attrs.field(default="hidden", repr=False)


def test_details_show_names_and_values_and_a_table_for_each_list(capsys):
    found = render.details(Thing("x\x00", 0, ({"a": 1}, {"a": 2})), "and that is all")
    render.show(found, Invocation())
    expected = "name  x<U+0000>\nat    1970-01-01 00:00:00Z\nparts:\na\n1\n2\nand that is all\n"
    assert expected == capsys.readouterr().out
    assert {"name": "x\x00", "at_us": 0, "parts": [{"a": 1}, {"a": 2}]} == found.data


def test_a_listing_without_rows_says_so(capsys):
    render.show(render.listing([], "a b"), Invocation())
    assert "none\n" == capsys.readouterr().out


def test_a_stream_is_a_document_a_line_with_json(capsys):
    for is_json in (True, False):
        found = render.stream([{"n": 1}, {"n": 2}], str, Invocation(is_json=is_json))
        assert 0 == render.show(found, Invocation(is_json=is_json))
    one, two, *plain = capsys.readouterr().out.splitlines()
    assert [{"n": 1}, {"n": 2}] == [json.loads(line)["data"] for line in (one, two)]
    assert ["{'n': 1}", "{'n': 2}"] == plain


# --------------------------------------------------------------------------------- how a run ended


def ended(state: str, **more: object) -> RunResult:
    facts = {"output": None, "error": None, "residue": (), "standing": 0, "head": "1:ab"}
    return RunResult(run_id="abc", state=state, **{**facts, **more})


@pytest.mark.parametrize(
    ("state", "wanted", "code"),
    [
        ("COMPLETED", "COMPLETED", 0),
        ("ROLLED_BACK", "COMPLETED", 4),
        ("FAILED", "COMPLETED", 5),
        ("PAUSED", "COMPLETED", 6),
        ("ROLLED_BACK", "ROLLED_BACK", 0),
        ("FAILED", "ROLLED_BACK", 5),
    ],
)
def test_the_end_of_a_run_is_the_exit_code_unless_it_is_what_was_asked_for(state, wanted, code):
    assert code == following.outcome(ended(state), wanted=wanted).exit_code


def test_what_remains_and_what_waits_is_named_with_the_next_command():
    residue = (Residue("abc/w/1/0", "w", "out.md", "changed by someone else"),)
    failed = ended("FAILED", residue=residue, error=Failure("step.timeout", "too slow"))
    assert (
        "run abc FAILED",
        "  step.timeout: too slow",
        "  remains: out.md (step w): changed by someone else",
        "  next: awe runs show abc",
    ) == following.outcome(failed).parts
    paused = following.outcome(ended("PAUSED", waiting=("hs_1",)))
    assert ("run abc PAUSED", "  next: awe approve hs_1") == paused.parts


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"kind": "step.started", "step": "a", "attempt": 1}, "a  started"),
        ({"kind": "step.started", "step": "a", "attempt": 2}, "a  started, attempt 2"),
        (
            {"kind": "step.completed", "step": "a", "attempt": 1, "dur_us": 1500},
            "a  completed in 1.5 ms",
        ),
        (
            {"kind": "step.failed", "step": "a", "attempt": 1, "err": {"code": "x", "msg": "y"}},
            "a  failed: x: y",
        ),
        (
            {"kind": "handshake.requested", "step": "a", "req": "hs_1"},
            "a  waits for a person: awe approve hs_1",
        ),
        ({"kind": "handshake.granted", "step": "a"}, None),
        ({"kind": "undo.applied", "step": "a", "effect": "r/a/1/0"}, "a  undo applied: r/a/1/0"),
        ({"kind": "run.cancel_requested"}, "cancel requested"),
        ({"kind": "run.closed"}, None),
        ({"kind": "effect.applied", "step": "a"}, None),
    ],
)
def test_progress_is_a_line_a_record_that_people_need(event, line):
    assert line == following.words(event)


# ---------------------------------------------------------------------------------------- arguments


PROPERTIES = {
    "s": {"type": "string"},
    "n": {"type": "integer"},
    "f": {"type": "number"},
    "b": {"type": "boolean"},
    "l": {"type": "array"},
    "o": {"$ref": "#/$defs/o"},
    "either": {"type": ["integer", "string"]},
    "maybe": {"type": ["integer", "null"]},
    "word": {"enum": ["on", "off"]},
    "pin": {"type": "string", "x-awe-sensitive": True},
    "deep": {"type": "object", "properties": {"token": {"type": "string", "writeOnly": True}}},
}
SCHEMA = {"type": "object", "properties": PROPERTIES, "$defs": {"o": {"type": "object"}}}
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def parsed(*words: str, workspace: Path | None = None) -> dict[str, object]:
    from pathlib import Path  # noqa: PLC0415 - a type above

    return arguments(words, None, schema=SCHEMA, workspace=workspace or Path.cwd())


@given(st.text())
def test_text_is_taken_as_it_is_written(text):
    if not text.startswith("@"):
        assert {"s": text, "either": text} == parsed(f"s={text}", f"either={text}")


@given(JSON)
def test_json_comes_through_whatever_the_schema_says(value):
    assert {"s": value} == parsed(f"s:={json.dumps(value)}")


@given(st.integers(), st.booleans(), st.lists(st.integers()), st.dictionaries(st.text(), JSON))
def test_other_types_are_read_as_the_schema_s(n, b, items, table):
    words = [f"n={n}", f"b={json.dumps(b)}", f"l={items}", f"o={json.dumps(table)}", f"f={n}"]
    assert {"n": n, "b": b, "l": items, "o": table, "f": n} == parsed(*words)


@given(st.lists(st.text()))
def test_any_words_are_read_or_refused_and_never_a_traceback(words):
    with contextlib.suppress(UsageError):
        assert len(parsed(*words)) == len(words)


def test_a_word_of_an_enum_and_a_number_that_may_be_null():
    assert {"word": "on", "maybe": 5} == parsed("word=on", "maybe=5")
    assert {"unknown": "x"} == parsed("unknown=x")


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("n=abc", "cli.argument"),
        ("n=1.5", "cli.argument_type"),
        ("b=1", "cli.argument_type"),
        ("n=NaN", "cli.argument"),
        ("no-equals", "cli.argument"),
        ("=x", "cli.argument"),
        (":=1", "cli.argument"),
        ('o:={"a": 1, "a": 2}', "cli.argument"),
        ("o:=" + "[" * 100_000, "cli.argument"),
        ("pin=1234", "cli.sensitive"),
        ('pin:="1234"', "cli.sensitive"),
        ('deep={"token": "t"}', "cli.sensitive"),
    ],
)
def test_what_cannot_be_read_or_must_not_be_seen_is_refused(word, code):
    with pytest.raises(UsageError) as refused:
        parsed(word)
    assert code == refused.value.code
    assert "1234" not in str(refused.value)


def test_a_key_given_twice_is_refused():
    with pytest.raises(UsageError, match="twice"):
        parsed("s=a", "s=b")


def test_a_value_comes_from_a_file_of_the_workspace_and_from_nowhere_else(tmp_path):
    workspace = tmp_path / "w"
    workspace.mkdir()
    (workspace / "pin.txt").write_text("1234", encoding="utf-8")
    (workspace / "raw").write_bytes(b"\xff")
    (tmp_path / "secret").write_text("x", encoding="utf-8")
    (workspace / "link").symlink_to(tmp_path / "secret")
    assert {"pin": "1234"} == parsed("pin=@pin.txt", workspace=workspace)
    for name in ("../secret", str(tmp_path / "secret"), "link", "missing", "raw"):
        with pytest.raises(UsageError):
            parsed(f"s=@{name}", workspace=workspace)


def test_input_is_one_object_from_a_file(tmp_path):
    good, yaml, bad, many = (tmp_path / name for name in ("a.json", "b.yaml", "c.json", "d.json"))
    good.write_text('{"pin": "1234"}', encoding="utf-8")
    yaml.write_text("n: 5\n", encoding="utf-8")
    bad.write_text("{", encoding="utf-8")
    many.write_text("[1]", encoding="utf-8")
    assert {"pin": "1234"} == arguments((), str(good), schema=SCHEMA, workspace=tmp_path)
    assert {"n": 5} == read_object(str(yaml))
    for file in (bad, many, tmp_path / "missing"):
        with pytest.raises(UsageError) as refused:
            read_object(str(file))
        assert "cli.input" == refused.value.code
    with pytest.raises(UsageError, match="beside it"):
        arguments(("n=1",), str(good), schema=SCHEMA, workspace=tmp_path)


@given(JSON)
def test_strict_json_reads_what_json_writes(value):
    assert value == strict_json(json.dumps(value))


def test_a_schema_that_is_none_is_still_the_contract_s_error():
    with pytest.raises(ContractError):
        Schema.compile({"type": "nothing"}, where="x")


def test_the_page_about_the_commands_is_what_they_say_themselves():
    page = [sys.executable, "docs/cli.py", "--check"]
    made = subprocess.run(page, capture_output=True, text=True, check=False)
    assert 0 == made.returncode, made.stdout + made.stderr

"""What a path may look like, and that protection cannot be spelt around."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awe_core.errors import EffectRefusedError, UsageError
from awe_core.workspace.paths import parse, shown
from awe_core.workspace.protection import Protection

if TYPE_CHECKING:
    from pathlib import Path

REFUSED = {
    "": "not empty",
    "/etc/passwd": "relative",
    "a/../b": "no component ..",
    "..": "no component ..",
    "./a": "no component .",
    ".": "no component .",
    "a//b": "no empty component",
    "a/": "slash at the end",
    "a\0b": "control",
    "a\nb": "control",
    "a\x7f": "control",
    "a\u202egpj.exe": "direction",
    "a\udc80": "UTF-8",
    "x" * 256: "255 bytes",
    "é" * 128: "255 bytes",
    "/".join(["abc"] * 1100): "4096 bytes",
    "/".join("a" * 129): "128 components",
    ".awe": "reserved",
    "a/.awe/undo": "reserved",
    ".AWE/keys": "reserved",
    ".a\u200dwe/keys": "reserved",
}
NOT_PORTABLE = [
    "a\\b",
    "a:b",
    "a.",
    "a ",
    "a<",
    'a"',
    "a|b",
    "a?",
    "a*",
    "nul",
    "COM1.txt",
    "a/aux.c",
]


@pytest.mark.parametrize(("path", "rule"), REFUSED.items())
def test_a_path_with_two_readings_is_refused_with_the_rule(path, rule):
    with pytest.raises(EffectRefusedError) as refused:
        parse(path, portable_names=False)
    assert refused.value.code == "workspace.escape"
    assert rule in str(refused.value.attributes["rule"])
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("path", NOT_PORTABLE)
def test_names_that_windows_reads_differently_are_refused_unless_lifted(path):
    with pytest.raises(EffectRefusedError):
        parse(path)
    assert tuple(path.split("/")) == parse(path, portable_names=False)


@pytest.mark.parametrize(
    "path", ["a", "a/b.c", "~", "~root/x", "%2e%2e/a", "Ä/ä", "A\u030a", "...x", "console.log"]
)
def test_nothing_is_decoded_normalised_or_expanded(path):
    assert tuple(path.split("/")) == parse(path)


def test_the_root_itself_is_named_by_a_dot_only_where_that_is_asked_for():
    assert () == parse(".", root=True)


@given(st.text(max_size=40))
def test_whatever_is_taken_is_one_plain_relative_path(text):
    try:
        parts = parse(text)
    except EffectRefusedError:
        assert shown(text).isprintable()
    else:
        assert text == "/".join(parts)
        assert not {"", ".", ".."} & set(parts)


@pytest.mark.parametrize(
    "path",
    [
        "awe.yaml",
        "AWE.YAML",
        ".git/config",
        ".GIT/Config",
        ".g\u200cit/config",
        "sub/.git/hooks/pre-commit",
        ".git/hooks",
        "conf/policy/a.json",
        "conf/policy",
        "lib/site-packages/x.py",
        "home/keys",
        "odd[1]/x",
    ],
)
def test_protected_paths_are_found_in_any_case_and_with_all_below(tmp_path: Path, path: str):
    root = tmp_path / "ws"
    root.mkdir()
    rules = ["awe.yaml", "conf/policy/**", "**/site-packages", str(root / "home"), f"{root}/odd[1]"]
    protection = Protection.of(root.resolve(), [*rules, "/elsewhere", str(tmp_path), str(root)])
    with pytest.raises(EffectRefusedError) as refused:
        protection.check(path)
    assert refused.value.code == "workspace.protected"


@pytest.mark.parametrize(
    "path", ["awe.yaml.bak", ".gitignore", ".git/HEAD", "conf/a", "odd1/x", "a"]
)
def test_what_is_not_protected_passes(tmp_path: Path, path: str):
    rules = [
        "awe.yaml",
        "conf/policy/**",
        "/elsewhere",
        str(tmp_path / "odd[1]"),
        str(tmp_path.parent),
    ]
    Protection.of(tmp_path.resolve(), rules).check(path)


def test_a_protected_path_that_could_never_match_is_refused_when_it_is_declared(tmp_path: Path):
    with pytest.raises(UsageError):
        Protection.of(tmp_path, ["./awe.yaml"])

"""The settings of a deployment: which source wins, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import pytest

from awe_core.config import (
    DEFAULTS,
    VARIABLES,
    Config,
    PolicySettings,
    RequirementSettings,
    SinkSettings,
    find_file,
    load_config,
)
from awe_core.documents import schema
from awe_core.errors import DocumentError, UsageError

FULL = """\
awe: deployment/v1
name: acme-notes
workspace: {root: work, protected: [secret/**], hardlinks: read}
home: state
trust: {root_sha256: "%s", poll: 5s}
engine: {durability: normal, limits: {threads: 3, uncommitted_bytes: 1MiB}, shutdown: 3s}
temporal: {address: "t.example:7233"}
isolation: {max_workers: 5}
confirm: [{policy: auto, cells: {a.b: ask}}, {policy: deny_all}]
handshake: {budget: {open: 1}, requirements: {high: {quorum: 3}}, people: people/all.yaml}
audit:
  level: {default: request, rules: [{when: {risk: high}, level: full}]}
  sinks: [{sink: jsonl, path: audit/, required: true}]
  max_bytes: 1GiB
  ack: {critical: A3}
undo: {keep: 0, quota: 20%%}
secrets: {provider: file, path: s.json, bind: {t: {hosts: [a.example]}}}
net: {hosts: {a.b: [x.example]}, private_allow: [10.0.0.0/8]}
programs: {git: {path: /usr/bin/git}}
config: {awe-pack-jira: {url: "https://x"}}
""" % ("ab" * 32)


def load(folder: Path, text: str | None = None, **more) -> Config:
    """Write *text* as the deployment of *folder* and resolve it."""
    if text is not None:
        (folder / "awe.yaml").write_text(text)
    more = {"flags": {}, "environ": {}, "cwd": folder, **more}
    return load_config(more.pop("path", None), **more)


def test_without_a_file_every_setting_has_its_default(tmp_path: Path) -> None:
    config = load(tmp_path)

    assert (config.file, config.name, config.home) == (None, "local", tmp_path / ".awe")
    assert config.workspace.root == tmp_path
    assert config.engine.durability == "full"
    assert (config.engine.limits.steps_per_run, config.engine.limits.run_bytes) == (
        50_000,
        64 << 20,
    )
    assert config.confirm == (PolicySettings("auto", {}),)
    assert config.handshake.requirements["critical"] == RequirementSettings(
        quorum=2, roles=(), min_assurance="session"
    )
    week = 7 * 86_400_000_000
    assert (week, None, None, "refuse") == attrs.astuple(config.undo)
    assert config.trust.root_sha256 is None
    assert {s.origin for s in config.settings} == {"default"}


def test_every_key_of_the_file_reaches_its_setting(tmp_path: Path) -> None:
    config = load(tmp_path, FULL)

    assert (config.name, config.file) == ("acme-notes", tmp_path / "awe.yaml")
    assert (config.workspace.root, config.workspace.protected) == (
        tmp_path / "work",
        ("secret/**",),
    )
    assert (config.workspace.hardlinks, config.workspace.portable_names) == ("read", True)
    assert (config.trust.root_sha256, config.trust.poll_us) == ("ab" * 32, 5_000_000)
    assert config.trust.store == tmp_path / "governance"
    assert (config.engine.durability, config.engine.shutdown_us) == ("normal", 3_000_000)
    assert (config.engine.limits.threads, config.engine.limits.uncommitted_bytes) == (3, 1 << 20)
    assert config.value("temporal") == {"address": "t.example:7233"}
    assert config.value("isolation.max_workers") == 5
    assert config.confirm == (
        PolicySettings("auto", {"cells": {"a.b": "ask"}}),
        PolicySettings("deny_all", {}),
    )
    assert config.value("handshake.budget.open") == 1
    assert config.value("handshake.budget.per_hour") == 60
    assert config.handshake.requirements["high"] == RequirementSettings(
        quorum=3, roles=(), min_assurance="session"
    )
    assert config.handshake.people == tmp_path / "people/all.yaml"
    assert config.audit.level == "request"
    assert config.value("audit.level")["rules"] == [{"when": {"risk": "high"}, "level": "full"}]
    assert config.audit.sinks == (SinkSettings("jsonl", True, {"path": "audit/"}),)  # noqa: FBT003 - the value
    assert (config.value("audit.max_bytes"), config.value("audit.ack"), config.audit.origin) == (
        "1GiB",
        {"critical": "A3"},
        "acme-notes",
    )
    assert (config.value("undo.keep"), config.value("undo.quota")) == (0, "20%")
    assert (0, None, 20, "refuse") == attrs.astuple(config.undo)
    assert config.value("secrets.path") == "s.json"
    assert config.value("secrets.bind") == {"t": {"hosts": ["a.example"]}}
    assert config.value("net.hosts") == {"a.b": ["x.example"]}
    assert config.value("net.private_allow") == ["10.0.0.0/8"]
    assert config.value("programs") == {"git": {"path": "/usr/bin/git"}}
    assert config.config == {"awe-pack-jira": {"url": "https://x"}}


def test_a_flag_beats_the_environment_and_that_the_file_and_that_the_default(
    tmp_path: Path,
) -> None:
    text = "awe: deployment/v1\nname: a\nengine: {durability: normal, effects: unsynced}\n"
    config = load(
        tmp_path,
        text,
        environ={"AWE_ENGINE_DURABILITY": "full", "AWE_ENGINE_EFFECTS": "synced"},
        flags={"engine.effects": "unsynced"},
    )

    assert (config.engine.durability, config.origin("engine.durability")) == (
        "full",
        "AWE_ENGINE_DURABILITY",
    )
    assert (config.engine.effects, config.origin("engine.effects")) == ("unsynced", "flag")
    assert config.origin("name") == "awe.yaml:2:7"
    assert config.origin("engine.commit") == "default"
    with pytest.raises(StopIteration):
        config.origin("engine.nothing")


def test_paths_start_from_where_they_were_written(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "awe.yaml").write_text("awe: deployment/v1\nname: a\nhome: state\n")

    plain = load(inner)
    by_environment = load(inner, environ={"AWE_HOME": "here", "AWE_WORKSPACE": "work"})
    by_flag = load(inner, flags={"home": "/abs"})

    assert (plain.home, plain.workspace.root) == (tmp_path / "state", tmp_path)
    assert (by_environment.home, by_environment.workspace.root) == (inner / "here", inner / "work")
    assert by_flag.home == Path("/abs")


def test_the_nearest_file_above_is_found(tmp_path: Path) -> None:
    inner = tmp_path / "a"
    inner.mkdir()
    (tmp_path / "awe.yaml").write_text("awe: deployment/v1\nname: outer\n")

    assert find_file(inner) == tmp_path / "awe.yaml"
    (inner / "awe.yaml").write_text("awe: deployment/v1\nname: inner\n")
    assert find_file(inner) == inner / "awe.yaml"


def test_a_file_is_named_by_argument_before_environment(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(f"awe: deployment/v1\nname: {name}\n")

    environ = {"AWE_CONFIG": "one.yaml"}
    assert load(tmp_path, environ=environ).name == "one"
    assert load(tmp_path, environ=environ, path=Path("two.yaml")).name == "two"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to chown")
def test_a_file_that_somebody_else_left_decides_nothing(tmp_path: Path) -> None:
    file = tmp_path / "awe.yaml"
    file.write_text("awe: deployment/v1\nname: planted\n")
    os.chown(file, 12345, 12345)

    with pytest.raises(UsageError) as caught:
        load(tmp_path)

    assert (caught.value.code, caught.value.exit_code) == ("config.foreign_file", 3)
    assert load(tmp_path, path=file).name == "planted"


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read") as caught:
        load(tmp_path, path=Path("gone.yaml"))

    assert caught.value.code == "config.unreadable"


def test_a_fault_in_the_file_is_told_by_the_name_it_was_given(tmp_path: Path) -> None:
    with pytest.raises(DocumentError) as caught:
        load(tmp_path, "awe: deployment/v1\nname: a\nengine: {durabilty: full}\n")

    assert caught.value.place == "awe.yaml:3:10"


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("AWE_ENGINE_LIMITS_THREADS", "7", "engine.limits.threads", 7),
        ("AWE_WORKSPACE_PORTABLE_NAMES", "false", "workspace.portable_names", False),
        ("AWE_UNDO_KEEP", "0", "undo.keep", 0),
        ("AWE_ENGINE_SHUTDOWN", "2s", "engine.shutdown", "2s"),
        ("AWE_AUDIT_MAX_BYTES", "5GiB", "audit.max_bytes", "5GiB"),
        ("AWE_ENGINE_COMMIT", "", "engine.commit", "auto"),
    ],
)
def test_the_environment_is_read_by_the_type_of_the_setting(
    tmp_path: Path, variable: str, text: str, key: str, value: object
) -> None:
    config = load(tmp_path, environ={variable: text})

    assert value == next(s.value for s in config.settings if s.key == key)


@pytest.mark.parametrize(
    ("sources", "code", "hint"),
    [
        (
            {"environ": {"AWE_ENGINE_DURABILTY": "full"}},
            "config.unknown_variable",
            "write AWE_ENGINE_DURABILITY",
        ),
        (
            {"environ": {"AWE_NET_HOSTS": "{}"}},
            "config.unknown_variable",
            "set it in awe.yaml, or unset the variable",
        ),
        (
            {"flags": {"engine.durabilty": "full"}},
            "config.unknown_setting",
            "write engine.durability",
        ),
        ({"flags": {"programs": {}}}, "config.unknown_setting", "set it in awe.yaml"),
        (
            {"environ": {"AWE_ENGINE_DURABILITY": "none"}},
            "config.value",
            "give what is expected; all settings are listed by awe config show",
        ),
        (
            {"flags": {"engine.limits.threads": "[1"}},
            "config.value",
            "give what is expected; all settings are listed by awe config show",
        ),
        (
            {"flags": {"engine.limits.threads": True}},
            "config.value",
            "give what is expected; all settings are listed by awe config show",
        ),
    ],
)
def test_what_no_setting_takes_is_refused(
    tmp_path: Path, sources: dict[str, dict[str, object]], code: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, **sources)

    assert (caught.value.code, caught.value.hint) == (code, hint)


def test_other_variables_of_ours_and_secrets_are_left_alone(tmp_path: Path) -> None:
    load(tmp_path, environ={"AWE_SECRET_TOKEN": "x", "AWE_DEBUG": "1", "PATH": "/bin"})


def test_settings_cover_the_schema_of_the_file() -> None:
    def leaves(table, prefix: str = "") -> set[str]:
        found = set()
        for key, part in table["properties"].items():
            known = f"{prefix}{key}"
            inner = next((p for p in (part, *part.get("oneOf", ())) if "properties" in p), None)
            is_section = inner is not None and known not in DEFAULTS
            found |= leaves(inner, f"{known}.") if is_section else {known}
        return found

    assert set(DEFAULTS) == leaves(schema("deployment")) - {"awe"}


def test_no_two_settings_share_a_variable() -> None:
    assert len(set(VARIABLES.values())) == len(VARIABLES) - 1  # the workspace has a short one too

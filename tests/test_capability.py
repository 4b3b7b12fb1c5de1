"""Contracts as values."""

from __future__ import annotations

import pytest

from awe_core.capability import CapabilitySpec, Confirm, EffectDeclaration, Risk


def _spec(*effects: EffectDeclaration, version: str = "1.2.0") -> CapabilitySpec:
    return CapabilitySpec(
        id="fs.write_text",
        version=version,
        summary="Write a file.",
        risk=Risk.LOW,
        effects=effects,
        input={"type": "object"},
        output={},
        handler="m:f",
    )


def test_risks_are_ordered_from_low_to_critical() -> None:
    assert sorted(Risk, reverse=True) == [Risk.CRITICAL, Risk.HIGH, Risk.MEDIUM, Risk.LOW]
    assert Risk.MEDIUM < Risk.HIGH <= Risk.HIGH
    assert Risk.CRITICAL >= Risk.HIGH
    assert not Risk.CRITICAL > Risk.CRITICAL


def test_a_risk_compares_with_its_word() -> None:
    assert Risk.MEDIUM > "low"
    with pytest.raises(ValueError, match="absurd"):
        assert Risk.MEDIUM > "absurd"


def test_always_is_tighter_than_policy_and_policy_than_never() -> None:
    assert Confirm.NEVER < Confirm.POLICY < Confirm.ALWAYS


def test_references_pin_the_major_version() -> None:
    spec = _spec(version="12.3.4")

    assert (spec.major, spec.reference, spec.full_reference) == (
        12,
        "fs.write_text@12",
        "fs.write_text@12.3.4",
    )


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("fs.read", {"paths": ["a"]}, False),
        ("fs.write", {"paths": ["a"]}, True),
        ("secret.use", {"names": ["t"]}, False),
        ("net.http", {"methods": ["GET", "HEAD", "OPTIONS"]}, False),
        ("net.http", {"methods": ["GET", "POST"]}, True),
        ("process.exec", {"outputs": []}, False),
        ("process.exec", {"outputs": ["out/**"]}, True),
        ("queue.publish", {}, True),
    ],
)
def test_what_changes_the_world_follows_from_kind_and_fields(
    kind: str, fields: dict[str, object], *, expected: bool
) -> None:
    assert expected is _spec(EffectDeclaration(kind, fields)).changes_world


def test_a_capability_without_effects_changes_nothing() -> None:
    assert not _spec().changes_world


def test_only_files_and_outputs_of_processes_are_captured() -> None:
    captured = [
        k
        for k in ("fs.write", "fs.delete", "process.exec", "net.http", "x.y")
        if EffectDeclaration(k, {}).is_captured
    ]

    assert captured == ["fs.write", "fs.delete", "process.exec"]

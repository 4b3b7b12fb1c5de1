"""What tests of AWE, of packs and of plugins are made of; shipped, so that partners have it too.

=====================  ===========================================================================
`…Conformance`         the suites of `awe_core.testing.conformance`, to be subclassed
`Deployment`           a development deployment made from wheels, with its people and their keys
`World`                a workspace with canaries around it, and snapshots that show a difference
`bench`, `Bench`       a runtime over a world: calls, approvals, taking back, contract examples
`installed_contracts`  what an installed pack's contracts say; nothing of it is imported
`cases`, `Case`        their examples, one by one
`me`                   the person who runs this process; in a test its own approver
=====================  ===========================================================================

A pack's whole suite of examples is then::

    CASES = cases(installed_contracts("awe-pack-jira"))

    @pytest.fixture(scope="session")
    def jira(tmp_path_factory):
        with bench(tmp_path_factory.mktemp("jira"), "awe-pack-jira") as found:
            yield found

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_an_example_holds(jira, case):
        assert () == jira.problems(case)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from awe_core.testing.conformance import (
        AuditSinkConformance,
        ConfirmationPolicyConformance,
        PackConformance,
        UndoStrategyConformance,
    )
    from awe_core.testing.deployment import Deployment, me
    from awe_core.testing.examples import Bench, Case, bench, cases, installed_contracts
    from awe_core.testing.world import Entry, Snapshot, World

_HOMES = {
    "AuditSinkConformance": "conformance",
    "Bench": "examples",
    "Case": "examples",
    "ConfirmationPolicyConformance": "conformance",
    "Deployment": "deployment",
    "Entry": "world",
    "PackConformance": "conformance",
    "Snapshot": "world",
    "UndoStrategyConformance": "conformance",
    "World": "world",
    "bench": "examples",
    "cases": "examples",
    "installed_contracts": "examples",
    "me": "deployment",
}

__all__ = [
    "AuditSinkConformance",
    "Bench",
    "Case",
    "ConfirmationPolicyConformance",
    "Deployment",
    "Entry",
    "PackConformance",
    "Snapshot",
    "UndoStrategyConformance",
    "World",
    "bench",
    "cases",
    "installed_contracts",
    "me",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: pytest loads this package in every suite."""
    if name not in _HOMES:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"awe_core.testing.{_HOMES[name]}"), name)

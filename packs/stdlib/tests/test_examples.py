"""The examples of the installed contracts, each run by a real runtime and taken back."""

from __future__ import annotations

import pytest

from awe_core.testing import cases, installed_contracts

CONTRACTS = installed_contracts("awe-pack-stdlib")


@pytest.mark.parametrize("case", cases(CONTRACTS), ids=str)
def test_an_example_holds(stdlib, case):
    assert () == stdlib.problems(case)


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda found: found.id)
def test_a_contract_shows_a_success_and_every_error_it_documents(contract):
    outcomes = [example.outcome for example in contract.examples]
    codes = {outcome.code for outcome in outcomes if hasattr(outcome, "code")}
    assert set(contract.errors) <= codes
    assert contract.id == "flow.fail" or len(codes) < len(outcomes)

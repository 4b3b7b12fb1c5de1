"""The examples of the installed contracts, each run by a real runtime and taken back."""

from __future__ import annotations

import pytest

from awe_core.capability import ExampleError
from awe_core.testing import cases, installed_contracts

CONTRACTS = installed_contracts("awe-pack-stdlib")

#: Their examples would be pages long; test_text.py has them.
TOO_LONG_TO_SHOW = {("text.replace", "too_large"), ("text.split", "too_many_parts")}


@pytest.mark.parametrize("case", cases(CONTRACTS), ids=str)
def test_an_example_holds(stdlib, case):
    assert () == stdlib.problems(case)


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda found: found.id)
def test_a_contract_shows_a_success_and_every_error_it_documents(contract):
    outcomes = [example.outcome for example in contract.examples]
    shown = {outcome.code for outcome in outcomes if isinstance(outcome, ExampleError)}
    documented = {code for code in contract.errors if (contract.id, code) not in TOO_LONG_TO_SHOW}
    assert documented <= shown
    assert contract.id == "flow.fail" or len(outcomes) > len(shown)


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda found: found.id)
def test_every_input_is_described_and_every_text_is_bounded(contract):
    for name, schema in contract.input["properties"].items():
        assert schema.get("description"), name
        is_text = schema.get("type") == "string"
        is_bounded = {"maxLength", "enum", "pattern"} & schema.keys()
        assert not is_text or is_bounded or schema.get("format") == "workspace-path", name

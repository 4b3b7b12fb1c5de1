"""Asking distributions what they offer."""
# ruff: noqa: ARG001, ARG002 - what is implemented here has the arguments of its protocol

from __future__ import annotations

import sys
import types

import pytest

from awe_core.errors import PackError
from awe_core.hookspecs import hookimpl
from awe_core.plugins import HOOKS, Plugins


class Policy:
    name = "calm"
    version = "1.0.0"
    is_pure = True

    def judge(self, request, facts):
        return None


class Sink:
    name = "jar"
    acknowledges = True

    def open(self, log):
        return 0

    def write(self, batch):
        return 0

    def checkpoint(self, size, note):
        return None

    def close(self, timeout_s):
        return None


class Strategy:
    name = "put back"
    timeout_us = 1

    def inspect(self, record, world):
        return "applied"

    def undo(self, record, world, key):
        return None


def module(**functions):
    made = types.ModuleType("made")
    for name, function in functions.items():
        setattr(made, name, function)
    return made


def offering(hook, *objects, **options):
    """A module whose *hook* answers *objects*."""

    def implementation(config):
        return objects

    implementation.__name__ = hook
    return module(**{hook: hookimpl(implementation, **options)})


def code_of(caught):
    return caught.value.code


def test_a_granted_hook_is_asked_and_its_answers_carry_the_distribution():
    plugins, policy = Plugins(), Policy()
    plugins.register(
        offering("awe_confirmation_policies", policy),
        distribution="awe-calm",
        hooks=["awe_confirmation_policies"],
    )
    offers = plugins.confirmation_policies({})
    assert (("awe-calm", policy),) == offers.found
    assert offers.set_aside == ()


def test_a_skill_pack_that_answers_the_handshake_is_refused_and_nothing_of_it_is_registered():
    asked = []

    @hookimpl
    def awe_capabilities():
        asked.append("capabilities")
        return ()

    @hookimpl
    def awe_confirmation_policies(config):
        return [Policy()]

    plugins = Plugins()
    bad = module(
        awe_capabilities=awe_capabilities, awe_confirmation_policies=awe_confirmation_policies
    )
    with pytest.raises(PackError) as caught:
        plugins.register(bad, distribution="awe-pack-x", hooks=["awe_capabilities"])
    assert code_of(caught) == "pack.hook_not_granted"
    assert "awe_confirmation_policies" in str(caught.value)
    assert plugins.capabilities("awe-pack-x") == ()
    assert plugins.confirmation_policies({}).found == ()
    assert asked == []


def test_a_hook_under_another_function_name_is_still_that_hook():
    @hookimpl(specname="awe_confirmation_policies")
    def awe_capabilities(config):
        return [Policy()]

    with pytest.raises(PackError) as caught:
        Plugins().register(
            module(awe_capabilities=awe_capabilities),
            distribution="awe-pack-x",
            hooks=["awe_capabilities"],
        )
    assert code_of(caught) == "pack.hook_not_granted"


def test_a_granted_hook_under_another_function_name_is_asked():
    @hookimpl(specname="awe_capabilities")
    def offer():
        return ["one"]

    plugins = Plugins()
    plugins.register(module(offer=offer), distribution="awe-pack-x", hooks=["awe_capabilities"])
    assert plugins.capabilities("awe-pack-x") == ("one",)
    assert plugins.implements("awe-pack-x", "awe_capabilities")
    assert not plugins.implements("awe-pack-x", "awe_audit_sinks")


def test_only_what_was_seen_when_it_was_looked_through_is_registered():
    class Shifting:
        """Shows one implementation to the first look and another one to the second."""

        def __init__(self):
            self.looks = 0

        def __dir__(self):
            self.looks += 1
            return ["awe_capabilities"] if self.looks == 1 else ["awe_confirmation_policies"]

        @hookimpl
        def awe_capabilities(self):
            return ["skill"]

        @hookimpl
        def awe_confirmation_policies(self, config):
            return [Policy()]

    plugins = Plugins()
    plugins.register(Shifting(), distribution="awe-pack-x", hooks=["awe_capabilities"])
    assert plugins.capabilities("awe-pack-x") == ("skill",)
    assert plugins.confirmation_policies({}).found == ()


@pytest.mark.parametrize("kind", ["wrapper", "hookwrapper"])
def test_nobody_wraps_a_policy_hook(kind):
    @hookimpl(**{kind: True})
    def awe_confirmation_policies(config):
        return (yield)

    with pytest.raises(PackError) as caught:
        Plugins().register(
            module(awe_confirmation_policies=awe_confirmation_policies),
            distribution="awe-wrap",
            hooks=HOOKS,
        )
    assert code_of(caught) == "pack.hook_wrapper"


def test_a_wrapper_of_another_hook_sees_its_own_distribution_only():
    sink = Sink()

    @hookimpl(wrapper=True)
    def awe_audit_sinks(config):
        yield
        return []

    plugins = Plugins()
    plugins.register(
        offering("awe_audit_sinks", sink), distribution="awe-jar", hooks=["awe_audit_sinks"]
    )
    plugins.register(
        module(awe_audit_sinks=awe_audit_sinks), distribution="awe-a", hooks=["awe_audit_sinks"]
    )
    assert (("awe-jar", sink),) == plugins.audit_sinks({}).found


def test_one_that_raises_is_set_aside_and_the_others_are_asked():
    @hookimpl
    def awe_audit_sinks(config):
        sys.exit("off with it")

    sink = Sink()
    plugins = Plugins()
    plugins.register(
        module(awe_audit_sinks=awe_audit_sinks), distribution="awe-a", hooks=["awe_audit_sinks"]
    )
    plugins.register(
        offering("awe_audit_sinks", sink), distribution="awe-b", hooks=["awe_audit_sinks"]
    )
    offers = plugins.audit_sinks({})
    assert (("awe-b", sink),) == offers.found
    assert [(one.distribution, one.error.code) for one in offers.set_aside] == [
        ("awe-a", "pack.broken")
    ]
    assert "SystemExit: off with it" in str(offers.set_aside[0].error)


def test_an_answer_of_another_kind_sets_its_distribution_aside():
    plugins = Plugins()
    plugins.register(
        offering("awe_undo_strategies", Strategy(), object()),
        distribution="awe-odd",
        hooks=["awe_undo_strategies"],
    )
    offers = plugins.undo_strategies({})
    assert offers.found == ()
    assert "object is not a UndoStrategy" in str(offers.set_aside[0].error)


def test_each_distribution_sees_its_own_table_and_cannot_change_it_for_others():
    seen = []

    @hookimpl
    def awe_redactors(config):
        seen.append(dict(config))
        config["hosts"].append("evil.example")
        return ()

    plugins = Plugins()
    plugins.register(
        module(awe_redactors=awe_redactors), distribution="awe-r", hooks=["awe_redactors"]
    )
    configs = {"awe-r": {"hosts": ["a.example"]}, "awe-other": {"hosts": []}}
    plugins.redactors(configs)
    assert seen == [{"hosts": ["a.example", "evil.example"]}]
    assert configs == {"awe-r": {"hosts": ["a.example"]}, "awe-other": {"hosts": []}}


def test_answers_come_by_distribution_name_whatever_the_order_of_registration():
    plugins = Plugins()
    for name in ("awe-c", "awe-a", "awe-b"):
        plugins.register(offering("awe_redactors", name), distribution=name, hooks=HOOKS)
    assert [one for _, one in plugins.redactors({}).found] == ["awe-a", "awe-b", "awe-c"]


def test_an_argument_the_spec_does_not_have_is_a_broken_pack():
    @hookimpl
    def awe_executors(config, secrets):
        return ()

    plugins = Plugins()
    with pytest.raises(PackError) as caught:
        plugins.register(
            module(awe_executors=awe_executors), distribution="awe-e", hooks=["awe_executors"]
        )
    assert code_of(caught) == "pack.broken"
    assert plugins.executors({}).set_aside == ()


def test_a_misspelt_hook_is_refused_and_an_optional_newer_one_is_not():
    @hookimpl
    def awe_capabilites():
        return ()

    @hookimpl(optionalhook=True)
    def awe_of_tomorrow():
        return ()

    granted = ["awe_capabilites", "awe_of_tomorrow"]
    with pytest.raises(PackError) as caught:
        Plugins().register(
            module(awe_capabilites=awe_capabilites), distribution="awe-p", hooks=granted
        )
    assert code_of(caught) == "pack.hook_not_granted"
    Plugins().register(module(awe_of_tomorrow=awe_of_tomorrow), distribution="awe-p", hooks=granted)


def test_two_modules_of_one_distribution_are_both_asked_until_it_is_unregistered():
    plugins = Plugins()
    for name in ("one", "two"):
        plugins.register(offering("awe_effect_channels", name), distribution="awe-x", hooks=HOOKS)
    assert [one for _, one in plugins.effect_channels({}).found] == ["one", "two"]
    plugins.unregister("awe-x")
    assert plugins.effect_channels({}).found == ()


def test_commands_and_sources_are_asked_like_the_rest():
    @hookimpl
    def awe_cli_commands():
        return ["command"]

    plugins = Plugins()
    plugins.register(module(awe_cli_commands=awe_cli_commands), distribution="awe-c", hooks=HOOKS)
    plugins.register(offering("awe_proposal_sources", "src"), distribution="awe-s", hooks=HOOKS)
    plugins.register(offering("awe_executors", "cell"), distribution="awe-e", hooks=HOOKS)
    assert plugins.cli_commands().found == (("awe-c", "command"),)
    assert plugins.proposal_sources({}).found == (("awe-s", "src"),)
    assert plugins.executors({}).found == (("awe-e", "cell"),)


def test_none_is_the_same_as_nothing():
    @hookimpl
    def awe_capabilities():
        return None

    plugins = Plugins()
    plugins.register(module(awe_capabilities=awe_capabilities), distribution="awe-n", hooks=HOOKS)
    assert plugins.capabilities("awe-n") == ()

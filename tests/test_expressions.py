"""`awe_core.expressions`: what it reaches is known before; hostile text costs little."""

from __future__ import annotations

import json
from collections import ChainMap

import jmespath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awe_core.errors import ExpressionError
from awe_core.expressions import Expression, Reference, Template

ROOTS = frozenset({"inputs", "steps", "item", "index", "run"})
SCOPE = {
    "inputs": {
        "source": "a.md",
        "n": 3,
        "half": 0.5,
        "on": True,
        "none": None,
        "files": ["x", "y", "z"],
        "rows": [{"k": 2, "v": "b"}, {"k": 1, "v": "a"}],
        "odd-name": "odd",
        "text": "a } and `{` and '",
        "map": {"b": [1, {"c": None}], "a": "é"},
    },
    "steps": {"read": {"output": {"text": "hi", "lines": ["p", "q"]}}},
    "item": "it",
    "index": 0,
}


def template(value, roots=ROOTS):
    return Template.compile(value, where="w.yaml: step a", roots=roots)


def evaluated(value, scope=SCOPE):
    return template(value).evaluate(scope)


def refused(code, value, roots=ROOTS):
    with pytest.raises(ExpressionError) as caught:
        template(value, roots)
    assert caught.value.code == code
    assert str(caught.value).startswith("w.yaml: step a")
    return caught.value


def failed(value, scope=SCOPE):
    with pytest.raises(ExpressionError) as caught:
        evaluated(value, scope)
    assert caught.value.code == "expression.failed"
    return caught.value


def reached(text):
    return [str(reference) for reference in template(text).references]


# --- values and text -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${inputs.n}", 3),
        ("${inputs.on}", True),
        ("${inputs.none}", None),
        ("${inputs.files}", ["x", "y", "z"]),
        ("${ inputs.map.b[1] }", {"c": None}),
        ("${inputs.files[-1]}", "z"),
        ("${inputs.files[3]}", None),
        ("${inputs.files[-4]}", None),
        ("${inputs.files.x}", None),
        ("${inputs.source[0]}", None),
        ("${inputs.source.length}", None),
        ("${inputs.absent.deeper[2].still}", None),
        ("${run.id}", None),
        ('${inputs."odd-name"}', "odd"),
        ("${length(steps.read.output.text) > `0`}", True),
        ("${inputs.rows[?k == `1`].v | [0]}", "a"),
        ("${sort_by(inputs.rows, &k)[*].v}", ["a", "b"]),
        ("${{a: inputs.n, b: {c: index}}}", {"a": 3, "b": {"c": 0}}),
        ("${inputs.text == 'a } and `{` and \\''}", True),
        ('${{"}": `"{\\"}"`}}', {"}": '{"}'}),
        ("${join(', ', inputs.files)}", "x, y, z"),
        ("${inputs.files[::2]}", ["x", "z"]),
        ('${`[[1], "x", null]`[0]}', [1]),
        ('${`{"type": 1, "children": 5}`.type}', 1),
    ],
)
def test_a_whole_expression_keeps_the_type_of_its_result(text, expected):
    assert evaluated(text) == expected
    assert type(evaluated(text)) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# ${inputs.source}", "# a.md"),
        ("${inputs.n}/${inputs.half}", "3/0.5"),
        ("${inputs.on} ${inputs.none}", "true null"),
        ("${inputs.map}!", '{"a":"é","b":[1,{"c":null}]}!'),
        ("${item}${item}", "itit"),
        ("$${inputs.n}", "${inputs.n}"),
        ("a $${b} ${item}$${c}", "a ${b} it${c}"),
        ("$$${item}", "$${item}"),
        ("$ {} $} $item", "$ {} $} $item"),
        ("", ""),
        ("ends in $", "ends in $"),
        ("${item}}", "it}"),
    ],
)
def test_inside_a_longer_string_a_result_is_rendered(text, expected):
    assert evaluated(text) == expected


def test_any_json_value_is_a_template():
    value = {"p": ["${item}", 1, None, {"${key}": "${index}"}], "q": 0.5, "t": ("${item}",)}
    assert evaluated(value) == {"p": ["it", 1, None, {"${key}": 0}], "q": 0.5, "t": ["it"]}
    assert template(value).is_constant is False
    assert template({"a": ["x", "$${y}"]}).is_constant is True
    assert evaluated({"a": ["x", "$${y}"]}) == {"a": ["x", "${y}"]}
    assert template("${`[1]`}").is_constant is True


def test_every_evaluation_gives_fresh_containers_of_the_template():
    compiled = template({"a": [1], "b": {}})
    compiled.evaluate({})["a"].append(2)
    assert compiled.evaluate({}) == {"a": [1], "b": {}}


def test_a_template_does_not_follow_later_changes_of_what_it_was_made_of():
    source = {"a": ["${item}"]}
    compiled = template(source)
    source["a"].append("late")
    assert compiled.evaluate(SCOPE) == {"a": ["it"]}


def test_the_scope_may_be_any_mapping():
    assert evaluated("${item} ${length(item)}", ChainMap({}, SCOPE)) == "it 2"


@given(st.text(max_size=30))
def test_text_without_an_expression_stays_as_it_is_and_can_always_be_escaped(text):
    escaped = text.replace("${", "$${")
    assert evaluated(escaped) == text
    if "${" not in text:
        assert evaluated(text) == text


NAMES = st.sampled_from(["inputs", "a", "b", "files"])
STEPS = st.lists(NAMES.map(lambda name: f".{name}") | st.integers(-3, 3).map(lambda n: f"[{n}]"))
TREES = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=10,
)


@given(STEPS, TREES)
def test_plain_paths_are_walked_as_jmespath_walks_them(steps, tree):
    path = "inputs" + "".join(steps)
    scope = {"inputs": tree}
    assert evaluated(f"${{{path}}}", scope) == jmespath.search(path, scope)


# --- references ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${steps.read.output.text}", ["steps.read.output.text"]),
        ("${steps.read.output.lines[0].a}", ["steps.read.output.lines[0].a"]),
        ("${steps.*.output}", ["steps"]),
        ("${steps.read.output.lines[*].a}", ["steps.read.output.lines"]),
        ("${steps.read.output.lines[?a == b].c}", ["steps.read.output.lines"]),
        ("${steps.read.output.lines[].a}", ["steps.read.output.lines"]),
        ("${steps.read.output.lines[1:]}", ["steps.read.output.lines"]),
        ("${steps | read.output}", ["steps.read.output"]),
        ("${steps.read | [output, @]}", ["steps.read.output", "steps.read"]),
        ("${steps.[a.output, b.output]}", ["steps.a.output", "steps.b.output"]),
        ("${steps.{x: a.output, y: b}}", ["steps.a.output", "steps.b"]),
        ("${(steps.a.output || steps.b.output).c}", ["steps.a.output", "steps.b.output"]),
        ("${!item && index > `1`}", ["item", "index"]),
        ("${length(steps.a.output)}", ["steps.a.output"]),
        ("${sort_by(inputs.rows, &k)[0].v}", ["inputs.rows"]),
        ("${map(&[@, a], inputs.rows)}", ["inputs.rows"]),
        ("${merge(inputs, steps.a.output)}", ["inputs", "steps.a.output"]),
        ("${{inputs: item}.inputs}", ["item"]),
        ("${'steps.read'}", []),
        ("${item} ${item} ${index}", ["item", "index"]),
    ],
)
def test_every_use_of_a_root_is_a_reference(text, expected):
    assert reached(text) == expected


def test_references_are_values_with_known_names_and_indices():
    (reference,) = template("${steps.read.output[2]}").references
    assert reference == Reference("steps", ("read", "output", 2))


@given(
    st.sampled_from(
        [
            "steps.a.x || inputs.a",
            "steps.*.x | [0]",
            "merge(steps.a, inputs.b)",
            "map(&x, values(steps))",
            "[steps.a, inputs][?@ != `null`]",
            "steps | [a, b.x]",
            "sort_by([steps.b], &x)[0] && inputs.a",
        ]
    ),
    st.dictionaries(st.sampled_from("ab"), st.dictionaries(st.just("x"), st.integers(0, 2))),
    TREES,
)
def test_what_is_not_referenced_cannot_change_the_result(text, steps, other):
    compiled = template(f"${{{text}}}")
    scope = {"steps": steps, "inputs": {"a": 1, "b": {}}}
    used = {reference.root for reference in compiled.references}
    changed = {name: value if name in used else other for name, value in scope.items()}
    changed |= {"item": other, "run": other}
    if "steps" in used and all(reference.path for reference in compiled.references):
        names = {reference.path[0] for reference in compiled.references}
        changed["steps"] = {**scope["steps"], **({} if "b" in names else {"b": {"x": 9}})}
    assert outcome(compiled, changed) == outcome(compiled, scope)


def outcome(compiled, scope):
    try:
        return compiled.evaluate(scope)
    except ExpressionError as error:
        return str(error)


@pytest.mark.parametrize("text", ["${@}", "${*}", "${length(@)}", "${*.x}", "${[::2]}", "${[@]}"])
def test_the_roots_as_a_whole_cannot_be_taken(text):
    assert "all roots at once" in str(refused("expression.syntax", text))
    assert refused("expression.unknown_root", "${[0]}").attributes["root"] == "0"


def test_an_unknown_root_is_refused_with_the_nearest_name():
    error = refused("expression.unknown_root", {"with": ["${input.path}"]})
    assert str(error) == "w.yaml: step a.with[0]: there is no input to refer to"
    assert error.hint == "write inputs"
    assert "known here: index, inputs, item, run, steps" in error.details
    nothing = refused("expression.unknown_root", "${zzz}", frozenset({"a", "b"}))
    assert nothing.hint == "write a, b"


def test_each_expression_of_a_template_says_where_it_stands():
    compiled = template({"a": ["x ${item}", "${index}"]})
    assert [(at.path, at.is_whole, at.expression.text) for at in compiled.placed] == [
        (("a", 0), False, "item"),
        (("a", 1), True, "index"),
    ]
    assert compiled.placed[1].expression.where == "w.yaml: step a.a[1]"
    assert compiled.placed[1].expression.ast == {
        "type": "field",
        "children": [],
        "value": "index",
    }


# --- single expressions ----------------------------------------------------------------------


def test_a_single_expression_is_one_whole_expression():
    compiled = Expression.compile("${index == `0`}", where="when", roots=ROOTS)
    assert compiled.evaluate(SCOPE) is True
    assert compiled.references == (Reference("index"),)
    for text in ["index == `0`", "", "x ${item}", "${item}${item}", "$${item}"]:
        with pytest.raises(ExpressionError, match=r"one whole \$\{…\} is expected here"):
            Expression.compile(text, where="when", roots=ROOTS)


# --- what is refused before it runs ----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("${item", "its closing brace is missing"),
        ("a ${{b: item}", "its closing brace is missing"),
        ("${item == 'x}", "a ' is never closed"),
        ('${"item}', 'a " is never closed'),
        ("${`1}", "a ` is never closed"),
        ("${item == `foo`}", "what stands in backticks is JSON"),
        ("${`NaN`}", "what stands in backticks is JSON"),
        ("${`" + "[" * 3000 + "`}", "what stands in backticks is JSON"),
        ("${}", "it is empty"),
        ("${item.}", "it ends too early"),
        ("${item[}", "cannot stand at character"),
        ("${item #}", "'#' cannot stand at character 5"),
        ("${item ]}", "']' cannot stand at character 5"),
        ("${lenght(item)}", "there is no function lenght(); did you mean length()?"),
        ("${zzzzzzz(item)}", "there is no function zzzzzzz()"),
        ("${length()}", "length() takes 1 arguments, 0 are given"),
        ("${length(item, item)}", "length() takes 1 arguments, 2 are given"),
        ("${merge()}", "merge() takes 1 or more arguments, 0 are given"),
        ("${&item}", "'&' stands only where a function takes an expression"),
        ("${type(&item)}", "'&' stands only where a function takes an expression"),
        ("${sort_by(&item, &item)}", "'&' stands only where a function takes an expression"),
        ("${inputs.files[::0]}", "the step of a slice cannot be 0"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(text, why):
    assert why in str(refused("expression.syntax", text))


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("${" + "a" * 5000 + "}", "4096 characters"),
        ("${" + "{a:" * 3000 + "}", "4096 characters"),
        ("${" + "!" * 4000 + "item}", "64 levels"),
        ("${" + "(" * 2000 + "item" + ")" * 2000 + "}", "64 levels"),
        ("${" + "[" * 70 + "item" + "]" * 70 + "}", "64 levels"),
        ("${" + "item|" * 70 + "item}", "64 levels"),
        ("${item" + "[*].a" * 200 + "}", "64 levels"),
        ("${`" + "[" * 100 + "]" * 100 + "`}", "64 levels"),
        ('${`{"a":' + "[" * 100 + "]" * 100 + "}`}", "64 levels"),
        ("${item" + " | [@, @]" * 11 + "}", "growth by 1024"),
        ("${item" + ".{a: @, b: @}" * 11 + "}", "growth by 1024"),
        ("${" + "to_string(" * 11 + "item" + ")" * 11 + "}", "growth by 1024"),
        ("${" + "map(&[@, @, @, @], " * 6 + "inputs.files" + ")" * 6 + "}", "growth by 1024"),
    ],
)
def test_hostile_expressions_meet_a_limit_and_nothing_worse(text, limit):
    assert refused("expression.limit", text).attributes["limit"] == limit


def test_a_template_nests_only_so_deep():
    deep = "${item}"
    for _ in range(10_000):
        deep = [deep]
    refused("expression.limit", deep)


def test_a_long_expression_is_cut_in_the_message():
    error = refused("expression.syntax", "${" + "item || " * 200 + "}")
    assert len(str(error)) < 250


@given(st.text("${}[]()'\"`\\|&!?*@.,:0a ", max_size=40))
def test_any_text_compiles_or_is_refused(text):
    try:
        compiled = template(text, frozenset({"a"}))
        json.dumps(compiled.evaluate({"a": {"a": [0, "a"]}}))
    except ExpressionError:
        pass


# --- what fails when it runs -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("${length(inputs.n)}", "length() takes string, array, object, found number"),
        ("x ${abs(inputs.source)}", "abs() takes number, found string"),
        ("${to_number('nan')}", "the result is not a finite number"),
        ("${to_number('-Infinity')}", "the result is not a finite number"),
        ("${inputs.source > `1`}", "a value of a kind it cannot take (TypeError)"),
        ("${sum(inputs.rows[*].v)}", "sum() takes array-number, found string"),
    ],
)
def test_a_failure_names_types_and_never_values(text, why):
    error = failed(text)
    assert error.attributes["why"] == why
    assert "a.md" not in str(error)


def test_join_has_a_limit_since_its_result_is_a_product():
    scope = {"inputs": {"glue": "g" * 100_000, "parts": ["p"] * 1000}}
    assert "join()" in str(failed("${join(inputs.glue, inputs.parts)}", scope))


def test_what_is_nested_too_deeply_for_a_function_fails_and_does_not_crash():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    scope = {"inputs": {"deep": deep}}
    why = "the value is nested too deeply"
    assert failed("${to_string(inputs.deep)}", scope).attributes["why"] == why
    assert failed("x ${inputs.deep}", scope).attributes["why"].endswith("written as text")


@pytest.mark.parametrize("value", [float("nan"), {"a": object()}, {1: 2, "a": 3}])
def test_what_is_not_json_cannot_be_rendered(value):
    assert "written as text" in str(failed("x ${inputs}", {"inputs": value}))


def test_keys_that_cannot_be_ordered_fail():
    error = failed("${sort_by(inputs.rows, &k)}", {"inputs": {"rows": [{"k": 1}, {"k": "a"}]}})
    assert error.attributes["why"] == "sort_by() takes number, found string"

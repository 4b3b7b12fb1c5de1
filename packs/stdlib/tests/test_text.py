"""``text.*`` against strangers: their templates, patterns and very long texts."""

from __future__ import annotations

import re
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

TEXTS = st.text(st.sampled_from("ab,\n é😀"), max_size=30)


# ---- templates ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("template", "text"),
    [
        (
            "{% set x = namespace(n=0) %}{% for i in (1, 5) %}"  # noqa: ISC004
            "{% set x.n = x.n + i %}{% endfor %}{{ x.n }}",
            "6",
        ),
        (
            "{% for k, v in d.items() %}{{ k }}={{ v }}{{ ';' if not loop.last }}{% endfor %}",
            "b=1;a=2",
        ),
        ("{{ d | dictsort }} {{ d | tojson }}", "[('a', 2), ('b', 1)] {\"a\": 2, \"b\": 1}"),
        ("{% macro tag(x) %}<{{ x }}>{% endmacro %}{{ tag(1) ~ tag('x') }}", "<1><x>"),
        ("{% for x in tree recursive %}{{ x.n }}{{ loop(x.c) }}{% endfor %}", "12"),
        (
            "{{ '%05.2f' | format(pi) }} {{ '%s-%s' % (1, 'a') }} {{ pi | round(1) }}",
            "03.14 1-a 3.1",
        ),
        ("{{ words | map('upper') | join('-') }} {{ words | sort | first }}", "B-A a"),
        ("{{ people | join(', ', attribute='name') }} {{ people | sum('age') }}", "Ada, Bo 3"),
        ("{{ people | selectattr('age', 'gt', 1) | map(attribute='name') | list }}", "['Bo']"),
        ("{{ 'a\nb' | indent(2, first=True) }} {{ 'aXa' | replace('a', '-', 1) }}", "  a\n  b -Xa"),
        (
            "{{ 'a,b'.split(',')[::-1] }} {{ nothing | default([]) }} {{ none is none }}",
            "['b', 'a'] [] True",
        ),
        (
            "{{ words * 2 }} {{ 2 ** 10 }} {{ '=' * 5 }} {{ [1] + [2] }}",
            "['b', 'a', 'b', 'a'] 1024 ===== [1, 2]",
        ),
        ("{% filter upper %}a{% endfilter %}{% set b %}c{% endset %}{{ b }}", "Ac"),
        ("{% autoescape true %}{{ '<' ~ '&' }}{% endautoescape %}{{ '<' | e }}", "&lt;&amp;&lt;"),
        ("a\r\nb\n", "a\nb\n"),
    ],
)
def test_templates_have_the_usual_means(stdlib, template, text):
    values = {
        "d": {"b": 1, "a": 2},
        "words": ["b", "a"],
        "pi": 3.14159,
        "people": [{"name": "Ada", "age": 1}, {"name": "Bo", "age": 2}],
        "tree": [{"n": 1, "c": [{"n": 2, "c": []}]}],
    }
    assert {"text": text} == stdlib.output("text.template", template=template, values=values)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ [].__class__.__base__.__subclasses__() }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ lipsum.__globals__ }}",
        "{{ range.__subclasses__() }}",
        "{{ ''['__class__'] }}",
        "{{ '' | attr('__class__') }}",
        "{{ [''] | map(attribute='__class__') | list }}",
        "{{ '{0.__class__}'.format('') }}",
        "{{ '{x.__class__}'.format_map({'x': ''}) }}",
        "{{ self.__init__.__globals__ }}",
        "{{ ''.upper.__self__ }}",
        "{% macro m() %}{% endmacro %}{{ m._func }}",
        "{{ [].append(1) }}",
        "{{ values.update({}) }}",
        "{{ (1).to_bytes(9, 'big') }}",
        "{{ 'a'.encode() }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{{ config }}{{ request }}{{ environment }}{{ context }}",
    ],
)
def test_no_template_leaves_the_sandbox(stdlib, template):
    code = stdlib.failure("text.template", template=template, values={"values": {}})
    assert code in {"template_refused", "template_error"}


@pytest.mark.parametrize(
    "template",
    [
        "{{ range }}",
        "{{ ''.upper }}",
        "{{ self }}",
        "{{ cycler(1) }}",
        "{{ [1] | map('abs') }}",
        "{{ [range] }}",
        "{{ [''.upper] | join }}",
        "{{ '%s' % ''.upper }}",
        "{{ range | string }}",
    ],
)
def test_a_template_shows_no_object_and_so_no_address(stdlib, template):
    assert "template_error" == stdlib.failure("text.template", template=template)


TOWER = (
    "{% set n = namespace(a=[1], b=[1]) %}{% for i in range(40) %}"
    "{% set n.a = [n.a, n.a] %}MORE{% endfor %}"
)
GROWN = (
    "{% set n = namespace(x=START) %}{% for i in range(40) %}"
    "{% set n.x = n.x STEP n.x %}{% endfor %}"
)


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'x' * 10 ** 9 }}",
        "{{ [0] * 10 ** 9 }}",
        "{{ 10 ** 9 * 'x' }}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ 2 ** 4097 }}",
        "{% set n = namespace(x=3) %}{% for i in range(64) %}{% set n.x = n.x * n.x %}{% endfor %}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ ('%s' * 9999) | format(*[]) if false else ('%(a)s' * 999) | format(a='a' * 100000) }}",
        "{{ [0] | tojson(indent=1000000000) }}",
        "{{ 'a\n' | indent(1000000000) }}",
        "{{ ('a\n' * 100000) | indent(1000) }}",
        "{{ 5 | round(-1000000000) }}",
        "{{ [[0]] | sum(start=[]) }}",
        "{% set a = 'a' * 10000 %}{{ a | replace('a', a) }}",
        "{% set a = 'a' * 1000000 %}{{ ([a] * 100) | join }}",
        "{{ range(1000) | join('a' * 100000) }}",
        "{{ ('a,' * 1000000).split(',') | length }}",
        "{{ ('a' * 1000000) | list | length }}",
        GROWN.replace("START", "'a'").replace("STEP", "~"),
        GROWN.replace("START", "'a'").replace("STEP", "+"),
        GROWN.replace("START", "[1]").replace("STEP", "+"),
        TOWER.replace("MORE", ""),
        TOWER.replace("MORE", "{% set n.b = [n.b, n.b] %}") + "{{ n.a == n.b }}",
        TOWER.replace("[n.a, n.a]", "(n.a, n.a)").replace("MORE", ""),
        TOWER.replace("[n.a, n.a]", "{1: n.a, 2: n.a}").replace("MORE", ""),
        TOWER.replace("[n.a, n.a]", "dict(a=n.a, b=n.a)").replace("MORE", ""),
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% for i in range(100000) %}" + "a" * 1000 + "{% endfor %}",
        "{% set x %}{% for i in range(100000) %}" + "a" * 1000 + "{% endfor %}{% endset %}",
        "{% set x = range(9999) | list %}{% for i in range(99999) %}{% set y = x[:] %}{% endfor %}",
        "{% for i in range(100000) %}{% set y = range(99999) | sort %}{% endfor %}",
    ],
)
def test_a_template_ends_before_memory_or_patience_do(stdlib, template):
    assert "template_limit" == stdlib.failure("text.template", template=template)


def test_the_thread_of_a_dear_template_goes_with_it(stdlib):
    stdlib.output("text.template", template="{{ 1 }}")
    before = set(threading.enumerate())
    stdlib.output("text.template", template="{% for i in range(9000) %}ab{% endfor %}")
    for late in set(threading.enumerate()) - before:
        late.join(timeout=10)
    assert before >= set(threading.enumerate())


@pytest.mark.parametrize(
    "template",
    [
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ " + "(" * 5000 + ")" * 5000 + " }}",
        "{{ " + "not " * 9000 + "1 }}",
        "{{ " + "1 + " * 9000 + "1 }}",
        "{% if 1 %}" * 300 + "{% endif %}" * 300,
        "{% for i in [1] %}" * 30 + "{% endfor %}" * 30,
        "{{ " + "9" * 5000 + " }}",
        "{{ 1 / 0 }}",
        "{% extends 'x' %}",
        "{{ 'a' | nothing }}",
        "{{",
    ],
)
def test_a_template_that_python_cannot_run_is_an_error_of_its_own(stdlib, template):
    assert "template_error" == stdlib.failure("text.template", template=template)


def test_one_rendering_leaves_nothing_to_the_next(stdlib):
    stdlib.failure("text.template", template="{{ 'x' * 10 ** 9 }}")
    assert {"text": "6"} == stdlib.output("text.template", template="{{ 2 * 3 }}")


def test_the_purse_is_empty_when_time_is_up(stdlib):
    from awe_pack_stdlib.purse import Purse, PurseEmptyError  # noqa: PLC0415 - the ACTIVE pack's own

    assert stdlib.output("time.now")
    with pytest.raises(PurseEmptyError):
        Purse(1_000_000, seconds=-1).pay(1)


# ---- patterns -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|a)*b", "(.*)*x", "a*a*a*a*a*a*a*b", "(a?){30}a{30}b"]
)
def test_a_pattern_that_python_would_never_finish_is_done_at_once(stdlib, pattern):
    found = stdlib.output("text.search", text="a" * 100_000 + "!", pattern=pattern)
    assert len(found["matches"]) <= 100


@pytest.mark.parametrize("pattern", ["(", "(a)\\1", "(?=a)", "((a{99}){99}){99}", "()" * 33, "\\"])
def test_a_pattern_that_cannot_be_used_is_refused(stdlib, pattern):
    assert "bad_pattern" == stdlib.failure("text.search", text="a", pattern=pattern)


@given(text=TEXTS, literal=st.text(st.sampled_from("ab,\n é😀"), min_size=1, max_size=3))
def test_a_search_counts_in_characters(library, text, literal):
    found = library.output("text.search", text=text, pattern=re.escape(literal))["matches"]
    expected = [(match[0], match.start()) for match in re.finditer(re.escape(literal), text)]
    assert expected == [(one["text"], one["start"]) for one in found]


# ---- literal texts --------------------------------------------------------------------------
@given(text=TEXTS, find=TEXTS.filter(bool), replacement=TEXTS, count=st.integers(0, 3))
def test_replacing_is_what_python_does(library, text, find, replacement, count):
    found = library.output(
        "text.replace", text=text, find=find, replacement=replacement, count=count
    )
    assert text.replace(find, replacement, count or -1) == found["text"]


def test_a_replacement_looks_at_the_product_first(stdlib):
    long = "a" * 10_000
    assert "too_large" == stdlib.failure("text.replace", text=long, find="a", replacement=long)


@given(text=TEXTS)
def test_what_was_split_can_be_joined(library, text):
    parts = library.output("text.split", text=text, separator=",", keep_empty=True)["parts"]
    assert text == ",".join(parts)


def test_a_text_falls_into_a_bounded_number_of_parts(stdlib):
    assert "too_many_parts" == stdlib.failure("text.split", text="," * 100_000, separator=",")

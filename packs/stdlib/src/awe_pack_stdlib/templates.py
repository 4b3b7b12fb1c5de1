"""Jinja templates of strangers, filled in within bounds.

Jinja's sandbox keeps a template away from Python's insides; it lets it eat all memory and time of
the process, and a thread cannot be killed.  So every rendering has a purse, and whatever makes
something pays first: each turn of a loop, each call, operator, filter, literal and piece of output.
One operation costs at most in proportion to what it is given or what it makes, and both were paid
for, so that the bound holds between two payments too.

* The template's tree is rewritten before it is compiled: what Jinja would run without asking the
  environment (loops, ``~``, literals, plain text) becomes a filter of ours.
* Filters and methods are those listed here; those that make much out of little have a price of
  their own.  What is not listed is refused.
* Only JSON has a text: no address of an object and no name of a class can be read from a result.
"""

from __future__ import annotations

import functools
import re
import sys
from typing import TYPE_CHECKING, Any, cast

from jinja2 import StrictUndefined, Template, Undefined, nodes, pass_context
from jinja2.compiler import CodeGenerator
from jinja2.exceptions import SecurityError, TemplateRuntimeError
from jinja2.filters import FILTERS
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from awe_pack_stdlib.purse import Purse, PurseEmptyError, no_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import CodeType

    from jinja2.runtime import Context

MOST_BYTES = 32 * 1024 * 1024  #: made by one rendering, all together
MOST_SECONDS = 5.0  #: of one rendering
MOST_BITS = 4096  #: of a whole number
MOST_ARGUMENT = 1000  #: of a number, and characters of a text, given to a filter or method

_REMEMBERED = 16 * 1024  #: characters of a template whose code is worth keeping
_TURN = 16  #: bytes that a turn of a loop costs
_FILTERS = """
    abs capitalize count d default dictsort e escape filesizeformat first float forceescape
    groupby int items last length list lower map max min reject rejectattr reverse round safe
    select selectattr sort sum title tojson trim truncate unique upper urlencode wordcount
"""
#: Filters that hand their arguments on, to another filter or as they are.
_HANDING_ON = frozenset({"d", "default", "map", "reject", "rejectattr", "select", "selectattr"})
_OF_TEXTS = """
    capitalize count endswith find index isalnum isalpha isdecimal isdigit islower isnumeric
    isspace istitle isupper lower lstrip removeprefix removesuffix rstrip split splitlines
    startswith strip swapcase title upper
"""
_METHODS: dict[type, frozenset[str]] = {
    str: frozenset(_OF_TEXTS.split()),
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
    range: frozenset({"count", "index"}),
    int: frozenset(),
    float: frozenset(),
}
_SPREAD = 100  #: bytes that one character may become as an item of a list
_WIDTH = re.compile(r"\*|[0-9]{4,}")


def render(template: str, values: dict[str, Any], *, purse: Purse | None = None) -> str:
    """Fill *template* in.

    :param purse: what it may take; None: the most that any may
    :raises PurseEmptyError: it is too dear
    :raises SecurityError: it asks for what no template gets
    :raises TemplateError: it cannot be read or filled in
    """
    environment = _Environment(purse)
    code = _compiled(template) if len(template) <= _REMEMBERED else environment.compile(template)
    return Template.from_code(environment, code, environment.make_globals(None)).render(values)


@functools.lru_cache(maxsize=256)
def _compiled(template: str) -> CodeType:
    """Compile once what is filled in again and again; the code knows no environment."""
    return _Environment().compile(template)


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox of one rendering, with its purse."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, purse: Purse | None = None) -> None:
        super().__init__(
            undefined=StrictUndefined,
            finalize=_text,
            keep_trailing_newline=True,
            optimized=False,
        )
        self.code_generator_class = _Generator
        self.filters = _OFFERED
        del self.globals["lipsum"]
        self.purse = purse or Purse(MOST_BYTES, seconds=MOST_SECONDS)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401
        """Pay for what an operator makes before it does."""
        match operator, left, right:
            case "%", str(), _:
                return _formatted(context, left, *(right if isinstance(right, tuple) else (right,)))
            case "*", (str() | list() | tuple()), int():
                self.purse.pay(sys.getsizeof(left) * max(right, 1))
            case "*", int(), (str() | list() | tuple()):
                self.purse.pay(sys.getsizeof(right) * max(left, 1))
            case "*", int(), int():
                self._check_bits(left.bit_length() + right.bit_length())
            case "**", int(), int():
                self._check_bits(left.bit_length() * right)
        found = super().call_binop(context, operator, left, right)
        self.purse.pay_for(found)
        return found

    def call(self, context: Context, called: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Pay for a call and for what it returns."""
        owner = getattr(called, "__self__", None)
        if isinstance(owner, str):
            _check_arguments(called.__name__, [*args, *kwargs.values()])
            self.purse.pay(len(owner) * (_SPREAD if called.__name__.startswith("split") else 1))
        self.purse.pay(_TURN)
        found = super().call(context, called, *args, **kwargs)
        self.purse.pay_for(found)
        return found

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:  # noqa: ANN401 - the same
        """Allow the listed methods of JSON's types; nothing of functions and generators."""
        for kind, names in _METHODS.items():
            if isinstance(obj, kind):
                return attr in names and super().is_safe_attribute(obj, attr, value)
        is_code = callable(obj) and not isinstance(obj, type) and hasattr(obj, "__code__")
        return not is_code and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:  # noqa: ANN401, ARG002 - as the sandbox asks
        """Offer no ``str.format``: the filter ``format`` knows its price."""
        return

    def _check_bits(self, bits: int) -> None:
        if bits > MOST_BITS:
            message = f"a whole number has more than {MOST_BITS} bits"
            raise PurseEmptyError(message)


class _Generator(CodeGenerator):
    """Compiles the rewritten tree."""

    def visit_Template(self, node: nodes.Template, frame: Any = None) -> None:  # noqa: N802, ANN401
        super().visit_Template(_Rewriter().visit(node), frame)


class _Rewriter(NodeTransformer):
    """Puts our filters where Jinja would not ask the environment."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - Jinja names it
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "our.turns")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), "join")

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, "our.made")

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, "our.made")

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return node if node.ctx == "store" else _filtered(node, "our.made")

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        """Pay for a slice: it is a copy, and Jinja compiles it to Python's own."""
        self.generic_visit(node)
        return _filtered(node, "our.made") if isinstance(node.arg, nodes.Slice) else node

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Node:  # noqa: N802
        return _filtered(nodes.Const(node.data, lineno=node.lineno), "our.made")


def _filtered(node: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(cast("nodes.Expr", node), name, [], [], None, None, lineno=node.lineno)


# ---- filters: each begins with the context, so that none is run while the template is compiled
@pass_context
def _text(context: Context, value: object) -> str:
    """Give the text of a JSON value."""
    purse = _purse(context)
    if isinstance(value, str):
        purse.pay(sys.getsizeof(value))
        return value
    purse.pay_for(value)
    match no_json(value):
        case None:
            return str(value)
        case Undefined() as missing:
            return str(missing)  # raises, and says which name it was
        case found:
            message = f"a {type(found).__name__} has no text; the filter list may give one"
            raise TemplateRuntimeError(message)


@pass_context
def _made(context: Context, value: object) -> object:
    _purse(context).pay_for(value)
    return value


@pass_context
def _turns(context: Context, value: Iterable[Any]) -> Iterator[Any]:
    purse = _purse(context)
    for one in value:
        purse.pay(_TURN)
        yield one


@pass_context
def _joined(
    context: Context, value: Iterable[Any], d: str = "", attribute: str | int | None = None
) -> str:
    """Join texts; Jinja's ``join`` with its price."""
    purse = _purse(context)
    if attribute is not None:
        value = context.environment.call_filter("map", value, [], {"attribute": attribute}, context)
    texts: list[str] = []
    for one in value:
        purse.pay(sys.getsizeof(d))
        texts.append(_text(context, one))
    return d.join(texts)


@pass_context
def _replaced(context: Context, value: str, old: str, new: str, count: int = -1) -> str:
    """Replace a literal text; Jinja's ``replace`` with its price."""
    text, found = str(value), str(value).count(old)
    changed = min(found, count) if count >= 0 else found
    _purse(context).pay(sys.getsizeof(text) + 4 * len(new) * changed)
    return text.replace(old, new, count)


@pass_context
def _indented(context: Context, value: str, width: int | str = 4, first: bool = False) -> str:  # noqa: FBT001, FBT002
    """Indent lines; Jinja's ``indent`` with its price."""
    _check_arguments("indent", [width])
    pad, lines = width if isinstance(width, str) else " " * width, value.split("\n")
    _purse(context).pay(_SPREAD * len(value) + 4 * len(pad) * len(lines))
    head, *rest = lines
    return "\n".join([pad + head if first else head, *(pad + one if one else one for one in rest)])


@pass_context
def _formatted(context: Context, value: str, *args: Any, **kwargs: Any) -> str:  # noqa: ANN401
    """Format as ``%`` does; Jinja's ``format`` with its price."""
    purse = _purse(context)
    if _WIDTH.search(value):
        message = "a width of a format has at most three digits"
        raise PurseEmptyError(message)
    given = [*args, *kwargs.values()]
    longest = max((len(_text(context, one)) for one in given), default=0)
    purse.pay(sys.getsizeof(value) + 4 * value.count("%") * (longest + MOST_ARGUMENT))
    return value % (kwargs or args)


def _paying(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter of Jinja's: arguments are small, what it makes is paid for."""
    wants = getattr(getattr(function, "jinja_pass_arg", None), "name", "")
    spreads = name in {"groupby", "list", "sort"}

    @pass_context
    @functools.wraps(function)
    def filtered(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        purse = _purse(context)
        if name not in _HANDING_ON:
            _check_arguments(name, [*args, *kwargs.values()])
        if isinstance(value, str):
            purse.pay(len(value) * (_SPREAD if spreads else 1))
        first = {
            "context": (context,),
            "eval_context": (context.eval_ctx,),
            "environment": (context.environment,),
        }
        found = function(*first.get(wants, ()), value, *args, **kwargs)
        purse.pay_for(found)
        return found

    return filtered


_OFFERED: dict[str, Callable[..., Any]] = {
    **{name: _paying(name, FILTERS[name]) for name in _FILTERS.split()},
    "our.made": _made,
    "our.turns": _turns,
    "format": _formatted,
    "indent": _indented,
    "join": _joined,
    "replace": _replaced,
    "string": _text,
}


def _purse(context: Context) -> Purse:
    environment = context.environment
    if not isinstance(environment, _Environment):
        message = "this filter belongs to another environment"
        raise SecurityError(message)
    return environment.purse


def _check_arguments(name: str, given: list[Any]) -> None:
    for one in given:
        match one:
            case int() | float() if abs(one) <= MOST_ARGUMENT:
                pass
            case str() if len(one) <= MOST_ARGUMENT:
                pass
            case None:
                pass
            case _:
                message = f"{name} takes texts and numbers up to {MOST_ARGUMENT}"
                raise PurseEmptyError(message)

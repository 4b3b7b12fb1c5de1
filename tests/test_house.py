"""The house in order: what no single module can promise about itself, asked of the source text."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import string
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from awe_core import errors, hookspecs
from awe_core.errors import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
CORE = ROOT / "awe_core"
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ERRORS = {name for name in vars(errors) if name.endswith("Error")}


def sources(*tops: Path) -> list[Path]:
    return sorted(path for top in tops for path in top.rglob("*.py"))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def shown(path: Path, node: ast.AST | None = None) -> str:
    line = f":{node.lineno}" if node is not None else ""  # type: ignore[attr-defined]
    return f"{path.relative_to(ROOT)}{line}"


def tracked() -> list[Path]:
    """Every file of the repository, by git where there is git, and never what is ignored."""
    git = shutil.which("git")
    listed = git and subprocess.run(
        [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed and listed.returncode == 0:
        return [
            path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()
        ]
    return [
        path for top in ("awe_core", "docs", "packs", "tests") for path in (ROOT / top).rglob("*")
    ]


# ------------------------------------------------------------------------------------- error codes


def attributes(code: str) -> set[str]:
    entry = CATALOGUE[code]
    pieces = string.Formatter().parse(f"{entry.says}{entry.state}{entry.next}")
    return {re.split(r"[.\[]", name)[0] for _, name, _, _ in pieces if name}


def raised() -> Iterator[tuple[str, str, set[str]]]:
    """Give place, code and attributes of each error that is made with its code written out."""
    for path in sources(CORE):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and node.args and name_of(node.func) in ERRORS:
                given = {keyword.arg or "**" for keyword in node.keywords}
                for code in literals(node.args[0]):
                    yield shown(path, node), code, given


def name_of(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def literals(node: ast.expr) -> list[str]:
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.IfExp(body=body, orelse=orelse):
            return literals(body) + literals(orelse)
        case _:
            return []


def test_every_error_code_has_a_page_and_every_page_a_code():
    pages = {path.stem for path in (ROOT / "docs" / "errors").glob("*.md")} - {"README"}
    assert set(CATALOGUE) == pages, "next: python docs/generate.py"


def test_every_page_of_an_error_says_its_exit_code_and_its_next_step():
    for code, entry in CATALOGUE.items():
        page = (ROOT / "docs" / "errors" / f"{code}.md").read_text(encoding="utf-8")
        assert f"# {code}\n" in page
        assert f"**Exit code of `awe`.** {entry.exit_code}:" in page
        assert "**Next.** " in page


def test_every_code_that_is_raised_is_in_the_catalogue():
    assert [] == [f"{place} {code}" for place, code, _ in raised() if code not in CATALOGUE]


def test_every_raise_gives_each_attribute_that_its_sentences_name():
    missing = [
        f"{place} {code}: {', '.join(sorted(lacking))}"
        for place, code, given in raised()
        if code in CATALOGUE and "**" not in given and (lacking := attributes(code) - given)
    ]
    assert [] == missing


def test_no_code_of_the_catalogue_is_left_without_a_place_that_raises_it():
    said = {
        node.value
        for path in sources(CORE)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert [] == sorted(set(CATALOGUE) - said)


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_every_code_has_a_form_an_exit_code_and_sentences_without_full_stop(code):
    entry = CATALOGUE[code]
    assert re.fullmatch(r"[a-z]+(\.[a-z0-9_]+)+", code)
    assert entry.exit_code in range(1, 10)
    assert entry.says
    assert not entry.says.endswith(".")


def test_every_error_class_stands_in_the_drawing_of_the_tree():
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or ""))
    assert drawn | {"AweError"} == ERRORS


# ------------------------------------------------------------------------------------------- names


def test_no_module_has_a_name_that_says_nothing():
    empty = re.compile(r"(^|_)(utils?|helpers?|common|misc|base|managers?)(_|$)")
    places = sources(CORE, *(ROOT / kind for kind in ("packs", "plugins", "tests", "docs", ".ci")))
    assert [] == [shown(path) for path in places if empty.search(path.stem)]


def test_only_the_plugins_module_calls_hooks_of_pluggy():
    outside = [
        path for path in sources(CORE) if CORE / "plugins" not in path.with_suffix("").parents
    ]
    calls = [
        shown(path, node)
        for path in outside
        if path != CORE / "plugins.py"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr == "hook" and name_of(node.value) in _PM
    ]
    assert [] == calls


_PM = {"pm", "_pm", "manager", "_manager", "plugin_manager", "_plugins"}


def test_no_file_names_a_place_of_the_machine_it_was_written_on():
    machine = re.compile(r"(^|[^A-Za-z0-9_.])/" + r"(work|farm|Users)/|/" + r"root/", re.MULTILINE)
    found = [shown(p) for p in tracked() if machine.search(p.read_bytes().decode("latin-1"))]
    assert [] == found


#: The core may have 10,000 lines and has more (docs/adr/0005).  What stands may only shrink; a
#: chapter adds no more than that page says.
MOST_LINES = 37_056


def test_the_core_does_not_grow_away_from_its_budget():
    counted = [p for p in sources(CORE) if not p.is_relative_to(CORE / "testing")]
    assert sum(p.read_text(encoding="utf-8").count("\n") for p in counted) < MOST_LINES


def test_relative_links_between_pages_lead_somewhere():
    pages = [path for path in tracked() if path.suffix == ".md"]
    broken = [
        f"{shown(page)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert [] == broken


def test_partners_find_every_refusal_of_a_pack_with_its_fix():
    page = (ROOT / "docs" / "EXTERNAL_CAPABILITY_INTEGRATION.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| \[`(pack\.\w+)`\]\(errors/\1\.md\) \|", page, re.MULTILINE)
    assert sorted(code for code in CATALOGUE if code.startswith("pack.")) == sorted(named)


def test_the_tests_and_modules_that_pages_name_as_evidence_exist():
    pages = [path for path in tracked() if path.suffix == ".md"]
    named = [
        (shown(page), file, test)
        for page in pages
        for file, test in re.findall(
            r"`((?:tests|packs|awe_core)/[\w/.-]+\.py)(?:::(\w+))?",
            page.read_text(encoding="utf-8"),
        )
    ]
    assert [] == [
        f"{page}: {file}::{test}"
        for page, file, test in named
        if not (ROOT / file).is_file()
        or (test and f"def {test}(" not in (ROOT / file).read_text(encoding="utf-8"))
    ]
    assert named


# ------------------------------------------------------------------------------------------- hooks


def test_every_hook_answers_the_questions_of_those_who_implement_it():
    hooks = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("awe_")}
    questions = ("When:", "Order:", "Results:", "On error:", "Since ")
    silent = [
        f"{n}: {q}" for n, h in hooks.items() for q in questions if q not in (h.__doc__ or "")
    ]
    assert hooks
    assert [] == silent


# ------------------------------------------------------------------------------------------ floors


def imported(path: Path) -> Iterator[tuple[ast.AST, str]]:
    for node in ast.walk(tree(path)):
        match node:
            case ast.Import(names=names):
                yield from ((node, alias.name) for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield node, module


def test_the_core_imports_the_standard_library_what_it_declares_and_itself():
    project = SETTINGS["project"]
    declared = sum(project["optional-dependencies"].values(), project["dependencies"])
    distributions = {re.split(r"[<>=\[; ]", line)[0].split(".")[0].lower() for line in declared}
    names = {name.replace("-", "_") for name in distributions}
    # the registry that jsonschema takes is made of these two, which it brings and documents
    allowed = sys.stdlib_module_names | names | {"referencing", "jsonschema_specifications"}
    foreign = [
        f"{shown(path, node)} {module}"
        for path in sources(CORE)
        for node, module in imported(path)
        if module.split(".")[0] not in allowed | {"awe_core"}
    ]
    assert [] == foreign


def test_modules_import_their_own_kin_at_the_top():
    """Three exceptions in all; the command line's start-up is the only reason of its kind."""
    late = [
        f"{shown(path, node)} {module}"
        for path in sources(CORE)
        if not path.is_relative_to(CORE / "cli")
        for function in ast.walk(tree(path))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node, module in imported_in(function)
        if module.startswith("awe_core")
    ]
    assert len(late) <= 3, late


def imported_in(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[ast.AST, str]]:
    for node in ast.walk(function):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node, node.module


def contract(ident: str) -> dict[str, list[str]]:
    return next(c for c in SETTINGS["tool"]["importlinter"]["contracts"] if c["id"] == ident)


def test_the_pure_contracts_hold_exactly_the_modules_that_stand_on_floors_0_to_3():
    layers = [re.findall(r"\w+", layer) for layer in contract("floors")["layers"]]
    first = next(i for i, layer in enumerate(layers) if "decider" in layer)
    there = {path.stem for path in CORE.iterdir()} & {m for layer in layers[first:] for m in layer}
    pure = contract("pure")["source_modules"] + contract("pure-hookspecs")["source_modules"]
    assert {f"awe_core.{module}" for module in there} == set(pure)


VIOLATIONS = {  # what is planted, where, and what import-linter says of it
    "an import from above": (
        "canonical.py",
        "from awe_core import planted_above",
        "awe_core.canonical is not allowed to import awe_core.planted_above",
    ),
    "siblings that know each other": (
        "workflow.py",
        "from awe_core import capability",
        "awe_core.workflow is not allowed to import awe_core.capability",
    ),
    "a module without a floor": ("oddments.py", "", "- awe_core.oddments"),
    "a clock in a pure floor": (
        "canonical.py",
        "import time",
        "awe_core.canonical is not allowed to import time",
    ),
    "files two steps away": (
        "values.py",
        "from pathlib import Path",
        "awe_core.workflow is not allowed to import pathlib",
    ),
    "a socket in hookspecs": (
        "hookspecs.py",
        "import socket",
        "awe_core.hookspecs is not allowed to import socket",
    ),
    "a core that knows a plugin": (
        "pack.py",
        "import temporalio",
        "awe_core is not allowed to import temporalio",
    ),
}


@pytest.fixture
def lint_imports(tmp_path):
    """Give a copy of the core to plant in, and import-linter's words about it."""
    for path in sources(CORE):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    above = settings.replace('"(cli) |', '"(planted_above) | (cli) |')
    (tmp_path / "pyproject.toml").write_text(above, encoding="utf-8")
    (tmp_path / "awe_core" / "planted_above.py").touch()

    def check():
        done = subprocess.run(
            [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return check


def test_every_import_of_the_core_keeps_the_contracts(lint_imports):
    code, words = lint_imports()
    assert code == 0, words


@pytest.mark.parametrize("planted", VIOLATIONS)
def test_a_planted_import_is_caught(planted, lint_imports, tmp_path):
    name, line, expected = VIOLATIONS[planted]
    with (tmp_path / "awe_core" / name).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    code, words = lint_imports()
    assert code != 0
    assert expected in words


# ------------------------------------------------------------------------------------ the packages


def test_the_wheel_holds_the_import_package_its_types_and_nothing_else():
    try:
        files = importlib.metadata.files("awe-core") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("awe-core is not installed here; tox installs its wheel")
    tops = {str(file).split("/")[0] for file in files if ".." not in file.parts}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"awe_core"}
    assert "awe_core/py.typed" in {str(file) for file in files}


def test_packs_see_only_the_public_surface_of_the_core():
    public = {"awe_core", "awe_core.errors", "awe_core.hookspecs", "awe_core.testing"}
    inside = [
        f"{shown(path, node)} {module}"
        for path in sources(*ROOT.glob("packs/*/src"))
        for node, module in imported(path)
        if module.split(".")[0] == "awe_core" and module not in public
    ]
    assert [] == inside


# -------------------------------------------------------------------------------------------- news


@pytest.fixture
def repository(tmp_path):
    """A small repository with one distribution and its first commit."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed here")
    (tmp_path / "awe_core").mkdir()
    (tmp_path / "changes.d").mkdir()
    (tmp_path / "awe_core" / "a.py").write_text("a = 1\n", encoding="utf-8")
    (tmp_path / "changes.d" / "first.added.md").write_text("First.\n", encoding="utf-8")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    git(tmp_path, "init", "--initial-branch=main")
    commit(tmp_path, "Begin")
    return tmp_path


def git(folder, *arguments):
    who = ["-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)  # noqa: S607  git is looked up on purpose


def commit(folder, message):
    git(folder, "add", ".")
    git(folder, "commit", "--message", message)


def complaints(folder):
    """What .ci/news.py finds wrong; towncrier's own draft is asked for by `tox -e news`."""
    probe = (
        "import runpy, sys; house = runpy.run_path(sys.argv[1]); "
        "changed = house['_changed'](house['_base']()); "
        "print(*house['_complaints'](house['ROOT'], changed), sep='\\n')"
    )
    command = [sys.executable, "-c", probe, str(ROOT / ".ci" / "news.py")]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_fresh_repository_without_remotes_and_tags_passes_the_news_check(repository):
    assert not complaints(repository)


def test_a_changed_distribution_without_a_fragment_fails_the_news_check(repository):
    git(repository, "checkout", "-b", "change")
    (repository / "awe_core" / "a.py").write_text("a = 2\n", encoding="utf-8")
    commit(repository, "Change a")
    assert "awe-core has changed: write changes.d/<slug>.<type>.md" == complaints(repository)
    (repository / "changes.d" / "second.changed.md").write_text("Second.\n", encoding="utf-8")
    assert not complaints(repository)


def test_after_a_release_the_next_change_needs_a_fragment_on_the_main_branch_too(repository):
    git(repository, "tag", "v0.1.0")
    assert not complaints(repository)
    (repository / "awe_core" / "b.py").touch()
    assert "awe-core has changed" in complaints(repository)


def test_a_fragment_of_an_unknown_type_is_named(repository):
    (repository / "changes.d" / "third.feature.md").write_text("Third.\n", encoding="utf-8")
    assert "changes.d/third.feature.md: its name is not" in complaints(repository)

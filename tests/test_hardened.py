"""The hardened start on a real environment: what Python runs by itself, and what it then does not.

The environment is made of what this one holds: the core and the packs are copied, as an installer
lays them down, what they require is linked.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sysconfig
import time
import venv
from pathlib import Path

import attrs
import pytest

import awe_core
from awe_core import canonical
from awe_core.config import load_config
from awe_core.governance.releases import signed
from awe_core.health import doctor, hardening_unit
from awe_core.health.startup import started_how
from awe_core.testing import Deployment

OURS = ("awe_core", "awe_pack_")
PLANTED = ("planted.pth", "planted.start", "sitecustomize.py")


class Environment:
    """A Python of its own with AWE, and with startup files that tell when they ran."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=True, with_pip=False)
        self.python = folder / "bin" / "python"
        (self.site,) = folder.glob("lib/python*/site-packages")
        self.sentinel = folder / "it ran"
        for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
            for entry in Path(place).iterdir():
                if entry.name.startswith(OURS) and entry.name != "awe_core":
                    shutil.copytree(entry, self.site / entry.name)
                elif entry.suffix != ".pth" and entry.name not in {"awe_core", "__pycache__"}:
                    (self.site / entry.name).symlink_to(entry)
        unread = shutil.ignore_patterns("__pycache__")
        shutil.copytree(awe_core.__path__[0], self.site / "awe_core", ignore=unread)
        noise = f"import pathlib; pathlib.Path({str(self.sentinel)!r}).touch()\n"
        for name in PLANTED:
            (self.site / name).write_text(noise, encoding="utf-8")

    def ran(self) -> bool:
        """Whether a startup file has run since this was asked last."""
        has_run = self.sentinel.exists()
        self.sentinel.unlink(missing_ok=True)
        return has_run

    def run(self, *words: object, cwd: Path | None = None) -> tuple[int, str]:
        ours = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [self.python, *map(str, words)],
            cwd=cwd,
            env=ours,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def hardened(self, place: Deployment, *words: str) -> tuple[int, str]:
        pyc = f"pycache_prefix={place.home / 'cache' / 'pyc'}"
        program = self.site / "awe_core" / "hardened.py"
        return self.run("-I", "-S", "-X", pyc, program, *words, cwd=place.root)


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Environment:
    return Environment(tmp_path_factory.mktemp("environment"))


@pytest.fixture
def place(tmp_path):
    with Deployment.create(tmp_path / "here", ["awe-pack-stdlib"]) as made:
        yield made


def test_startup_files_run_in_an_ordinary_start_and_not_in_a_hardened_one(environment, place):
    ordinary = environment.run("-m", "awe_core", "version", cwd=place.root)
    assert (0, True) == (ordinary[0], environment.ran())

    assert ordinary == environment.hardened(place, "version")
    code, shown = environment.hardened(place, "call", "text.split", "text=a b", "--json")
    assert (0, ["a b"]) == (code, json.loads(shown)["data"]["output"]["parts"]), shown
    code, shown = environment.hardened(place, "status", "--json")
    assert (0, "hardened") == (code, json.loads(shown)["data"]["started"]), shown
    assert not environment.ran()


def test_bytecode_beside_the_sources_is_not_read(environment, place):
    source = environment.site / "awe_core" / "cli" / "looking.py"
    loader = "import importlib.util as u, py_compile, sys; py_compile.compile(sys.argv[1],"
    loader += " u.cache_from_source(sys.argv[2]), doraise=True,"
    loader += " invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)"
    spoilt = place.root / "spoilt.py"
    spoilt.write_text("print('bytecode ran')\n", encoding="utf-8")
    code, shown = environment.run("-I", "-c", loader, spoilt, source)
    assert 0 == code, shown
    try:
        assert "bytecode ran" in environment.run("-m", "awe_core", "version", cwd=place.root)[1]
        assert 0 == environment.hardened(place, "version")[0]
    finally:
        shutil.rmtree(source.parent / "__pycache__")
        environment.ran()


def test_the_doctor_names_every_startup_file(environment, place):
    code, shown = environment.run("-m", "awe_core", "doctor", "packs", "--json", cwd=place.root)
    start = next(one for one in json.loads(shown)["data"] if one["what"] == "start")
    assert (0, "green", None) == (code, start["level"], start["next"])
    for name in PLANTED:
        assert str(environment.site / name) in start["found"]


def test_under_a_production_root_startup_files_are_amber_until_the_start_is_hardened(
    environment, tmp_path
):
    place = Deployment.create(tmp_path / "here", people=("ana", "ben", "cay"), inproc=())
    root = place.governance.verdict(now=int(time.time())).root
    root = attrs.evolve(root, environment="prod")
    keys = [place.key(name) for name in place.people]
    (place.store / "root" / "00001.dsse").write_bytes(signed("trust-root", root, keys))
    place.configure(pin=canonical.sha256_hex(canonical.document(root.to_json())))

    found = doctor(
        load_config(place.config, flags={}, environ={}), ["packs"], now_s=int(time.time())
    )
    (start,) = (check for check in found if check.what == "start")
    assert ("amber", started_how()) == (start.level, start.found)
    assert start.next.startswith("awe trust hardening")
    shown = json.loads(environment.hardened(place, "doctor", "packs", "--json")[1])["data"]
    assert ("green", "hardened") == next(
        (one["level"], one["found"]) for one in shown if one["what"] == "start"
    )


def test_the_unit_starts_it_hardened_and_lets_it_write_the_home_and_the_workspace(
    environment, place
):
    source = "from awe_core.config import load_config; from awe_core.health import hardening_unit\n"
    source += "import pathlib, sys; file = pathlib.Path(sys.argv[1])\n"
    source += "print(hardening_unit(load_config(file, flags={}, environ={})))"
    code, unit = environment.run("-c", source, place.config, cwd=place.root)
    assert 0 == code, unit
    lines = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line)
    assert [str(place.workspace)] == shlex.split(lines["ReadWritePaths"])  # the home lies in it
    environment.ran()

    *start, command = shlex.split(lines["ExecStart"])
    assert "COMMAND" == command
    done = subprocess.run(
        [*start, "call", "time.now", "--json"], cwd="/", capture_output=True, text=True, check=True
    )
    assert "COMPLETED" == json.loads(done.stdout)["data"]["state"]
    assert not environment.ran()
    assert (place.home / "cache" / "pyc").is_dir()


def test_paths_that_a_shell_or_systemd_would_read_otherwise_are_quoted(place, tmp_path):
    folder = tmp_path / "100% sure 'it' is"
    made = load_config(place.config, flags={"home": str(folder)}, environ={})
    lines = dict(line.split("=", 1) for line in hardening_unit(made).splitlines() if "=" in line)
    words = shlex.split(lines["ReadWritePaths"].replace("%%", "%"))
    assert [str(folder), str(place.workspace)] == words
    assert "%" not in lines["ReadWritePaths"].replace("%%", "")


@pytest.mark.parametrize("flags", ["-I -S", "-I -X pycache_prefix=c", "-S -X pycache_prefix=c", ""])
def test_a_start_that_is_not_hardened_says_how(environment, place, flags):
    program = environment.site / "awe_core" / "hardened.py"
    code, shown = environment.run(*flags.split(), program, "version", cwd=place.root)
    environment.ran()
    assert 9 == code
    assert "it takes python -I -S -X pycache_prefix=FOLDER" in shown
    assert "next: awe trust hardening" in shown
    assert "Traceback" not in shown


def test_a_checkout_or_a_split_install_is_refused_by_name(environment, tmp_path):
    program = tmp_path / "checkout" / "awe_core" / "hardened.py"
    program.parent.mkdir(parents=True)
    shutil.copy(environment.site / "awe_core" / "hardened.py", program)
    words = ("-I", "-S", "-X", f"pycache_prefix={tmp_path / 'pyc'}", program, "version")
    code, shown = environment.run(*words)
    assert (9, True) == (code, "it may be editable" in shown), shown

    (info,) = environment.site.glob("awe_core-*.dist-info")
    shutil.copytree(info, tmp_path / "checkout" / info.name)
    code, shown = environment.run(*words)
    assert (9, True) == (code, "lacks attrs, cattrs, click" in shown), shown

"""Imports go one way, the way of the data; and what is heavy is imported only where it is used."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BELOW = {
    "topics": set[str](),
    "pipeline": {"topics"},
    "store": {"pipeline", "topics"},
    "broker": {"pipeline", "topics"},
    "agents": {"store", "broker", "pipeline", "topics"},
    "ingress": {"store", "broker", "pipeline", "topics"},
    "embedded": {"store", "broker", "pipeline", "topics"},
    "replay": {"store", "broker", "pipeline", "topics"},
    "cli": {"agents", "ingress", "embedded", "replay", "store", "broker", "pipeline", "topics"},
}
ONLY_IN = {"faust": {"agents"}, "mode": {"agents"}, "chdb": {"embedded"}}
CLIENTS = {
    "aiokafka",
    "clickhouse_driver",
    "urllib3",
    "faust",
    "mode",
    "chdb",
    "uvicorn",
    "click",
    "subprocess",
    "socket",
}
HEAVY = ("faust", "mode", "chdb", "pandas", "pyarrow")
MODULES = sorted(path for package in BELOW for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_imports_only_what_lies_below_it(module: Path) -> None:
    package = module.relative_to(ROOT).parts[0]
    allowed = BELOW[package] | {package}
    assert {name for name in imported(module) if name in BELOW} - allowed == set()


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_engine_is_imported_in_its_own_package_only(module: Path) -> None:
    package = module.relative_to(ROOT).parts[0]
    assert [name for name in imported(module) if package not in ONLY_IN.get(name, {package})] == []


@pytest.mark.parametrize("package", ["topics", "pipeline"])
def test_what_decides_touches_no_client_of_the_world(package: str) -> None:
    modules = [path for path in MODULES if path.relative_to(ROOT).parts[0] == package]
    assert {str(path): found for path in modules if (found := imported(path) & CLIENTS)} == {}


def test_every_package_that_is_shipped_is_held_to_its_place() -> None:
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert {name.split(".")[0] for name in shipped} == set(BELOW)


def test_every_folder_with_modules_is_shipped() -> None:
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert {".".join(path.parent.relative_to(ROOT).parts) for path in MODULES} == set(shipped)


@pytest.mark.parametrize("module", ["cli.main", "cli.up", "cli.doctor", "cli.sql", "embedded.supervisor"])
def test_starting_a_command_loads_no_engine(module: str) -> None:
    assert loaded_by(f"import {module}").isdisjoint(HEAVY)


def test_help_loads_neither_settings_nor_clients() -> None:
    asks = "from cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert loaded_by(asks).isdisjoint({*HEAVY, "pydantic", "aiokafka", "urllib3", "asyncio"})


def test_a_forbidden_import_would_be_seen() -> None:
    assert "chdb" in loaded_by("import chdb")
    assert {"faust", "embedded"} <= imported_in("def f():\n    import faust.types\n    from embedded.store import x\n")


def imported(module: Path) -> set[str]:
    return imported_in(module.read_text())


def imported_in(source: str) -> set[str]:
    """The top-level names of all that a module imports, inside functions as well."""
    return {name.split(".")[0] for node in ast.walk(ast.parse(source)) for name in names(node)}


def names(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=aliases):
            yield from (alias.name for alias in aliases)
        case ast.ImportFrom(module=str(module), level=0):
            yield module


def loaded_by(code: str) -> set[str]:
    """The top-level modules in a fresh interpreter after it ran the code."""
    tells = "\nimport sys; print('\\n'.join(sorted({name.split('.')[0] for name in sys.modules})))"
    ran = subprocess.run([sys.executable, "-c", code + tells], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(ran.stdout.splitlines())

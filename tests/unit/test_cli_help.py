"""The command line's manners: help with an example everywhere, exit codes, errors on one line of stderr."""

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from cli.main import COMMANDS, whipstitch
from cli.problems import telling

INTERFACE = {
    "up", "ingress", "worker", "store", "topics", "migrate", "keys", "projects", "sql", "tail", "doctor",
    "identity", "forget", "squash", "dead-letters", "audit", "replay", "export",
}  # fmt: skip
GROUPS = {
    "topics": {"create", "check"},
    "keys": {"create", "list", "revoke"},
    "projects": {"create", "list", "set"},
    "identity": {"show"},
    "dead-letters": {"list", "show", "retry", "drop"},
    "replay": {"start", "status", "diff", "swap", "abort"},
}
READS = {
    "topics check",
    "keys list",
    "projects list",
    "sql",
    "tail",
    "doctor",
    "identity show",
    "dead-letters list",
    "dead-letters show",
    "audit",
    "replay status",
    "replay diff",
}


def commands() -> Iterator[tuple[str, click.Command]]:
    for name in whipstitch.list_commands(click.Context(whipstitch)):
        command = whipstitch.get_command(click.Context(whipstitch), name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from ((f"{name} {sub}", command.commands[sub]) for sub in command.commands)
        else:
            yield name, command


LEAVES = dict(commands())


def run(*argv: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(whipstitch, argv)
    return result.exit_code, result.stdout, result.stderr


def test_commands_are_those_of_the_interface() -> None:
    assert set(COMMANDS) == INTERFACE
    assert {name: {leaf.split()[1] for leaf in LEAVES if leaf.startswith(f"{name} ")} for name in GROUPS} == GROUPS


@pytest.mark.parametrize("name", LEAVES)
def test_help_has_an_example_that_is_a_right_use(name: str) -> None:
    code, out, _ = run(*name.split(), "--help")
    assert code == 0
    _, _, example = out.partition("Example:\n")
    line = example.strip().splitlines()[0].strip()
    assert f"whipstitch {name}" in line


@pytest.mark.parametrize("name", sorted(READS))
def test_what_reads_can_print_json(name: str) -> None:
    assert "--json" in {option for parameter in LEAVES[name].params for option in parameter.opts}


@pytest.mark.parametrize("name", COMMANDS)
def test_overview_says_what_the_command_itself_says(name: str) -> None:
    command = whipstitch.get_command(click.Context(whipstitch), name)
    assert command is not None
    assert (command.help or "").replace("\n", " ").startswith(COMMANDS[name][1].rstrip("."))


def test_overview_lists_every_command() -> None:
    _, out, _ = run("--help")
    assert [name for name in COMMANDS if f"\n  {name} " not in out] == []


@pytest.mark.parametrize(
    "argv",
    [
        ("frobnicate",),
        ("sql",),
        ("up", "--port", "0"),
        ("up", "--port", "many"),
        ("keys", "create", "--project", "p", "--kind", "open"),
        ("keys", "create", "--project", "p", "--kind", "public", "--scope", "admin"),
        ("keys", "create", "--project", "p", "--kind", "public", "--origin", "shop.example"),
        ("keys", "create", "--project", "p", "--kind", "public", "--origin", "https://shop.example/"),
        ("keys", "create", "--project", "p", "--kind", "public", "--origin", "https://Shop.example"),
        ("projects", "create", "a|b"),
        ("projects", "create", ""),
        ("projects", "set", "p", "--policy", "best"),
        ("projects", "set", "p", "--max-users-per-anonymous-id", "0"),
    ],
)
def test_wrong_usage_exits_2_and_says_so_on_stderr(argv: tuple[str, ...]) -> None:
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert "Error: " in err


def test_wrong_settings_exit_1_and_name_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHIPSTITCH_PORT", "many")
    code, out, err = run("topics", "check")
    assert (code, out) == (1, "")
    assert err.startswith("Error: WHIPSTITCH_PORT: ")


@pytest.mark.parametrize("argv", [("topics", "check"), ("keys", "list"), ("tail",), ("worker",), ("migrate",)])
def test_where_nothing_runs_one_line_says_what_to_do(
    argv: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("WHIPSTITCH_DATA", str(tmp_path))
    code, out, err = run(*argv)
    assert (code, out) == (1, "")
    assert "whipstitch up" in err
    assert len(err.splitlines()) == 1


def test_ctrl_c_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LEAVES["migrate"], "callback", interrupt)
    assert run("migrate") == (130, "", "")


def test_only_what_is_expected_is_told_and_a_bug_keeps_its_traceback() -> None:
    @telling(ValueError)
    def command(error: Exception) -> None:
        raise error

    with pytest.raises(click.ClickException, match="what, where, what to do"):
        command(ValueError("what, where, what to do"))
    with pytest.raises(ZeroDivisionError):
        command(ZeroDivisionError())

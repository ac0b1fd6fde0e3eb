"""`whipstitch COMMAND`: finds the command, and says in one line what went wrong.

Arrives: the command line. Leaves: exit code 0, 1 (it did not work; one line on stderr says what, where and what to do),
2 (wrong usage) or 130 (Ctrl-C). Only the module of the command that runs is imported, so `--help` is quick and
no command pays for what another one needs.
"""

import importlib
import logging
from collections.abc import Sequence

import click

COMMANDS = {
    "up": ("cli.up:up", "Start everything in one go, and take events."),
    "ingress": ("cli.parts:ingress", "Run the HTTP ingress."),
    "worker": ("cli.parts:worker", "Run one worker: stitch events, and store them."),
    "store": ("cli.parts:store", "Run the embedded store."),
    "topics": ("cli.topics:topics", "Make and check Kafka's topics."),
    "migrate": ("cli.migrate:migrate", "Bring the store to this version."),
    "projects": ("cli.projects:projects", "Projects and their settings."),
    "keys": ("cli.keys:keys", "Keys that clients send events with."),
    "sql": ("cli.sql:sql", "Ask the store."),
    "tail": ("cli.tail:tail", "Show events as they are stitched."),
    "identity": ("cli.identity:identity", "Who is who, and why."),
    "forget": ("cli.forget:forget", "Remove a person."),
    "squash": ("cli.squash:squash", "Write who did them into old events"),
    "dead-letters": (
        "cli.dead_letters:dead_letters",
        "Events that were refused: see why, try them again, or drop them.",
    ),
    "audit": ("cli.audit:audit", "Hold what was received against what is stored or a dead letter"),
    "replay": ("cli.replay:replay", "Decide a stretch of history again by today's code, beside what is live."),
    "export": ("cli.export:export", "Write out the raw events that were received in a stretch of time"),
    "doctor": ("cli.doctor:doctor", "Say what is wrong, and how to mend it."),
}
INTERRUPTED = 130


class Commands(click.Group):
    """The group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, says) for name, (_, says) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="Settings are environment variables WHIPSTITCH_…, or the same names in whipstitch.toml; `whipstitch doctor` "
    "lists them. Start with: whipstitch up",
)
@click.version_option(package_name="whipstitch")
def whipstitch() -> None:
    """Take customer events, stitch them to people, store them."""


def main(argv: Sequence[str] | None = None) -> None:
    # What this client tries again by itself is no news to a person; what it gives up is told by our own errors.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    whipstitch.main(args=argv, prog_name="whipstitch")


if __name__ == "__main__":
    main()

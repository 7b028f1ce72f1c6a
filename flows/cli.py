"""The command `hierdiff`: its subcommands and exit codes.

Exit codes are 0 for done, 1 for a night or a check that failed, 2 for bad input or an unreachable
server, reported in one line. The subcommands are in `flows.commands`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module

import click

from hierdiff_core.errors import HierdiffError
from hierdiff_core.printable import printable_line

# Imported when asked for: `hierdiff status` must not wait for torch.
_COMMANDS: Mapping[str, str] = {
    "demo": "flows.commands.demo:demo",
    "standalone": "flows.commands.stack:standalone",
    "migrate": "flows.commands.migrate:migrate",
    "deploy": "flows.commands.stack:deploy",
    "schedule": "flows.commands.stack:schedule",
    "worker": "flows.commands.stack:worker",
    "doctor": "flows.commands.doctor:doctor",
    "ingest": "flows.commands.run:ingest",
    "plan": "flows.commands.run:plan",
    "run": "flows.commands.run:run",
    "retry": "flows.commands.retry:retry",
    "calibrate": "flows.commands.calibrate:calibrate",
    "tune": "flows.commands.tune:tune",
    "status": "flows.commands.status:status",
    "report": "flows.commands.status:report",
    "review": "flows.commands.review:review",
    "deliver": "flows.commands.deliver:deliver_command",
    "gc": "flows.commands.gc:gc",
    "metrics": "flows.commands.metrics:metrics",
    "forget": "flows.commands.forget:forget",
    "evaluate": "flows.commands.evaluate:evaluate",
    "settings": "flows.commands.settings:settings",
}


class _Commands(click.Group):
    """A group whose commands are loaded by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(import_module(module), name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hierdiff")
def cli() -> None:
    """Sets of images for a fraction of the compute."""


def main() -> None:
    """Run the command line; every refusal is one line on standard error."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    sys.exit(exit_code(lambda: cli(standalone_mode=False)))


def exit_code(command: Callable[[], object]) -> int:
    """Run a command and return its exit code; an error is printed as one line."""
    try:
        result = command()
    except HierdiffError as error:
        from flows.commands.variables import in_words_of_the_shell  # not before it is needed

        click.echo(f"hierdiff: {in_words_of_the_shell(error)}", err=True)
        return 2
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()  # the list of commands
        return 2
    except click.ClickException as error:
        click.echo(f"hierdiff: {_usage_line(error)}", err=True)
        return 2
    except (click.Abort, KeyboardInterrupt):
        return 130
    return result if isinstance(result, int) else 0


def _usage_line(error: click.ClickException) -> str:
    """Return a wrong use as one line, with the command whose --help says more."""
    message = printable_line(error.format_message(), 500)
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None:
        return message
    # Beside the name of the program, which is not ours where a test calls the group itself.
    command = " ".join(["hierdiff", *context.command_path.split()[1:]])
    stop = "" if message.endswith((".", "?")) else "."
    return f"{message}{stop} `{command} --help` shows what it takes."

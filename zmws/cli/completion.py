"""`zmws completion`: what a shell needs so that TAB completes commands, options, services and processes."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from zmws.cli import COMPLETE
from zmws.cli.names import shell_of_user
from zmws.cli.output import echo

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS), required=False)
@click.pass_context
def completion(ctx: click.Context, shell: str | None) -> int:
    """Print the completion for a shell; for your own ($SHELL) unless one is named.

    \b
    Try it:
      eval "$(zmws completion bash)"
    Have it in every shell, by a line in its file:
      ~/.bashrc                   eval "$(zmws completion bash)"
      ~/.zshrc                    eval "$(zmws completion zsh)"
      ~/.config/fish/config.fish  zmws completion fish | source
    """
    shell = shell or shell_of_user()
    found = get_completion_class(shell) if shell in SHELLS else None
    if found is None:
        raise click.UsageError(f"name your shell: {', '.join(SHELLS)}")
    echo(found(ctx.find_root().command, {}, "zmws", COMPLETE).source())
    return 0

"""The commands: arguments in, calls to the rooms, results printed; each imports what is heavy when it runs."""

import os
import sys
from typing import Annotated, NoReturn

import typer

from gancli.cli import door, parsing
from gancli.errors import UserError

app = typer.Typer(
    name="gancli",
    cls=parsing.Group,
    help="Train GANs from recipes, sample them, score them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed while working, 2 to be changed by the user, 3 diverged.

    `gancli.__main__` calls it, once the process is ready for it.
    """
    # Threads that spin while they wait take the processor from those they wait for: beside another program small
    # networks trained 40 times slower. Spinning for microseconds costs a tenth at most where nobody else is at work.
    # GNU OpenMP reads this when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    try:
        sys.exit(app(prog_name="gancli", standalone_mode=False))
    except UserError as error:
        _fail(error)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        from gancli import process

        process.discard_stdout()  # whoever read our output has enough
        sys.exit(141)
    except OSError as error:
        _fail(UserError(f"{error.filename or 'the disk'}: {error.strerror or error}: fix this and try again", 1))
    except MemoryError:
        _fail(UserError("out of memory: ask for less at once, or free some", 1))
    except Exception as error:
        if (wrong := parsing.usage(error)) is None:
            raise
        _fail(wrong)


def _fail(error: UserError) -> NoReturn:
    for line in error.lines if str(error) else ():  # without any words the help was shown instead
        door.note(line)
    sys.exit(error.status)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        door.result(f"gancli {version('gancli')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


from gancli.cli import data, doctor, init, recipes, sample, score, train  # noqa: E402, F401  each module adds its commands to app

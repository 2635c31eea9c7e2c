"""The command `gancli`, and `python -m gancli`: the process is made safe before the commands are imported."""

from gancli import process, signals


def main() -> None:
    """Run the command line in this process, which is its own, and exit."""
    with signals.Signals(wait=False):
        try:
            process.prepare()
            from gancli.cli import main as run

            run()
        except signals.Stopped as stopped:
            signals.end(stopped.number)
        except SystemExit as end:
            signals.settle(end.code)
            raise


if __name__ == "__main__":
    main()

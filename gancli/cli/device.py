"""`--device`, for the commands that compute."""

from typing import Annotated

import typer

Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="What computes: cpu, cuda, or one of several GPUs, as in cuda:1 (default: a GPU if there is one).",
    ),
]


def use(device: str | None) -> None:
    """Let this command compute on the device named.

    Raises:
        UserError: there is no such device.
    """
    from gancli import devices

    devices.ask(device)

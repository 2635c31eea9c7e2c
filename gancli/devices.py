"""The device that a command computes on: a GPU where there is one, or the one that the user names."""

import re
from typing import TYPE_CHECKING

from gancli.errors import UserError

if TYPE_CHECKING:
    import torch

_asked: str | None = None


def ask(word: str | None) -> None:
    """Take the user's word for what this command computes on; None leaves it to the machine.

    Raises:
        UserError: the word means no device, or one that is not here.
    """
    global _asked
    _asked = None
    if word is None:
        return
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", word):
        raise UserError(f"--device {word}: expected cpu, cuda, or one of several GPUs, as in cuda:1")
    if word != "cpu":
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(word.partition(":")[2] or 0) >= count:
            here = {0: "there is none", 1: "there is cuda:0"}.get(count, f"there are cuda:0 to cuda:{count - 1}")
            raise UserError(f"--device {word}: no such GPU, {here}: give another, or leave it out")
    _asked = word


def chosen() -> "torch.device":
    """The device that models and feature networks compute on. Noise is drawn on the CPU, whatever it is."""
    import torch

    return torch.device(_asked or ("cuda" if torch.cuda.is_available() else "cpu"))

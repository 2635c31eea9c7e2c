"""A GAN workbench: one recipe in, one run directory out.

    import gancli

    run = gancli.train("gan-digits", out="runs/digits", **{"train.steps": 500})
    images = run.sample(range(16))

What stands here is the Python API. Importing it imports nothing heavy: torch comes with the first function that needs
it. It prints nothing; what goes wrong is raised as `UserError`, and what is worth knowing goes to the logger `gancli`.
"""

from typing import TYPE_CHECKING, Any

from gancli.errors import UserError

if TYPE_CHECKING:
    from gancli.api import Run, evaluate, open_run, train

__all__ = ["Run", "UserError", "evaluate", "open_run", "train"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gancli import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

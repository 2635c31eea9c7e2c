"""How command lines are parsed: an option that takes one value is given once, and every usage error is one line."""

from collections import Counter
from typing import Any

from typer.core import TyperCommand, TyperGroup

from gancli.cli.examples import epilogue
from gancli.errors import UserError

ORDER = (
    *("train", "sample", "init", "evaluate", "eval-fid", "data", "fetch", "recipes", "validate", "schema"),
    *("fit-features", "doctor"),
)
"""The commands as help lists them: in the order in which a newcomer needs them."""


class Command(TyperCommand):
    """A command that refuses an option given twice where it takes one value; its help ends with examples."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings | {"epilog": epilogue(settings.get("name"))})

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words after the command's name.

        Raises:
            UserError: an option stands twice, or --set is split into several words.
        """
        if not ctx.resilient_parsing:
            given, extra, order = self.make_parser(ctx).parse_args(list(args))
            _refuse_repetition(order)
            _refuse_split_settings(given.get("set_") or [], extra)
        return super().parse_args(ctx, args)

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters; help names no type for a flag."""
        return _without_types_of_flags(super().get_params(ctx))


class Group(TyperGroup):
    """A group that lists its commands in the order in which they are needed; its help ends with examples."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings | {"epilog": epilogue(settings.get("name"))})

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters; help names no type for a flag."""
        return _without_types_of_flags(super().get_params(ctx))

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of the commands."""
        return sorted(super().list_commands(ctx), key=lambda name: (*ORDER, name).index(name))


def usage(error: Exception) -> UserError | None:
    """A usage error of the library below, which has its own class in every version, as one of ours; None for others."""
    if (said := getattr(error, "format_message", None)) is None:
        return None
    context = getattr(error, "ctx", None)
    if context and (hint := _setting(context.command, str(getattr(error, "option_name", "")))):
        return UserError(f"{error}: {hint}")
    message, command = str(said()).rstrip("."), context.command_path if context else "gancli"
    return UserError(message and f"{message}: {command} --help shows how to use it")


def _refuse_repetition(order: list[Any]) -> None:
    for parameter, times in Counter(order).items():
        if times > 1 and parameter.param_type_name == "option" and not (parameter.multiple or parameter.is_flag):
            raise UserError(f"{parameter.opts[0]}: given {times} times, and takes one value: give it once")


def _refuse_split_settings(settings: list[str], extra: list[str]) -> None:
    for setting in settings:
        name, equals, value = setting.partition("=")
        if extra and not (equals and value):
            raise UserError(f"--set {setting}: write it without spaces, as in --set {name or 'train.steps'}=VALUE")


def _setting(command: Any, option: str) -> str | None:
    """How to set the value of a recipe that somebody gave as an option of its own, as in `--steps 100`."""
    if not option.startswith("--") or not any("--set" in parameter.opts for parameter in command.params):
        return None
    from gancli import models
    from gancli.recipe import reading

    name = option.removeprefix("--").replace("-", "_")
    keys = dict.fromkeys(key for family in models.names() for key, _ in reading.fields(models.schema(family)))
    found = [key for key in keys if key == name or key.endswith(f".{name}")]
    inside = [key.removeprefix("data.") for key in found if key.startswith("data.")]
    wanted = found if command.name == "train" else inside
    return f"it is a value of the recipe: --set {wanted[0]}=VALUE" if wanted else None


def _without_types_of_flags(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return parameters

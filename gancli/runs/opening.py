"""A model rebuilt from a run, or from a lone file of weights."""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gancli import devices, files, memory, models
from gancli.errors import UserError
from gancli.recipe import reading
from gancli.runs.run import Run

if TYPE_CHECKING:
    from gancli.gan.adversarial import Adversarial

MOST_PARAMETERS = 20_000
"""Tensors of weights that a stranger's model may have; the largest family has hundreds."""


def weights_of(path: Path, *, best: bool = False) -> Path:
    """The file of weights that a run, or the file itself, stands for.

    Args:
        path: of a run, or of a lone model.safetensors.
        best: the weights of the best evaluation instead of the last step's.

    Raises:
        UserError: the run has none.
    """
    if path.exists() and not path.is_dir():
        if best:
            raise UserError(f"--best: {path} is a file of weights itself: name the run, or leave --best out")
        return path
    file = Run(path).best_file if best else Run(path).weights_file
    if file.is_symlink():
        raise UserError(f"{file}: is a link, and links in a run are not followed: name the file that it leads to")
    if file.is_file():
        return file
    status = Run.open(path).status()
    if best:
        raise UserError(f"{path}: has no best.safetensors: train with evaluate.every, or leave --best out")
    raise UserError(f"{path}: has no model.safetensors {_NO_WEIGHTS.get(status, _STOPPED).format(path)}")


_STOPPED = "yet, and its training has stopped: continue it with gancli train --resume {}"
_NO_WEIGHTS = {
    "running": "yet: wait for the first checkpoint of its training",
    "diverged": "because its training diverged before the first checkpoint: train again with a smaller learning_rate",
    "finished": "though its training has finished: copy the run again",
}


def open_model(path: Path, *, best: bool = False) -> "Adversarial":
    """The model of a run, or of a lone model.safetensors, rebuilt from its own header, in evaluation mode.

    It computes on the device that `devices` has chosen.

    It has the generator side alone, and the discriminator where the family asks it and the run's checkpoint is there.

    Args:
        path: of the run or the file.
        best: as for `weights_of`.

    Raises:
        UserError: it is missing, damaged, or made by something else.
    """
    import torch

    from gancli import weights

    file = weights_of(path, best=best)
    metadata, forms = weights.describe(file)
    if "seconds" in metadata or "recipe" not in metadata:
        raise UserError(f"{file}: is a checkpoint, or holds no recipe: give the run or its model.safetensors")
    settings = models.validate(reading.parse(metadata["recipe"], str(file)))

    # Built without memory at first, and without a discriminator in the end: nothing larger than the file is allocated,
    # whatever sizes its recipe claims.
    try:
        with torch.device("meta"), _without_numbers(), _few_parameters():
            model: Adversarial = models.load(settings.model).Model(settings)
    except (RuntimeError, ValueError, OverflowError) as error:
        what = str(error).partition("\n")[0]
        raise UserError(f"{file}: its recipe makes no model: {what}: get the file again") from error
    expected = {name: weights.Form.of(tensor) for name, tensor in model.generator.state_dict().items()}
    if difference := weights.misfit(forms, expected):
        raise UserError(f"{file}: does not fit its recipe: {difference}: get the file again")
    tensors, _ = weights.read(file, sum(tensor.nbytes for tensor in model.generator.state_dict().values()))
    model.generator.load_state_dict(tensors, assign=True)
    if not (model.asks_discriminator and _load_discriminator(model, Run(file.parent))):
        del model.discriminator
    with memory.in_words(f"while moving the model to {devices.chosen()}: free some memory there, or give --device cpu"):
        model.to(devices.chosen())
    step = metadata.get("step", "0")
    model.step = int(step) if step.isdecimal() and len(step) < 20 else 0
    return model.eval()


def _load_discriminator(model: "Adversarial", run: Run) -> bool:
    """Give the model, which has no memory of its own yet, the discriminator of a run's checkpoint if there is one."""
    if not files.is_file(run.last_checkpoint):
        return False
    expected = model.discriminator.state_dict()
    size = sum(tensor.nbytes for tensor in [*expected.values(), *model.generator.state_dict().values()])
    checkpoint, _ = run.load_checkpoint(8 * size + 2**20, repair=False)
    found = {} if checkpoint is None else checkpoint.tensors
    prefix = "weights.discriminator."
    tensors = {name.removeprefix(prefix): tensor for name, tensor in found.items() if name.startswith(prefix)}
    if {n: t.shape for n, t in tensors.items()} != {n: t.shape for n, t in expected.items()}:
        return False
    model.discriminator.load_state_dict(tensors, assign=True)
    return True


def _without_numbers() -> contextlib.AbstractContextManager[object]:
    """Leave weights as they are allocated: on the meta device they have no numbers, and drawing some imports PyTorch's
    compiler, which takes longer than everything else."""
    from torch.overrides import TorchFunctionMode

    class WithoutNumbers(TorchFunctionMode):
        def __torch_function__(self, function: Any, _: Any, args: Any = (), named: Any = None) -> Any:
            if getattr(function, "__name__", "") in ("normal_", "uniform_"):
                return args[0] if args else named["tensor"]
            return function(*args, **(named or {}))

    return WithoutNumbers()


@contextlib.contextmanager
def _few_parameters() -> Iterator[None]:
    """Stop the building of a model that would never end: one of a billion layers, say."""
    from torch.nn.modules.module import register_module_parameter_registration_hook

    count = itertools.count()

    def registered(*_: object) -> None:
        if next(count) > MOST_PARAMETERS:
            raise ValueError(f"more than {MOST_PARAMETERS:,} parameters")

    hook = register_module_parameter_registration_hook(registered)
    try:
        yield
    finally:
        hook.remove()

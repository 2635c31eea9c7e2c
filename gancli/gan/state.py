"""What a model and its optimizers have learned, as tensors by name, and back: with it a training continues exactly."""

import copy
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gancli import weights


def collect(model: nn.Module, optimizers: Mapping[Any, Optimizer]) -> dict[str, Tensor]:
    """The model's parameters and buffers, and what each optimizer keeps for each of its parameters."""
    state = {f"weights.{name}": tensor for name, tensor in model.state_dict().items()}
    for player, optimizer in optimizers.items():
        for index, values in optimizer.state_dict()["state"].items():
            state |= {f"{player}.{index}.{name}": v for name, v in values.items() if isinstance(v, Tensor)}
    return state


def restore(state: Mapping[str, Tensor], model: nn.Module, optimizers: Mapping[Any, Optimizer]) -> None:
    """Give a model and its optimizers what `collect` took.

    Only what was learned comes from it: learning rates and other settings stay as they are.

    Raises:
        ValueError: it was taken from another model; nothing is changed.
    """
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in ("weights", *optimizers)}
    for name, tensor in state.items():
        part, _, rest = name.partition(".")
        if part not in parts:
            raise ValueError(f"{name!r} is not in the model")
        parts[part][rest] = tensor
    ours = {name: weights.Form.of(tensor) for name, tensor in model.state_dict().items()}
    theirs = {name: weights.Form.of(tensor) for name, tensor in parts["weights"].items()}
    if difference := weights.misfit(theirs, ours):
        raise ValueError(difference)
    learned = {player: _learned(player, parts[player], optimizer) for player, optimizer in optimizers.items()}

    model.load_state_dict(parts["weights"])
    for player, optimizer in optimizers.items():
        settings = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": learned[player], "param_groups": settings})


def _learned(player: str, found: Mapping[str, Tensor], optimizer: Optimizer) -> dict[int, dict[str, Tensor]]:
    """A player's part as its optimizer takes it, seen to be of the right names and shapes."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    kept = _kept(optimizer, parameters[0].device)
    learned: dict[int, dict[str, Tensor]] = {}
    for index in {name.partition(".")[0] for name in found}:
        if not (index.isdecimal() and int(index) < len(parameters)):
            raise ValueError(f"'{player}.{index}' is not in the model")
        parameter = parameters[int(index)]
        place = learned[int(index)] = {}
        for name, example in kept.items():
            like = parameter if example.ndim else example
            tensor = found.get(f"{index}.{name}")
            if tensor is None or tensor.shape != like.shape or tensor.dtype != example.dtype:
                raise ValueError(f"'{player}.{index}.{name}' does not fit the model")
            # Laid out in memory as the parameter is, and aligned, so that the same arithmetic is done with it.
            place[name] = torch.empty_like(like).copy_(tensor)
    if len(found) != sum(map(len, learned.values())):
        raise ValueError(f"the {player}'s optimizer keeps nothing of such names")
    return learned


def _kept(optimizer: Optimizer, device: torch.device) -> dict[str, Tensor]:
    """What this kind of optimizer keeps for a parameter, shown by one step with another one."""
    trial, other = nn.Parameter(torch.zeros(2, device=device)), copy.copy(optimizer)
    trial.grad = torch.zeros_like(trial)
    other.param_groups = [optimizer.param_groups[0] | {"params": [trial]}]
    other.state = defaultdict(dict)
    other.step()
    return {name: value for name, value in other.state[trial].items() if isinstance(value, Tensor)}

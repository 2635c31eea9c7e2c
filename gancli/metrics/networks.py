"""Which feature network a name means: inception, classifier, or a .safetensors of `gancli fit-features`."""

from collections.abc import Callable
from pathlib import Path

import torch

from gancli.errors import UserError
from gancli.metrics import classifier, inception
from gancli.metrics.classifier import Classifier
from gancli.metrics.features import Features
from gancli.metrics.inception import Precision
from gancli.metrics.resize import RESIZES, Resize


def load(
    name: str,
    *,
    resize: Resize | None = None,
    weights: Path | None = None,
    precision: Precision = "float32",
    device: str | torch.device = "cpu",
    fit: Callable[[], Classifier] | None = None,
) -> Features:
    """The feature network of that name.

    Args:
        name: inception, classifier, or a path that ends in .safetensors.
        resize: how images come to Inception's input; None takes tf1.
        weights: a file of Inception weights other than the published ones.
        precision: Inception's.
        device: where the network runs.
        fit: gives the classifier of the data at hand, trained or cached; None where the data has no labels.

    Raises:
        UserError: an unknown name or resize, missing weights, or data without labels.
    """
    if resize is not None and resize not in RESIZES:
        raise UserError(f"--resize: unknown way '{resize}'; choose from {', '.join(RESIZES)}")
    if weights is not None and name != "inception":
        raise UserError(
            f"--weights: these are for inception, not for {name}; leave them out, or use features: inception"
        )
    if resize is not None and name != "inception":
        raise UserError(f"--resize: is for inception, {name} takes images as they are: leave it out")
    if name == "inception":
        return inception.load(weights, resize=resize or "tf1", precision=precision, device=device)
    if name == "classifier":
        if fit is None:
            raise UserError(
                "features: classifier is trained on labels, and this data has none; use features: inception"
            )
        return fit().to(device)
    if name.endswith(".safetensors"):
        return classifier.load(Path(name)).to(device)
    raise UserError(f"features: unknown network '{name}'; choose inception, classifier, or a .safetensors file")

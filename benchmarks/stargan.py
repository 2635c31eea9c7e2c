"""How well a run of StarGAN or StarGAN v2 translates the test split of its data.

    python benchmarks/stargan.py runs/stargan-shapes

Of the built-in shapes the colour and the place of what was made are read by rule; of other data a classifier that was
trained on the training images, and is right of how many test images is said, judges the domain. Differences (L1) are
means over images in [0, 1].
"""

import argparse
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gancli.data.dataset import Dataset, load
from gancli.data.shapes import colour_of, mask_of
from gancli.gan.image_to_image import Styled
from gancli.make import images
from gancli.metrics import classifier
from gancli.runs import opening

STYLES = 5


def judge(data: Any, tested: Dataset) -> tuple[Any, dict[str, float]]:
    """What says the domain of uint8 N×H×W×C images, and how good it is."""
    if data.source.startswith("shapes"):
        return colour_of, {}
    train = load(data.model_copy(update={"enlarge": None}))
    found = classifier.train_classifier(
        np.asarray(train.images["image"]),
        train.labels,
        classes=len(train.classes),
        seed=0,
        test=(np.asarray(tested.images["image"]), tested.labels),
    )

    def named(pixels: images.Pixels) -> Any:
        batch = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        return found.logits(found(batch)).argmax(1).numpy()

    return named, {"classifier_accuracy": found.accuracy}


def overlap(made: images.Pixels, originals: images.Pixels) -> float:
    """Mean intersection over union of the shapes' masks."""
    one, other = mask_of(made), mask_of(originals)
    return float(((one & other).sum((1, 2)) / np.maximum((one | other).sum((1, 2)), 1)).mean())


def difference(one: Tensor, other: Tensor) -> float:
    """Mean absolute difference of images in [-1, 1], as of images in [0, 1]."""
    return (one - other).abs().mean().item() / 2


def translations(model: Any, inputs: Tensor, tested: Dataset, named: Any) -> dict[str, Any]:
    """Every test image in every domain: the share of those in another domain that came out right, and what was kept."""
    pixels, labels = np.asarray(tested.images["image"]), tested.labels
    shapes = model.recipe.data.source.startswith("shapes")
    right: dict[str, float] = {}
    kept, own, made_of = [], [], {}
    for place, target in enumerate(model.targets):
        made = torch.cat([model.translate(part, target, [0] * len(part)) for part in inputs.split(50)])
        made_of[target] = made
        other = labels != place
        right[target] = float((named(images.pixels(made[other])) == place).mean())
        kept.append(overlap(images.pixels(made[other]), pixels[other]))
        own.append(difference(made[~other], inputs[~other]))
    found = {"right": right, "right_mean": float(np.mean([*right.values()])), "own_domain_l1": float(np.mean(own))}
    return found | ({"mask_iou": float(np.mean(kept))} if shapes else {})


def styled(model: Any, inputs: Tensor, tested: Dataset, named: Any) -> dict[str, Any]:
    """How far several styles of one image differ, and whether a reference's style comes through."""
    pixels, labels = np.asarray(tested.images["image"]), tested.labels
    apart, right, near, far = [], [], [], []
    draw = np.random.default_rng(0)
    for place, target in enumerate(model.targets):
        several = [
            torch.cat([model.translate(part, target, [seed] * len(part)) for part in inputs.split(50)])
            for seed in range(STYLES)
        ]
        apart += [difference(one, other) for one, other in combinations(several, 2)]
        references = draw.choice(np.flatnonzero(labels == place), len(inputs))
        made = torch.cat(
            [
                model.styled(part, model.styles_of(inputs[rows], target))
                for part, rows in zip(inputs.split(50), torch.from_numpy(references).split(50), strict=True)
            ]
        )
        result = images.pixels(made)
        right.append(float((named(result) == place).mean()))
        attribute = attribute_of(model.recipe.data.source)
        shown, wanted = attribute(result), attribute(pixels[references])
        chance = attribute(pixels[draw.choice(np.flatnonzero(labels == place), len(inputs))])
        near.append(np.abs(shown - wanted).mean())
        far.append(np.abs(shown - chance).mean())
    return {
        "styles_apart_l1": float(np.mean(apart)),
        "reference_right_mean": float(np.mean(right)),
        "reference_distance": float(np.mean(near)),
        "chance_distance": float(np.mean(far)),
    }


def attribute_of(source: str) -> Any:
    """What a style is about: of shapes the area, as a share of the image; else the mean colour, in [0, 1]."""
    if source.startswith("shapes"):
        return lambda pixels: mask_of(pixels).mean((1, 2))
    return lambda pixels: pixels.mean((1, 2)) / 255


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    model: Any = opening.open_model(parser.parse_args().run)
    tested = load(model.recipe.data, "test")
    named, quality = judge(model.recipe.data, tested)
    inputs = torch.from_numpy(np.array(tested.images["image"])).permute(0, 3, 1, 2) / 127.5 - 1
    found = quality | translations(model, inputs, tested, named)
    if isinstance(model, Styled):
        found |= styled(model, inputs, tested, named)
    print(json.dumps({name: found[name] for name in found}, indent=2))


if __name__ == "__main__":
    main()

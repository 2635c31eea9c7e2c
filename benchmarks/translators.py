"""How well a run of Pix2Pix or CycleGAN translates the test split of its data, and how fast it translates files.

    python benchmarks/translators.py figures runs/pix2pix-shapes
    python benchmarks/translators.py speed runs/cyclegan-shapes

Differences (L1) are means over images in [0, 1]. Pairs are compared with their targets, beside four that know nothing:
the input itself, the mean colour and the mean image of all training targets, and the target of the training pair whose
input is nearest. Of the built-in shapes the colour and the place of what was made are read by rule; of other unpaired
data a classifier of the two domains, trained on the training images, judges what was made.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gancli.data.dataset import load_domain
from gancli.data.prepare import prepare
from gancli.data.shapes import COLOURS, DOMAINS, colour_of, mask_of
from gancli.gan.image_to_image import FromImages
from gancli.make import images, inputs, translation
from gancli.metrics import classifier
from gancli.recipe.data import Pairs
from gancli.runs import opening

BATCH = 16


def domain(model: FromImages, name: str, split: str) -> Tensor:
    """All images of a domain in a split, N×C×H×W in [-1, 1]."""
    pixels = np.array(load_domain(model.recipe.data, name, split).images["image"])  # type: ignore[arg-type]
    batch = {"image": torch.from_numpy(pixels).permute(0, 3, 1, 2)}
    return prepare(batch, model.recipe.data, training=False)["image"]


def turned(model: FromImages, inputs: Tensor, target: str) -> Tensor:
    """The images in a target, image by image from seed 0 on."""
    starts = range(0, len(inputs), BATCH)
    return torch.cat(
        [model.translate(inputs[n : n + BATCH], target, range(n, n + BATCH)[: len(inputs) - n]) for n in starts]
    )


def difference(one: Tensor, other: Tensor) -> float:
    """Mean absolute difference of images in [-1, 1], as of images in [0, 1]."""
    return (one - other).abs().mean().item() / 2


def paired(model: FromImages) -> dict[str, Any]:
    """How far the translations are from their targets, and how far those are that know nothing."""
    ((origin, target),) = model.directions.values()
    inputs, targets = domain(model, origin, "test"), domain(model, target, "test")
    known, answers = domain(model, origin, "train"), domain(model, target, "train")
    nearest = torch.cdist(inputs.flatten(1), known.flatten(1), p=1).argmin(1)
    found = {
        "l1": difference(turned(model, inputs, target), targets),
        "l1_identity": difference(inputs, targets),
        "l1_mean_colour": difference(answers.mean((0, 2, 3), keepdim=True), targets),
        "l1_mean_image": difference(answers.mean(0, keepdim=True), targets),
        "l1_nearest_input": difference(answers[nearest], targets),
    }
    if model.dropout:
        model.dropout = False
        found["l1_dropout_off"] = difference(turned(model, inputs, target), targets)
    return found


def unpaired(model: FromImages) -> dict[str, Any]:
    """In each direction how many translations are of the target, what is kept, and how well the way back is found."""
    data: Any = model.recipe.data
    shapes = data.source.startswith("shapes")
    found: dict[str, Any] = {}
    if not shapes:
        judge = fitted(model)
        found["classifier_accuracy"] = judge.accuracy
    for direction, (origin, target) in model.directions.items():
        inputs = domain(model, origin, "test")
        made = turned(model, inputs, target)
        pixels, number = images.pixels(made), "ab".index(target)
        measured = {"cycle_l1": difference(turned(model, made, origin), inputs), "change_l1": difference(made, inputs)}
        if shapes:
            wanted = list(COLOURS).index(DOMAINS[number])
            one, other = mask_of(pixels), mask_of(images.pixels(inputs))
            measured["right"] = float((colour_of(pixels) == wanted).mean())
            measured["mask_iou"] = float(((one & other).sum((1, 2)) / np.maximum((one | other).sum((1, 2)), 1)).mean())
        else:
            batch = torch.from_numpy(pixels).permute(0, 3, 1, 2)
            measured["right"] = float((judge.logits(judge(batch)).argmax(1) == number).float().mean())
        found[direction] = measured
    return found


def fitted(model: FromImages) -> classifier.Classifier:
    """A classifier of the two domains."""
    sides = {}
    for split in ("train", "test"):
        both = [images.pixels(domain(model, name, split)) for name in ("a", "b")]
        sides[split] = np.concatenate(both), np.repeat([0, 1], [len(side) for side in both])
    return classifier.train_classifier(*sides["train"], classes=2, seed=0, test=sides["test"])


def speed(model: FromImages, rounds: int) -> dict[str, Any]:
    """Images a second of 200 files of five sizes, in batches and one by one, in turns; all are checked."""
    endings = (".jpg", ".png", ".webp", ".bmp", ".tif")
    sizes = ((64, 64), (100, 100), (96, 64), (61, 83), (128, 128))
    target = model.targets[0]
    turn = {"": lambda some: model.translate(some, target, [0] * len(some))}
    with tempfile.TemporaryDirectory() as folder:
        given, seconds = Path(folder) / "given", {"batches": [], "one_by_one": []}  # type: ignore[var-annotated]
        for n in range(200):
            path = given / f"{n % 3}" / f"{n}{endings[n // 5 % 5]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(n).integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).resize(sizes[n % 5], Image.Resampling.BICUBIC).save(path)
        for number in range(rounds):
            for way, most in (("batches", translation.BATCH_PIXELS), ("one_by_one", 1)):
                translation.BATCH_PIXELS, before = most, translation.BATCH_PIXELS
                began = time.perf_counter()
                job = translation.Job(model, inputs.find(str(given)), turn)
                made = [
                    path for path in translation.write(job, Path(folder) / way / str(number)) if isinstance(path, Path)
                ]
                seconds[way].append(time.perf_counter() - began)
                translation.BATCH_PIXELS = before
        kept = 0
        for path in made:
            with Image.open(path) as one, Image.open(given / path.relative_to(path.parents[1])) as other:
                kept += (one.format, one.size) == (other.format, other.size)
    rates = {way: 200 / float(np.median(taken)) for way, taken in seconds.items()}
    return {"kept": kept, "images_per_second": rates, "ratio": rates["batches"] / rates["one_by_one"]}


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("figures", "speed"))
    parser.add_argument("run", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    model = opening.open_model(given.run)
    assert isinstance(model, FromImages)
    found: dict[str, Any] = {"run": str(given.run), "step": model.step, "threads": torch.get_num_threads()}
    if given.what == "speed":
        found |= speed(model, given.rounds)
    else:
        found |= paired(model) if isinstance(model.recipe.data, Pairs) else unpaired(model)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()

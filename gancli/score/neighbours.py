"""Images beside their nearest in the reference: is it memorising?"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gancli.errors import UserError
from gancli.make import images
from gancli.make.images import Pixels
from gancli.metrics import prdc
from gancli.metrics.features import Features
from gancli.score.scoring import watched
from gancli.score.subject import Subject, Told


def sheet(
    subject: Subject,
    reference: Subject,
    features: Features,
    *,
    rows: int = 12,
    nearest: int = 7,
    told: Told | None = None,
) -> Pixels:
    """A sheet of the first images, each beside the reference's nearest ones by their features: is it memorising?

    Args:
        subject: whose first `rows` images are shown.
        reference: is read once.
        features: the network.
        rows: images shown.
        nearest: neighbours of each.
        told: called as images are read.

    Raises:
        UserError: there are no images on a side.
    """
    if subject.statistics or reference.statistics:
        raise UserError("--neighbours: statistics hold no images to show; name images")
    shown: list[Tensor] = []
    for batch in subject.batches():
        shown += list(batch[: rows - len(shown)])
        if len(shown) == rows:
            break
    targets = torch.cat([features(image[None]) for image in shown])
    found: list[list[tuple[float, Tensor]]] = [[] for _ in shown]
    for batch in watched(reference, "looking for neighbours", told):
        distances, places = prdc.nearest(targets, features(batch), count=min(nearest, len(batch)))
        for row, best in enumerate(found):
            some = zip(distances[row].tolist(), places[row].tolist(), strict=True)
            best += [(distance, batch[place]) for distance, place in some]
            best.sort(key=lambda pair: pair[0])
            del best[nearest:]
    fewest = min(map(len, found))
    tiles = [
        _tile(tile)
        for image, best in zip(shown, found, strict=True)
        for tile in (image, *(image for _, image in best[:fewest]))
    ]
    return images.grid(np.stack(tiles), 1 + fewest)


def _tile(image: Tensor) -> Pixels:
    """C×H×W as RGB of one size."""
    pixels = image.permute(1, 2, 0).numpy()
    tile = images.picture(pixels).convert("RGB")
    larger = max(tile.size) > images.CELL
    return np.array(tile.resize((images.CELL,) * 2, Image.Resampling.LANCZOS if larger else Image.Resampling.NEAREST))

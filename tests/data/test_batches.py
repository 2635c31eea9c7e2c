import itertools

import numpy as np
import pytest
import torch

from gancli.data.batches import Batches
from gancli.data.dataset import Dataset
from gancli.data.prepare import prepare
from gancli.recipe.data import Domains, Images, Pairs, Unpaired
from gancli.training.train import home


def numbered(count: int) -> np.ndarray:
    """Images that carry their own index in their pixels."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 2, 3, 1)).copy()


REFERENCES = ("reference", "other_reference")


def order(batches: Batches, key: str = "image") -> list[list[int]]:
    return [batch[key][:, 0, 0, 0].tolist() for batch in batches]


@pytest.mark.parametrize(("count", "size"), [(10, 4), (7, 7), (3, 8), (100, 1)])
def test_every_epoch_shows_every_image_once_and_nothing_is_dropped(count, size):
    flat = list(itertools.chain(*order(Batches(Dataset({"image": numbered(count)}), size, 0, 0, 5 * count))))
    epochs = [flat[start : start + count] for start in range(0, len(flat) - count + 1, count)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


@pytest.mark.parametrize(
    ("drawn", "key"),
    [({}, "image"), ({"balanced": True}, "image"), *[({"referenced": True}, key) for key in REFERENCES]],
)
def test_a_batch_depends_on_seed_and_position_alone(drawn, key):
    data = Dataset({"image": numbered(50)}, np.arange(50) % 7 % 3, ("x", "y", "z"))
    whole = order(Batches(data, 8, 3, 0, 40, **drawn), key)
    assert order(Batches(data, 8, 3, 17, 40, **drawn), key) == whole[17:]
    batches = Batches(data, 8, 3, 5, 9, **drawn)
    assert order(batches, key) == order(batches, key) == whole[5:9] and len(batches) == 4
    assert order(Batches(data, 8, 4, 0, 40, **drawn), key) != whole


def test_the_order_never_changes_between_versions():
    assert order(Batches(Dataset({"image": numbered(10)}), 5, 42, 0, 4)) == [
        [4, 8, 1, 9, 3],
        [6, 0, 7, 2, 5],
        [5, 4, 8, 2, 9],
        [7, 6, 0, 1, 3],
    ]


def test_labels_travel_with_their_images():
    labels = np.arange(20) * 3
    for batch in Batches(Dataset({"image": numbered(20)}, labels, ("x",) * 60), 6, 0, 0, 10):
        assert (batch["label"] == 3 * batch["image"][:, 0, 0, 0].long()).all()


def test_pairs_stay_together_and_domains_do_not():
    pairs = Dataset({"a": numbered(20), "b": numbered(20) + 100})
    for batch in Batches(pairs, 6, 0, 0, 10):
        assert (batch["b"] == batch["a"] + 100).all()
    domains = Dataset({"a": numbered(20), "b": numbered(9)}, matched=False)
    batches = Batches(domains, 6, 0, 0, 30)
    assert order(batches, "a")[0] != order(batches, "b")[0]
    flat = list(itertools.chain(*order(batches, "b")))
    assert sorted(flat[:9]) == sorted(flat[9:18]) == list(range(9))


def test_balanced_batches_show_every_class_alike():
    labels = np.array([0] * 90 + [1] * 9 + [2])
    data = Dataset({"image": numbered(100)}, labels, ("x", "y", "z"))
    counts = sum(torch.bincount(batch["label"], minlength=3) for batch in Batches(data, 8, 0, 0, 300, balanced=True))
    assert counts.max() - counts.min() <= 1
    # Within a class every image comes as often as any other.
    shown = np.bincount(np.ravel(order(Batches(data, 8, 0, 0, 300, balanced=True))), minlength=100)
    assert shown[:90].max() - shown[:90].min() <= 1 and shown[90:99].max() - shown[90:99].min() <= 1


def test_references_are_two_of_one_class_that_owes_nothing_to_the_image():
    labels = np.array([0] * 90 + [1] * 60 + [2] * 50)
    data = Dataset({"image": numbered(200)}, labels, ("x", "y", "z"))
    met = torch.zeros(3, 3)
    together = same = 0
    for batch in Batches(data, 8, 0, 0, 600, referenced=True):
        one, other = (torch.from_numpy(labels)[batch[key][:, 0, 0, 0].long()] for key in REFERENCES)
        assert torch.equal(one, batch["reference_label"]) and torch.equal(one, other)
        met.index_put_((batch["label"], one), torch.ones(8), accumulate=True)
        together += (batch["image"] == batch["reference"]).flatten(1).all(1).sum()
        same += (batch["other_reference"] == batch["reference"]).flatten(1).all(1).sum()
    assert (met.sum(0) == 1600).all() and (met.sum(1) == 1600).all()  # balanced, each by itself
    assert (met / 4800 - 1 / 9).abs().max() < 0.02
    assert together < 100 and same < 150, "4800 draws meet by chance alone in 27 to 80 of them"


def test_images_are_channels_last_in_memory():
    batch = next(iter(Batches(Dataset({"image": np.zeros((4, 5, 6, 3), np.uint8)}), 2, 0)))
    assert batch["image"].shape == (2, 3, 5, 6) and batch["image"].dtype == torch.uint8
    assert batch["image"].is_contiguous(memory_format=torch.channels_last)


def noise(count: int, size: int, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, size, size), generator=generator, dtype=torch.uint8)


def test_images_that_live_on_a_device_are_the_same():
    data = Dataset({"image": numbered(50)}, np.arange(50) % 3, ("x", "y", "z"))
    for drawn in ({}, {"referenced": True}):
        resident = Batches(data, 8, 3, 0, 20, **drawn, device=torch.device("cpu"))
        for ours, theirs in zip(resident, Batches(data, 8, 3, 0, 20, **drawn), strict=True):
            assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
            assert ours["image"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("device", "on_device", "free", "kept"),
    [
        ("cuda", "auto", 4 * 300, True),
        ("cuda", "auto", 4 * 300 - 1, False),
        ("cuda", "never", 10**9, False),
        ("cpu", "auto", 10**9, False),
    ],
)
def test_a_gpu_keeps_the_images_that_fit_in_a_quarter_of_it(device, on_device, free, kept, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 10**9))
    settings = Images(source="somewhere", image_size=8, on_device=on_device)
    where = torch.device(device)
    assert home(Dataset({"image": numbered(50)}), settings, where) == (where if kept else None)


def test_every_pixel_value_comes_back():
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    got = prepare({"image": values}, Images(source="x", image_size=16), training=True)["image"]
    assert got.dtype == torch.float32 and got.min() == -1 and got.max() == 1
    assert (got.add(1).mul(127.5).round().to(torch.uint8) == values).all()


def test_other_tensors_pass_unchanged():
    batch = {"label": torch.ones(4, 3, dtype=torch.uint8), "image": torch.rand(4, 3, 8, 8)}
    got = prepare(batch, Images(source="x", flip=True), training=True)
    assert got["label"] is batch["label"] and got["image"] is batch["image"]


def test_half_are_mirrored_and_none_when_not_training():
    settings = Images(source="x", image_size=4, flip=True)
    images = noise(400, 4)
    torch.manual_seed(0)
    got = prepare({"image": images}, settings, training=True)["image"]
    plain = prepare({"image": images}, settings, training=False)["image"]
    mirrored = (got == plain.flip(-1)).flatten(1).all(1)
    assert ((got == plain).flatten(1).all(1) ^ mirrored).all()
    assert 150 < mirrored.sum() < 250


def test_crops_are_windows_of_the_image_everywhere():
    settings = Images(source="x", image_size=5, enlarge=7)
    images = noise(200, 7)
    torch.manual_seed(1)
    got = prepare({"image": images}, settings, training=True)["image"]
    assert got.shape == (200, 3, 5, 5)
    windows = images.sub(127.5).div(127.5).unfold(2, 5, 1).unfold(3, 5, 1)  # N, C, 3, 3, 5, 5
    found = (windows == got[:, :, None, None]).all(1).flatten(-2).all(-1)
    assert found.flatten(1).any(1).all() and found.any(0).all()
    centre = prepare({"image": images}, settings, training=False)["image"]
    assert (centre == windows[:, :, 1, 1]).all()


def test_a_share_of_the_images_is_zoomed_into_and_the_others_keep_every_pixel():
    """On a ramp from left to right, the values say where each column came from."""
    settings = Images(source="x", image_size=101, zoom=0.5)
    ramp = torch.arange(101, dtype=torch.uint8).mul(2).expand(400, 3, 101, 101)
    torch.manual_seed(0)
    got = prepare({"image": ramp}, settings, training=True)["image"].mul(127.5).add(127.5)
    left, right = got[:, 0, 50, 0] / 2, got[:, 0, 50, -1] / 2
    zoomed = (got != ramp).flatten(1).any(1)
    assert 170 < zoomed.sum() < 230
    width = (right - left)[zoomed] / 100
    assert (0.8 * 0.9) ** 0.5 - 0.01 < width.min() < 0.88 and 0.98 < width.max() <= 1
    assert left.min() >= 0 and left.max() > 7 and right.max() <= 100 and right.min() < 93
    steps = got.diff(dim=-1)[zoomed][..., 1:-1]
    assert (steps - width[:, None, None, None] * 2).abs().max() < 0.05, "evenly"
    assert (got - got[:, :1, :1]).abs().max() < 0.01, "each row as every other"
    assert torch.equal(prepare({"image": ramp}, settings, training=False)["image"].mul(127.5).add(127.5), ramp.float())


def test_only_pairs_are_zoomed_alike():
    images = noise(64, 12)
    for kind, keys in ((Pairs, "ab"), (Unpaired, "ab"), (Domains, ("image", "reference"))):
        got = prepare(dict.fromkeys(keys, images), kind(source="x", image_size=12, zoom=0.9), training=True)
        assert torch.equal(*got.values()) == (kind is Pairs)


@pytest.mark.parametrize("kind", [Pairs, Unpaired])
def test_pairs_are_changed_alike_and_domains_apart(kind):
    settings = kind(source="x", image_size=8, enlarge=12, flip=True)
    images = noise(64, 12)
    torch.manual_seed(0)
    got = prepare({"a": images, "b": images}, settings, training=True)
    assert torch.equal(got["a"], got["b"]) == (kind is Pairs)


def test_augmentation_is_a_function_of_the_global_seed():
    settings = Images(source="x", image_size=8, enlarge=12, flip=True)

    def once(seed):
        torch.manual_seed(seed)
        return prepare({"image": noise(8, 12)}, settings, training=True)["image"]

    assert torch.equal(once(5), once(5)) and not torch.equal(once(5), once(6))

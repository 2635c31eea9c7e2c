import numpy as np
import pytest

from gancli.data import shapes
from gancli.data.dataset import load
from gancli.recipe.data import Images, Labelled, Pairs, Unpaired


def drawn(count: int, size: int = 64) -> tuple[list[shapes.Shape], np.ndarray]:
    attributes = [shapes.shape(0, index) for index in range(count)]
    return attributes, np.stack([shapes.draw(one, size, size) for one in attributes])


def test_attributes_are_a_function_of_seed_and_index():
    assert shapes.shape(3, 5) == shapes.shape(3, 5) != shapes.shape(3, 6) != shapes.shape(4, 6)
    attributes, _ = drawn(600)
    assert {one.shape for one in attributes} == set(shapes.SHAPES)
    for colour in shapes.COLOURS:
        assert 110 < sum(one.colour == colour for one in attributes) < 190


@pytest.mark.parametrize("size", [16, 32, 64, 256])
def test_every_shape_lies_inside_and_has_its_area(size):
    attributes, images = drawn(60, size)
    masks = shapes.mask_of(images)
    assert not masks[:, [0, -1]].any() and not masks[:, :, [0, -1]].any()
    for one, mask in zip(attributes, masks, strict=True):
        radius = one.radius
        area = {
            "circle": np.pi * radius**2,
            "square": (1.7 * radius) ** 2,
            "triangle": 3 * np.sqrt(3) / 4 * radius**2,
        }[one.shape]
        assert mask.mean() == pytest.approx(area, rel=0.15, abs=1.5 / size * radius * 4)


def test_colour_and_mask_are_read_back_even_from_imperfect_images():
    attributes, images = drawn(200)
    truth = [list(shapes.COLOURS).index(one.colour) for one in attributes]
    rng = np.random.default_rng(0)
    noisy = np.clip(0.8 * images + 20 + rng.normal(0, 8, images.shape), 0, 255).astype(np.uint8)
    assert shapes.colour_of(images).tolist() == shapes.colour_of(noisy).tolist() == truth
    assert (shapes.mask_of(images) == shapes.mask_of(noisy)).mean() > 0.98


def test_non_square_images_are_drawn():
    assert shapes.mask_of(shapes.draw(shapes.shape(0, 0), 20, 50)[None]).any()


def test_pairs_are_an_outline_and_its_filling():
    data = load(Pairs(source="shapes:30", image_size=64))
    a, b = (np.asarray(data.images[key]) for key in "ab")
    assert (shapes.colour_of(a) == shapes.colour_of(b)).all()
    outline, filled = shapes.mask_of(a), shapes.mask_of(b)
    assert not (outline & ~filled).any() and (filled.sum() > 1.5 * outline.sum())


def test_unpaired_domains_are_two_colours_of_different_content():
    data = load(Unpaired(source="shapes:30", image_size=32))
    a, b = (np.asarray(data.images[key]) for key in "ab")
    colours = list(shapes.COLOURS)
    assert {colours[n] for n in shapes.colour_of(a)} == {"red"} and {colours[n] for n in shapes.colour_of(b)} == {
        "blue"
    }
    assert not any((shapes.mask_of(a)[n] == mask).all() for n in range(30) for mask in shapes.mask_of(b))
    # The truth of the translation: the same shape in the other domain's colour.
    source = shapes.Shapes("unpaired", (32, 32), 30)
    truth = shapes.draw(shapes.recolour(source.shape(source.names.index(data.names["a"][4])), "blue"), 32, 32)
    assert (shapes.mask_of(a[4:5]) == shapes.mask_of(truth[None])).all() and shapes.colour_of(
        truth[None]
    ) == colours.index("blue")


def test_classes_are_the_colours_in_the_order_of_the_rule():
    data = load(Labelled(source="shapes:40", image_size=32))
    assert data.classes == tuple(shapes.COLOURS)
    assert (shapes.colour_of(np.asarray(data.images["image"])) == data.labels).all()


def test_train_and_test_share_nothing():
    settings = Images(source="shapes:50", image_size=16)
    train, test = load(settings), load(settings, "test")
    assert len(train) == 50 and len(test) == 5
    assert not {image.tobytes() for image in train.images["image"]} & {
        image.tobytes() for image in test.images["image"]
    }

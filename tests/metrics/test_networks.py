import numpy as np
import pytest
import torch

from gancli.errors import UserError
from gancli.metrics import classifier, networks
from gancli.metrics.features import Classifying, Sizes


def fitted():
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)
    return classifier.train_classifier(images, np.arange(20) % 2, classes=2, seed=0)


def test_a_fitted_network_is_found_by_its_name_and_by_its_file(tmp_path):
    trained = networks.load("classifier", fit=fitted)
    assert isinstance(trained, Classifying)
    assert isinstance(trained, classifier.Classifier)
    trained.save(tmp_path / "mine.safetensors")
    assert networks.load(str(tmp_path / "mine.safetensors")).protocol == trained.protocol


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("inception", {}, "gancli fetch inception"),
        ("inception", {"resize": "nearest"}, "choose from tf1, pytorch, clean, torchmetrics"),
        ("classifier", {}, "this data has none"),
        ("classifier", {"weights": "some.pth", "fit": fitted}, "--weights"),
        ("classifier", {"resize": "clean", "fit": fitted}, "--resize: is for inception"),
        ("vgg", {}, "unknown network 'vgg'"),
        ("none.safetensors", {}, "fit-features"),
    ],
)
def test_what_cannot_be_had_is_refused(name, options, said):
    with pytest.raises(UserError) as refused:
        networks.load(name, **options)
    assert said in str(refused.value)
    assert refused.value.status == 2


def test_sizes_are_height_by_width() -> None:
    sizes = Sizes()
    sizes.add(torch.zeros(2, 3, 4, 6))
    assert str(sizes) == "4×6"

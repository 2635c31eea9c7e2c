import pickle
import zipfile

import inception_reading as reading
import pytest
import safetensors.torch
import torch

from gancli import fetch, files
from gancli.errors import UserError
from gancli.metrics import inception, resize


@pytest.fixture(scope="module")
def state():
    return reading.random_state()


@pytest.fixture(scope="module")
def weights(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def photographs():
    """Smooth colour gradients with a little noise: unlike pure noise, these differ from one resize to another."""
    grid = torch.linspace(0, 1, 40)
    waves = torch.stack([torch.sin(9 * k * grid[:, None] + 5 * grid[None]) for k in range(1, 7)]).reshape(2, 3, 40, 40)
    return (127.5 + 120 * waves + torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))).byte()


def test_the_published_layout(state):
    published = inception.Inception().state_dict()
    assert len(published) == len(state) == 566
    assert {name: tensor.shape for name, tensor in published.items()} == {n: t.shape for n, t in state.items()}
    for name in ("Conv2d_1a_3x3.conv.weight", "Mixed_7c.branch_pool.bn.running_var", "fc.bias"):
        assert name in published


@pytest.mark.parametrize("way", resize.RESIZES)
def test_features_equal_an_independent_reading(state, weights, photographs, way):
    features = inception.load(weights, resize=way)
    with torch.no_grad():
        expected = reading.features(state, resize.WAYS[way](photographs))
    found = features(photographs)
    assert found.shape == (2, 2048)
    assert 0.05 < expected.std() < 50, "activations neither vanish nor explode"
    assert (found - expected).norm() / expected.norm() < 1e-5
    logits = features.logits(found)
    torch.testing.assert_close(logits, expected @ state["fc.weight"].T, atol=1e-4, rtol=1e-4)


def test_images_do_not_depend_on_their_batch_and_gray_is_three_equal_channels(weights):
    features = inception.load(weights)
    gray = torch.randint(0, 256, (11, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    together = features(gray)
    one_by_one = torch.cat([features(image.expand(3, 28, 28)[None]) for image in gray])
    assert (together - one_by_one).norm() / together.norm() < 1e-5


def test_bf16_states_its_difference(weights, photographs):
    features = inception.load(weights, precision="bf16")
    low = features(photographs)
    full = inception.load(weights)(photographs)
    stated = features.protocol["bf16_relative_difference"]
    assert features.protocol["bf16_compared_images"] == 2
    assert stated == pytest.approx(((low - full).norm() / full.norm()).item(), rel=1e-3)
    assert 0 < stated < 0.05


def test_bf16_computes_few_images_twice_and_says_whether_it_is_faster(weights, monkeypatch):
    features = inception.load(weights, precision="bf16")
    given: dict[str, int] = {}

    def counted(name, network):
        def compute(scaled):
            given[name] = given.get(name, 0) + len(scaled)
            return torch.zeros(len(scaled), inception.DIMENSIONS) + 1

        return compute

    clock = iter(range(1000))
    seconds = {"float32": 3, "bf16": 2}
    monkeypatch.setattr(features, "_network", counted("float32", features._network))
    monkeypatch.setattr(features, "_low_precision", counted("bf16", features._low_precision))
    monkeypatch.setattr(inception.time, "perf_counter", lambda: next(clock))
    features(torch.zeros(8, 3, 32, 32, dtype=torch.uint8))
    assert "bf16_times_as_fast" not in features.protocol, "it was not yet warm"
    features._seconds = {name: [9.0, value] for name, value in seconds.items()}
    assert features.protocol["bf16_times_as_fast"] == 1.5
    features(torch.zeros(72, 3, 32, 32, dtype=torch.uint8))
    assert given == {"float32": inception.COMPARED_IMAGES, "bf16": 80}
    assert features.protocol["bf16_compared_images"] == inception.COMPARED_IMAGES == 32


def test_other_weights_are_stated(weights):
    protocol = inception.load(weights, resize="clean").protocol
    assert "not the published" in protocol["network"]
    assert protocol["weights"].startswith("sha256:")
    assert protocol["resize"] == "clean"


@pytest.mark.parametrize("name", inception.FILE_NAMES)
@pytest.mark.parametrize("fetched", [True, False])
def test_found_in_both_caches_under_both_names_and_checked_before_loading(caches, monkeypatch, weights, fetched, name):
    folder = fetch.place("inception").parent if fetched else caches / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    path = folder / name
    path.write_bytes(weights.read_bytes())
    with monkeypatch.context() as patched, pytest.raises(UserError, match="SHA-256") as refused:
        patched.setattr(torch, "load", lambda *_, **__: pytest.fail("loaded before its hash was checked"))
        inception.load()
    assert str(path) in str(refused.value)
    monkeypatch.setattr(inception, "SHA256", files.sha256(path))
    assert inception.load().protocol["network"] == "inception-2015-12-05"


def test_what_is_fetched_is_found_and_is_what_is_asked_for():
    (file,) = fetch.KNOWN["inception"]
    assert (file.name, file.sha256) == (inception.FILE_NAMES[0], inception.SHA256)


def test_missing_weights_name_the_command():
    with pytest.raises(UserError, match="gancli fetch inception") as missing:
        inception.load()
    assert missing.value.status == 2


class Payload:
    def __reduce__(self):
        return print, ("a pickle was executed",)


def zeros(changes):
    return lambda state: {**state, **changes}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: {k: v for k, v in state.items() if k != "fc.bias"}, "fc.bias is missing"),
        (lambda state: {"model": state}, "is missing"),
        (lambda state: [1, 2], "is missing"),
        (zeros({"extra": torch.zeros(1)}), "extra is unknown"),
        (zeros({"fc.bias": torch.zeros(1000)}), "fc.bias is not a tensor of floats of shape (1008,)"),
        (zeros({"fc.bias": torch.zeros(1008, dtype=torch.int64)}), "fc.bias is not a tensor of floats"),
        (zeros({"fc.bias": torch.full((1008,), torch.nan)}), "NaN"),
        (zeros({"Conv2d_1a_3x3.bn.running_var": torch.full((32,), -1.0)}), "negative variance"),
        (zeros({"fc.bias": torch.zeros(1).expand(10**12)}), "shape (1008,)"),
        (zeros({"fc.bias": Payload()}), "not a readable state dict"),
    ],
)
def test_what_is_not_the_layout_is_refused_in_one_line(state, tmp_path, change, said, capsys):
    path = tmp_path / "changed.pth"
    small = {k: v for k, v in state.items() if v.numel() < 3000}
    small |= {k: v[:1, :1].expand_as(v) for k, v in state.items() if k not in small}
    torch.save(change(small), path)
    with pytest.raises(UserError) as refused:
        inception.load(path)
    message = str(refused.value)
    assert said in message
    assert message.startswith(str(path))
    assert "\n" not in message
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "content",
    [b"", b"not a file of weights", pickle.dumps({"fc.bias": 1}), pickle.dumps(Payload()), b"PK\x03\x04broken"],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_or_hostile_files_are_refused_in_one_line(tmp_path, content, suffix, capsys):
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a readable state dict"):
        inception.load(path)
    assert "executed" not in capsys.readouterr().out


def test_a_file_that_unpacks_to_gigabytes_is_refused_before_it_does(tmp_path, monkeypatch):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(2**20))
    monkeypatch.setattr(inception, "LARGEST_FILE_BYTES", 2**19)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("unpacked"))
    with pytest.raises(UserError, match="not a readable state dict"):
        inception.load(path)


def test_safetensors_give_the_same_features(state, weights, tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({k: v for k, v in state.items() if "num_batches" not in k}, path)
    image = torch.zeros(1, 3, 9, 9, dtype=torch.uint8)
    assert inception.load(path)(image).equal(inception.load(weights)(image))


@pytest.mark.parametrize(
    "images", [torch.zeros(1, 3, 8, 8), torch.zeros(1, 4, 8, 8, dtype=torch.uint8), torch.zeros(0, 3, 8, 8).byte()]
)
def test_only_8_bit_gray_and_rgb_are_taken(weights, images):
    with pytest.raises(UserError, match="uint8"):
        inception.InceptionFeatures(inception.Inception(), "0")(images)

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gancli.data import store
from gancli.data.batches import Batches
from gancli.data.dataset import load
from gancli.errors import UserError
from gancli.recipe.data import Images, Pairs

pytestmark = pytest.mark.usefixtures("cache")


def photographs(folder: Path, count: int = 12, size: tuple[int, int] = (40, 30)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 256, (size[1] // 5, size[0] // 5, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize(size).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture
def decodes(monkeypatch) -> list[int]:
    """Grows by one for each row that is decoded."""
    seen: list[int] = []
    decode = store.Rows.decode
    monkeypatch.setattr(store.Rows, "decode", lambda rows, row, form: (seen.append(row), decode(rows, row, form))[1])
    return seen


def images(folder: Path, **options) -> Images:
    return Images(source=str(folder), holdout=0, **{"image_size": 16, **options})


def test_decoded_once_and_never_again(tmp_path, decodes):
    settings = images(photographs(tmp_path / "set"))
    reports = []
    first = load(settings, progress=lambda done, total: reports.append((done, total)))
    assert len(decodes) == 12 and reports[-1] == (12, 12)
    again = load(settings)
    assert len(decodes) == 12
    assert (np.asarray(first.images["image"]) == again.images["image"]).all()


@pytest.mark.parametrize(
    "options",
    [
        {"image_size": 8},
        {"channels": 1},
        {"crop": 20},
        {"resize": "stretch"},
        {"background": "black"},
        {"enlarge": 20},
    ],
)
def test_every_option_that_changes_pixels_decodes_anew(tmp_path, decodes, options):
    photographs(tmp_path / "set")
    load(images(tmp_path / "set"))
    load(images(tmp_path / "set", **options))
    assert len(decodes) == 24


@pytest.mark.parametrize("options", [{"flip": True}, {"on_bad_image": "skip"}, {"cache_limit": 1}])
def test_no_other_option_does(tmp_path, decodes, options):
    photographs(tmp_path / "set")
    load(images(tmp_path / "set"))
    load(images(tmp_path / "set", **options))
    assert len(decodes) == 12


def changed(path: Path) -> None:
    """The same bytes at another time."""
    times = path.stat()
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 1))


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: changed(folder / "03.png"),
        lambda folder: (folder / "03.png").rename(folder / "13.png"),
        lambda folder: shutil.copy(folder / "03.png", folder / "13.png"),
        lambda folder: (folder / "03.png").unlink(),
    ],
)
def test_any_change_of_the_files_decodes_anew(tmp_path, decodes, change):
    settings = images(photographs(tmp_path / "set"))
    load(settings)
    change(tmp_path / "set")
    before = len(decodes)
    data = load(settings)
    assert len(decodes) - before == len(data)


@pytest.mark.parametrize("damage", ["short", "gone", "no json"])
def test_a_damaged_entry_is_made_again(tmp_path, cache, decodes, damage):
    settings = images(photographs(tmp_path / "set"))
    expected = np.array(load(settings).images["image"])
    pixels, entry = next(cache.rglob("*.pixels")), next(cache.rglob("entry.json"))
    if damage == "short":
        pixels.write_bytes(pixels.read_bytes()[:-1])
    elif damage == "gone":
        pixels.unlink()
    else:
        entry.write_text("{")
    assert (expected == load(settings).images["image"]).all() and len(decodes) == 24


def test_bad_images_are_all_named_or_skipped_and_remembered(tmp_path, decodes):
    folder = photographs(tmp_path / "set")
    for number in (3, 7):
        (folder / f"{number:02}.png").write_bytes((folder / f"{number:02}.png").read_bytes()[:200])
    with pytest.raises(
        UserError, match=r"2 images .* 03\.png \(truncated.*; 07\.png \(truncated.*on_bad_image=skip"
    ) as error:
        load(images(folder))
    assert error.value.status == 2 and "\n" not in str(error.value)
    data = load(images(folder, on_bad_image="skip"))
    assert len(decodes) == 12 and len(data) == 10 and [name for name, _ in data.skipped] == ["03.png", "07.png"]
    assert data.names["image"][3] == "04.png"
    fourth = np.asarray(Image.open(folder / "04.png").resize((16, 16), Image.Resampling.BICUBIC, (5, 0, 35, 30)))
    assert (np.asarray(data.images["image"][3]) == fourth).all()


def test_many_images_of_one_fault_are_one_short_line(tmp_path):
    with pytest.raises(UserError, match=r"12 images .*: 00\.png \(30 × 40 pixels: smaller than.*\); and 11 more: fix"):
        load(images(photographs(tmp_path / "set"), crop=100))


def test_a_set_without_one_good_image_is_refused(tmp_path):
    (tmp_path / "1.png").write_bytes(b"")
    with pytest.raises(UserError, match="no image of the train split can be used"):
        load(images(tmp_path, on_bad_image="skip"))


@pytest.mark.parametrize("paired", [False, True])
def test_beyond_the_limit_images_are_streamed_with_the_same_order_and_pixels(tmp_path, cache, paired):
    kind = Pairs if paired else Images
    folder = photographs(tmp_path / "set")
    (folder / "05.png").write_bytes(b"damaged")
    options = {"source": str(folder), "image_size": 16, "holdout": 0, "on_bad_image": "skip"}
    streamed = load(kind(**options, cache_limit=0))
    assert not list(cache.rglob("*.pixels"))
    kept = load(kind(**options))
    assert streamed.names == kept.names and streamed.skipped == kept.skipped and len(streamed) == 11
    for one, other in zip(Batches(streamed, 4, 1, 3, 12), Batches(kept, 4, 1, 3, 12), strict=True):
        assert one.keys() == other.keys() and all((one[key] == other[key]).all() for key in one)
    for key, array in streamed.images.items():
        assert array.shape == kept.images[key].shape and array.dtype == np.uint8
        assert (array[2] == kept.images[key][2]).all() and (array[1:4] == kept.images[key][1:4]).all()


def test_a_bad_file_stops_a_streamed_set_before_its_first_batch(tmp_path):
    (photographs(tmp_path / "set") / "05.png").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"05\.png \(not an image"):
        load(images(tmp_path / "set", cache_limit=0))


LOAD = """
import pathlib, sys, time
import numpy as np
from gancli.data.dataset import load
from gancli.recipe.data import Images
while not pathlib.Path(sys.argv[2]).exists():
    time.sleep(0.001)
print(np.asarray(load(Images(source=sys.argv[1], holdout=0, image_size=16)).images["image"]).sum(dtype=np.int64))
"""


def test_processes_at_once_share_one_entry(tmp_path, cache):
    folder = photographs(tmp_path / "set", 200)
    command = [sys.executable, "-c", LOAD, str(folder), str(tmp_path / "go")]
    root = Path(__file__).parents[2]
    processes = [subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    time.sleep(1)  # so that all are likely to be waiting; the test holds either way
    (tmp_path / "go").touch()
    sums = {int(process.communicate(timeout=300)[0]) for process in processes}
    assert sums == {int(np.asarray(load(images(folder)).images["image"]).sum(dtype=np.int64))}
    assert len(list(cache.rglob("*.pixels"))) == 1 and not list(cache.rglob("*.part"))


def test_what_a_killed_process_left_is_removed(tmp_path, cache):
    folder = photographs(tmp_path / "set")
    load(images(folder))
    entry = next(cache.rglob("entry.json")).parent
    stale = entry.with_name(f".{entry.name}.12345678.part")
    entry.rename(stale)
    load(images(folder))
    assert not stale.exists() and entry.is_dir()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, cache, monkeypatch):
    folder = photographs(tmp_path / "set")
    real = Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda path, *args, **kwargs: real(Path("/dev/full") if path.suffix == ".pixels" else path, *args, **kwargs),
    )
    with pytest.raises(UserError, match="No space left on device: make room, or set GANCLI_CACHE") as error:
        load(images(folder))
    assert error.value.status == 1
    assert not list(cache.rglob("*.part"))


def test_clear_removes_everything(tmp_path, cache):
    data = load(images(photographs(tmp_path / "set")))
    sets, freed = store.clear()
    assert sets == 1 and freed >= data.images["image"].nbytes and not list((cache / "data").iterdir())
    # What is open stays readable.
    assert np.asarray(data.images["image"]).shape == (12, 16, 16, 3)


@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_in_order_is_bounded_and_in_order(count):
    started = []
    for number, result in enumerate(store.in_order(lambda item: started.append(item) or item, range(count), 4)):
        assert result == number and len(started) <= number + 4
    assert len(started) == count


def test_fewer_images_than_a_batch_is_said(tmp_path):
    data = load(images(photographs(tmp_path / "set")))
    data.need(12)
    with pytest.raises(UserError, match="set it to 12 or less"):
        data.need(13)


def test_clear_leaves_what_another_process_decodes(tmp_path, cache, monkeypatch):
    """The first decoding of a set goes on while `clear` removes everything else."""
    load(images(photographs(tmp_path / "other")))
    folder = photographs(tmp_path / "set")
    cleared = []
    decode = store.Rows.decode

    def clearing(rows, row, form):
        if row == 5:
            # Another process, as locks are of processes: its own open file stands for it.
            cleared.append(store.clear())
            left = sorted(path.name[-5:] for path in (cache / "data").iterdir())
            assert left == [".lock", ".part"], left
        return decode(rows, row, form)

    monkeypatch.setattr(store.Rows, "decode", clearing)
    data = load(images(folder))
    assert len(data) == 12 and [sets for sets, _ in cleared] == [1]
    assert (np.asarray(load(images(folder)).images["image"]) == data.images["image"]).all()
    assert store.clear()[0] == 1 and not list((cache / "data").iterdir())


def test_who_waited_for_a_set_that_was_cleared_decodes_it(tmp_path, cache):
    """`clear` removes the lock too: whoever waited for it takes a new one, which all others see."""
    place = cache / "data" / "x"
    place.parent.mkdir(exist_ok=True)
    with store._locked(place):
        first = (cache / "data" / ".x.lock").stat().st_ino
        (cache / "data" / ".x.lock").unlink()
        with store._locked(place, wait=False):
            assert (cache / "data" / ".x.lock").stat().st_ino != first
            with pytest.raises(BlockingIOError), store._locked(place, wait=False):
                pass

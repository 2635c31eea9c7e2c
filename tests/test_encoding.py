"""What a translation keeps of its original beside the colours: alpha, EXIF, colour profile and resolution."""

import io
from pathlib import Path

import numpy as np
import pytest
import tiny
from commands import run_gancli
from PIL import Image, ImageCms, TiffImagePlugin

from gancli.data.pixels import Form, decode
from gancli.make import inputs, translation
from gancli.make.encoding import encode, read

ORIENTATION, EXIF, GPS, THUMBNAIL = 0x0112, 0x8769, 0x8825, 1
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    assert run_gancli("train", tiny.write("cyclegan", folder), "--out", folder / "run", "-q") == 0
    return folder / "run"


def described() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x8298], exif[ORIENTATION] = "Maker", "Model 7", "someone", 6
    camera = exif.get_ifd(EXIF)
    camera[0x9003], camera[0x829A] = "2019:01:01 01:01:01", TiffImagePlugin.IFDRational(1, 60)
    camera[0xA002], camera[0xA003] = 30, 20
    exif.get_ifd(GPS)[1], exif.get_ifd(GPS)[2] = "N", (1.0, 2.0, 3.0)
    return exif


def picture(width: int = 30, height: int = 20) -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tif"])
def test_exif_profile_and_resolution_are_kept(ending, run, tmp_path, gancli) -> None:
    """The picture stands upright afterwards, so its EXIF no longer says that it should be turned."""
    (tmp_path / "in").mkdir()
    given = tmp_path / "in" / f"photo{ending}"
    picture().save(given, exif=described().tobytes(), icc_profile=SRGB, dpi=(300, 300))
    done = gancli("sample", run, "--input", tmp_path / "in", "--out", tmp_path / "out")
    assert done.status == 0, done.err
    with Image.open(tmp_path / "out" / given.name) as made:
        assert made.size == (20, 30)
        exif = made.getexif()
        assert (exif[0x010F], exif[0x0110], exif[0x8298]) == ("Maker", "Model 7", "someone")
        assert ORIENTATION not in exif
        camera = exif.get_ifd(EXIF)
        assert camera[0x9003] == "2019:01:01 01:01:01" and float(camera[0x829A]) == pytest.approx(1 / 60)
        assert (camera[0xA002], camera[0xA003]) == (20, 30)
        assert exif.get_ifd(GPS)[2] == (1.0, 2.0, 3.0)
        assert made.info["icc_profile"] == SRGB
        if ending != ".webp":  # which has no place for it
            assert made.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_a_preview_of_the_original_is_not_kept() -> None:
    """A camera's thumbnail shows the untranslated picture."""
    exif, file = described(), io.BytesIO()
    preview = io.BytesIO()
    picture(8, 8).save(preview, "JPEG")
    exif._ifds[THUMBNAIL] = {0x0201: 0, 0x0202: len(preview.getvalue())}
    picture().save(file, "JPEG", exif=exif.tobytes() + preview.getvalue())
    pixels, kept = read(decode(io.BytesIO(file.getvalue())), Form(30, 20))
    made = io.BytesIO()
    encode(pixels, made, ".jpg", kept)
    assert preview.getvalue() not in made.getvalue()
    assert not Image.open(made).getexif().get_ifd(THUMBNAIL)


@pytest.mark.parametrize("ending", [".png", ".webp", ".tif", ".gif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_alpha_is_carried(ending, channels) -> None:
    alpha = np.zeros((20, 30), np.uint8)
    alpha[5:15, 5:25] = 255
    if ending != ".gif":  # which knows all or nothing
        alpha[8:12] = 77
    image = picture().convert("L" if channels == 1 else "RGB")
    hidden = np.array(image)
    image = image.convert("RGB") if ending == ".gif" else image
    image.putalpha(Image.fromarray(alpha))
    file = io.BytesIO()
    image.save(file, Image.registered_extensions()[ending], **({"lossless": True} if ending == ".webp" else {}))
    pixels, kept = read(decode(io.BytesIO(file.getvalue())), Form(20, 30, channels))
    assert pixels.shape == (20, 30, channels)
    assert kept.alpha is not None and (kept.alpha == alpha).all()
    if ending in (".png", ".tif"):
        assert (pixels.squeeze()[alpha == 77] == hidden[alpha == 77]).all(), "half-transparent colours are the file's"
        assert (pixels[alpha == 0] == 255).all(), "nobody sees those, and the network sees the background"
    made = io.BytesIO()
    encode(255 - pixels, made, ending, kept)
    with Image.open(made) as found:
        whole = np.array(found.convert("RGBA"))
    assert (whole[..., 3] == alpha).all()
    tolerance = 40 if ending == ".gif" else 0
    expected = np.broadcast_to(255 - pixels, (20, 30, 3))[alpha > 0].astype(int)
    assert np.abs(whole[..., :3][alpha > 0] - expected).max() <= tolerance


def test_alpha_goes_through_translation_whole(run, tmp_path, gancli) -> None:
    image = picture(30, 20)
    alpha = Image.linear_gradient("L").resize((30, 20))
    image.putalpha(alpha)
    (tmp_path / "in").mkdir()
    image.save(tmp_path / "in" / "a.png")
    picture().save(tmp_path / "in" / "opaque.png")
    assert gancli("sample", run, "--input", tmp_path / "in", "--out", tmp_path / "out").status == 0
    with Image.open(tmp_path / "out" / "a.png") as made:
        assert made.mode == "RGBA" and (np.array(made.getchannel("A")) == np.array(alpha)).all()
        opaque = np.array(Image.open(tmp_path / "out" / "opaque.png"))
        shown = np.array(alpha) > 0
        assert np.abs(np.array(made)[..., :3].astype(int) - opaque)[shown].mean() < 30
    words = ("sample", run, "--input", tmp_path / "in" / "a.png", "--size", "16", "--out", tmp_path / "small.png")
    assert gancli(*words).status == 0
    with Image.open(tmp_path / "small.png") as made:
        assert made.mode == "RGBA" and made.size == (16, 16)


@pytest.mark.parametrize("ending", [".gif", ".png", ".webp", ".tif"])
def test_an_animation_is_refused_by_its_name(ending, run, tmp_path, gancli) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    frames = [Image.new("RGB", (8, 8), (40 * n, 0, 0)) for n in range(3)]
    frames[0].save(folder / f"moving{ending}", save_all=True, append_images=frames[1:])
    frames[0].save(folder / f"still{ending}")
    done = gancli("sample", run, "--input", folder, "--out", tmp_path / "out")
    assert done.status == 1 and f"moving{ending}: an animation or several pages: save each" in done.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"still{ending}"]


@pytest.mark.parametrize("damage", ["exif", "profile of CMYK", "too much EXIF"])
def test_damaged_descriptions_lose_nothing_but_themselves(damage, run, tmp_path, gancli) -> None:
    exif, profile = described().tobytes(), SRGB
    if damage == "exif":
        exif = exif[: len(exif) // 2]
    elif damage == "profile of CMYK":
        profile = SRGB[:16] + b"CMYK" + SRGB[20:]
    elif damage == "too much EXIF":
        odd = Image.Exif()
        odd[0x927C] = b"x" * 60_000
        odd[0x010E] = "y" * 4_000
        exif = odd.tobytes()
    picture().save(tmp_path / "one.jpg", exif=exif, icc_profile=profile, dpi=(300, 300))
    done = gancli("sample", run, "--input", tmp_path / "one.jpg", "--out", tmp_path / "out")
    assert done.status == 0, done.err
    with Image.open(tmp_path / "out" / "one.jpg") as made:
        made.load()
        assert ("icc_profile" in made.info) == (damage != "profile of CMYK")
        assert made.info["dpi"] == (300, 300)


def test_a_tile_beyond_the_memory_is_refused_with_an_estimate(run, monkeypatch, tmp_path, gancli) -> None:
    Image.new("RGB", (2000, 1500)).save(tmp_path / "large.png")
    monkeypatch.setattr("gancli.memory.available", lambda: 10_000_000)
    words = ("sample", run, "--input", tmp_path / "large.png", "--out", tmp_path / "out.png", "--tile")
    done = gancli(*words, 10**9)
    assert done.status == 1 and "a tile of 1500×2000 pixels needs about " in done.err and "lower --tile" in done.err
    done = gancli("sample", run, "--input", tmp_path / "large.png", "--size", "99999", "--out", tmp_path / "out.png")
    assert (
        done.status == 2
        and "--size 99999x99999: an image needs about 240 GB of memory, and 10.0 MB are free" in done.err
    )
    assert not (tmp_path / "out.png").exists()
    monkeypatch.setattr("gancli.memory.available", lambda: 100_000_000)
    assert gancli(*words, 64).status == 0
    assert translation.TILE == 1024


def test_a_format_that_cannot_be_written_becomes_png(monkeypatch) -> None:
    job = translation.Job(None, inputs.Decoded("here", [], []), {"": None})  # type: ignore[arg-type]
    monkeypatch.setattr(job.source, "names", ["a.heic", "b.JFIF", "c.png", "d"])
    assert [job.name(Path("out"), n, "") for n in range(4)] == ["a.heic.png", "b.JFIF", "c.png", "d.png"]


def test_a_full_disk_ends_a_translation_at_once(run, tmp_path, gancli, monkeypatch) -> None:
    """Nothing partial stays, and the other images are not tried one by one."""
    (tmp_path / "in").mkdir()
    for n in range(5):
        picture().save(tmp_path / "in" / f"{n}.png")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr("gancli.make.encoding.images.picture", full)
    done = gancli("sample", run, "--input", tmp_path / "in", "--out", tmp_path / "out")
    assert done.status == 1 and done.err.count("\n") == 1 and "No space left on device" in done.err
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_a_sheet_keeps_its_images_small(run, tmp_path) -> None:
    """A hundred photographs of a sheet never wait at their own size."""
    from gancli.runs.opening import open_model

    large = np.zeros((2, 300, 200, 3), np.uint8)
    job = translation.Job(open_model(run), inputs.Decoded("here", ["a", "b"], large), {"": lambda images: -images})
    rows = list(translation.rows(job))
    assert {image.shape for row in rows for image in row} == {(*job.model.recipe.data.size, 3)}

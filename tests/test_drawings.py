"""curves.png and progress.gif: when they are drawn, and that none of them can end a training."""

from pathlib import Path
from typing import Any

import matplotlib
import pytest
import tiny
from commands import run_gancli
from PIL import Image

from gancli import files
from gancli.runs.run import Run
from gancli.training import curves, drawings
from gancli.training.drawings import Drawings
from gancli.training.recorder import Recorder


def pictures(run: Run, count: int) -> None:
    """Pictures of as many grays, the first of them black."""
    run.samples.mkdir(parents=True)
    for step in range(count):
        Image.new("L", (8, 8), step * 255 // max(1, count - 1)).save(run.samples / f"step-{step:08d}.png")


@pytest.mark.parametrize("count", [1, 2, 99, 100, 101, 150, 199, 200, 1000])
def test_an_animation_has_at_most_100_frames_from_the_first_to_the_last(count: int, tmp_path: Path) -> None:
    run = Run(tmp_path)
    pictures(run, count)
    drawings.animate(run)
    with Image.open(run.samples / "progress.gif") as gif:
        assert getattr(gif, "n_frames", 1) == min(count, 100)
        assert gif.convert("L").getpixel((0, 0)) == 0
        gif.seek(min(count, 100) - 1)
        assert count == 1 or gif.convert("L").getpixel((0, 0)) == 255


def test_drawing_takes_a_hundredth_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each drawing takes half a second; in 1,000 seconds with 10 occasions a second there are 20 or 21."""
    clock, drawn = [0.0], []

    def draw(*_: object) -> None:
        clock[0] += 0.5
        drawn.append(clock[0])

    monkeypatch.setattr(drawings.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(drawings, "draw_curves", draw)
    monkeypatch.setattr(drawings, "animate", lambda _: None)
    some = Drawings(Run(tmp_path), pytest.fail)
    while clock[0] < 1000:
        clock[0] += 0.1
        some.refresh()
    assert drawn[0] == pytest.approx(0.6) and 19 <= len(drawn) <= 21


def test_they_are_drawn_while_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    refresh = Drawings.refresh

    def refreshed(self: Drawings) -> None:
        refresh(self)
        run = Run(tmp_path / "run")
        seen.append(run.curves_file.exists() and (run.samples / "progress.gif").exists())

    monkeypatch.setattr(Drawings, "refresh", refreshed)
    assert run_gancli("train", tiny.write("gan", tmp_path), "--out", tmp_path / "run", "-q") == 0
    assert seen == [True]


def test_they_are_drawn_after_a_divergence(tmp_path: Path) -> None:
    words = ("--set", "learning_rate=1e38", "--set", "train.log_every=1", "--set", "train.samples_every=1")
    assert run_gancli("train", tiny.write("gan", tmp_path), "--out", tmp_path / "run", "-q", *words) == 3
    assert Run(tmp_path / "run").curves_file.exists()


PLACES = {
    "curves": (curves, "_drawn"),
    "gif": (drawings.images, "save_animation"),
    "sheet": (Recorder, "_picture"),
}


@pytest.mark.parametrize("family", ["gan", "points"])
@pytest.mark.parametrize("where", PLACES)
def test_what_cannot_be_drawn_is_a_warning(
    where: str, family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gancli: Any
) -> None:
    recipe = tiny.write("gan", tmp_path)
    if family == "points":
        recipe.write_text("model: gan\ndata: {source: ring-2d}\ntrain: {steps: 12, batch_size: 4, samples_every: 6}\n")
    assert gancli("train", recipe, "--out", tmp_path / "plain", "-q").status == 0

    def fail(*_: object, **__: object) -> Any:
        raise RuntimeError("no font found")

    monkeypatch.setattr(
        *{"curves": (curves, "_drawn"), "gif": (drawings.images, "save_animation"), "sheet": (Recorder, "_picture")}[
            where
        ],
        fail,
    )
    done = gancli("train", recipe, "--out", tmp_path / "run", "-q")
    assert done.status == 0 and done.out == f"{tmp_path / 'run'}\n"
    assert done.err.splitlines() and all(
        line.startswith(str(tmp_path / "run")) and line.endswith("could not be drawn: no font found")
        for line in done.err.splitlines()
    )
    assert files.sha256(tmp_path / "run" / "model.safetensors") == files.sha256(
        tmp_path / "plain" / "model.safetensors"
    )


@pytest.mark.parametrize(
    ("key", "value"), [("text.usetex", True), ("font.family", "none"), ("figure.dpi", 1e9), ("savefig.format", "svg")]
)
def test_the_user_s_settings_of_matplotlib_do_not_reach_in(
    key: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"step": 1.0, "generator_gan": 1.0}, {"step": 2.0, "generator_gan": 0.5}]
    curves.draw_curves(rows, tmp_path / "plain.png")
    monkeypatch.setitem(matplotlib.rcParams, key, value)
    curves.draw_curves(rows, tmp_path / "set.png")
    assert files.sha256(tmp_path / "plain.png") == files.sha256(tmp_path / "set.png")


def test_no_rows_and_no_curves(tmp_path: Path) -> None:
    curves.draw_curves([], tmp_path / "none.png")
    curves.draw_curves([{"step": 1.0, "learning_rate_generator": 1.0}], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()

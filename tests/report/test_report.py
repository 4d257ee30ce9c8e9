import base64
import io
import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flat import train_flat
from PIL import Image as Picture

from unetkit.image import Image
from unetkit.io import write, write_labels
from unetkit.labels.kind import LabelKind
from unetkit.metrics.evaluation import evaluate_arrays
from unetkit.model.card import Card
from unetkit.model.files import save_model
from unetkit.nets.architecture import Architecture
from unetkit.nets.unet import UNet
from unetkit.plotting.html import Html, duration
from unetkit.report import gradient_flow, receptive_fields, results, training, write_report
from unetkit.report.training import value_text
from unetkit.training.checkpoint import save_state
from unetkit.training.plan.plan import Plan
from unetkit.training.preview import panel

TITLES = [
    "Training curves",
    "Scores",
    "Overlays",
    "Receptive field and object size",
    "Plan",
    "Timings and versions",
]
SIZES = {2: (48, 56), 3: (12, 24, 28)}
VOID = {"meta", "img", "br", "link", "hr", "input"}


class _Page(HTMLParser):
    """Reads a page strictly: every tag closed in order; texts of figures, images and links collected."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[Picture.Image] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        values = dict(attributes)
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "data")]
        if tag == "img":
            kind, data = (values["src"] or "").split(",", 1)
            assert kind == "data:image/png;base64"
            self.images.append(Picture.open(io.BytesIO(base64.b64decode(data, validate=True))))
            assert self.images[-1].size == (int(values["width"] or 0), int(values["height"] or 0))

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _read(path: Path) -> tuple[str, _Page]:
    """The page and its structure; it has to stand by itself, and every figure has to say something."""
    text = path.read_text()
    page = _Page(text)
    assert not re.search(r"url\((?!#)|@import|<script|https?:", re.sub(r'xmlns(:\w+)?="[^"]+"', "", text))
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", text)
    assert len(captions) == page.tags.count("figure")
    assert all(caption.strip().endswith(".") for caption in captions)
    assert not re.search(r"\bnan\b|\bNone\b", re.sub(r"base64,[^\"]*", "", text))
    return unescape(text), page


def _labels(ndim: int, side: int) -> np.ndarray:
    """Cubes of one side, well apart, classes 1 and 2 in turn."""
    labels = np.zeros(SIZES[ndim], dtype=np.uint8)
    for i in range(SIZES[ndim][-1] // (side + 2)):
        place = (slice(1, 1 + side),) * (ndim - 1) + (slice(i * (side + 2), i * (side + 2) + side),)
        labels[place] = 1 + i % 2
    return labels


def _make_data(folder: Path, ndim: int, *, side: int, n: int = 5) -> Path:
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    axes, spacing = "zyx"[-ndim:], (1.0,) * ndim
    rng = np.random.default_rng(ndim)
    for i in range(n):
        labels = np.roll(_labels(ndim, side), i, axis=-1) if side < 8 else _labels(ndim, side)
        image = labels * 40 + rng.normal(0, 9, labels.shape) + 60
        write(folder / "images" / f"case{i}.tif", Image(image.astype(np.uint8), axes, spacing, "px"))
        write_labels(folder / "masks" / f"case{i}.tif", Image(labels, axes, spacing, "px"))
    return folder


def _make_run(run: Path, *, ndim: int = 2, side: int = 4, names: tuple[str, ...] = ("a", "b", "c", "d")) -> Path:
    """A run folder written by hand, with every file that a whole training leaves."""
    run.mkdir(parents=True)
    data = _make_data(run.parent / f"{run.name}-data", ndim, side=side)
    architecture = Architecture(ndim=ndim, out_channels=3, widths=(4, 8))
    plan = Plan(
        budget={"steps": 30},
        data={"images": str(data)},
        net={"architecture": architecture.to_dict()},
        patches={"size": SIZES[ndim], "batch": 2},
        reasons={"patches.batch": "two are enough"},
    )
    (run / "plan.json").write_text(plan.model_dump_json())
    kind = LabelKind("classes", (0, 1, 2))
    card = Card(architecture=architecture.to_dict(), classes=["background", "cell", "nucleus"], labels=kind)
    save_model(run / "model.safetensors", UNet(architecture), card)
    rng, truth = np.random.default_rng(1), _labels(ndim, side)
    predicted = [np.where(rng.random(truth.shape) < 0.03 * (i + 1), 0, truth) for i in range(len(names))]
    triples = [(name, p.astype(np.uint8), truth) for name, p in zip(names, predicted, strict=True)]
    (run / "validation.json").write_text(evaluate_arrays(triples, card.classes).to_json())
    for name in ("best", "median", "worst", "latest"):
        views = panel(truth[None].astype(np.float32), predicted[0], truth).transpose(2, 0, 1)
        (run / "previews").mkdir(exist_ok=True)
        write(run / "previews" / f"{name}.png", Image(views, "cyx", (1.0, 1.0), "px"))
    entries = [
        {"step": s, "elapsed_s": 2.0 * s, "loss": 2.0 / s, "learning_rate": 1e-3 / s, "gradient_norm": 1.0}
        | {"dice": [0.6 + s / 100, None], "mean_dice": 0.6 + s / 100, "pixel_error": 0.1, "validation_s": 1.5}
        for s in (10, 20, 30)
    ]
    (run / "log.jsonl").write_text("".join(json.dumps(entry).replace("null", "NaN") + "\n" for entry in entries))
    losses = [2.0 / (i + 1) for i in range(30)]
    save_state(run / "last" / "state.safetensors", {}, {"step": 30, "elapsed_s": 60.0, "best": 0.9, "losses": losses})
    return run


@pytest.fixture(autouse=True)
def quick_pictures(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Charts are drawn, but not written as SVG, which takes a quarter of a second each."""
    if "real_training" not in request.function.__name__:
        for module in (training, results, receptive_fields, gradient_flow):
            monkeypatch.setattr(module, "svg", lambda figure, label: Html(f"<svg>{len(figure.axes)}</svg>"))


@pytest.mark.parametrize("ndim", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_real_training_gets_a_whole_report(tmp_path: Path, ndim: int) -> None:
    data = _make_data(tmp_path / "data", ndim, side=5, n=6)
    result = train_flat(
        data, out=tmp_path / "run", steps=4, batch=1, patch=(16,) * ndim, widths=(2, 4), validation=0.34, device="cpu"
    )
    out = write_report(result.paths.root)
    assert out == tmp_path / "run" / "report.html"
    text, page = _read(out)
    assert re.findall(r"<h2>(.*?)</h2>", text) == [TITLES[0], "Gradients and updates", *TITLES[1:]]
    assert f"<b>{result.dice:.3f}</b>" in text
    assert f"<b>{result.scores.pixel_error:.2%}</b>" in text
    assert "<b>4</b><span>training steps" in text
    assert len(page.images) == 2 * 4  # best and worst of two images, four views each
    assert page.tags.count("svg") == 9  # loss, Dice, rate, updates and gradients of two paths, spread, receptive fields
    names = [image["name"] for image in json.loads((result.paths.root / "validation.json").read_text())["per_image"]]
    assert len(names) == 2
    assert all(f"image: {name}</h3>" in text for name in names)


def test_a_rate_that_does_not_fall_is_said_to_stay(tmp_path: Path) -> None:
    run = _make_run(tmp_path / "run")
    plan = json.loads((run / "plan.json").read_text())
    plan["optim"]["final_lr_fraction"] = 1.0
    (run / "plan.json").write_text(json.dumps(plan))
    assert (
        "and then stays constant; the model is an average of the weights over the last steps"
        in _read(write_report(run))[0]
    )


@pytest.mark.parametrize("ndim", [2, 3])
def test_numbers_are_those_of_the_run(tmp_path: Path, ndim: int) -> None:
    run = _make_run(tmp_path / "run", ndim=ndim)
    text, page = _read(write_report(run))
    table = json.loads((run / "validation.json").read_text())
    for scores in (*table["pooled"], table["mean"], *table["image_mean"]):
        row = "".join(f'<td class="number">{scores[m]:.3f}</td>' for m in ("dice", "iou", "precision", "recall"))
        assert f"<td>{scores['name']}</td>{row}" in text
    ranked = sorted((np.mean([c["dice"] for c in image["classes"][1:]]), image["name"]) for image in table["per_image"])
    worst = ", ".join(f"{name} ({score:.3f})" for score, name in ranked[:3])
    assert f"lowest are {worst}" in text
    assert len(page.images) == 3 * 4
    assert "<b>30</b>" in text
    assert "<b>1 min</b>" in text
    assert "3, 1.5 s each, 8% of the time" in text  # 4.5 of 60 s
    assert "from 0.700 to 0.900" in text  # the log
    assert "two are enough" in text
    assert "then decays as a cosine to 1% of it" in text
    parameters = sum(p.numel() for p in UNet(Architecture(ndim=ndim, out_channels=3, widths=(4, 8))).parameters())
    assert f"<b>{parameters:,}</b>" in text


@pytest.mark.parametrize("ndim", [2, 3])
def test_receptive_fields_are_those_of_the_textbook(tmp_path: Path, ndim: int) -> None:
    """Size grows by (kernel - 1) x jump per layer: two 3-wide convolutions, a pooling of 2, two convolutions."""
    size, jump = 1, 1
    levels: list[int] = []
    for kernel, stride in ((3, 1), (3, 1), (2, 2), (3, 1), (3, 1)):
        size, jump = size + (kernel - 1) * jump, jump * stride
        levels.append(size)
    text, _ = _read(write_report(_make_run(tmp_path / "run", ndim=ndim)))
    for level, seen in (("encoder 0", levels[1]), ("bottom", levels[-1])):
        assert f'<td>{level}</td><td class="number">{" x ".join([str(seen)] * ndim)}</td>' in text


@pytest.mark.parametrize(
    "side, words",
    [
        (5, "covers the whole object and its surroundings"),  # level 2 sees 14 px, a disc of 25 px is 5.6 px wide
        (9, "covers the whole object but little around it"),
        (20, "never covers a whole object"),
    ],
)
def test_the_verdict_follows_the_size_of_the_objects(tmp_path: Path, side: int, words: str) -> None:
    text, _ = _read(write_report(_make_run(tmp_path / "run", side=side)))
    assert words in text
    assert f"a typical object of {2 * side / np.pi**0.5:.0f} px" in text


def test_touching_instances_are_measured_one_by_one(tmp_path: Path) -> None:
    run = _make_run(tmp_path / "run")
    masks = tmp_path / "run-data" / "masks"
    for path in masks.iterdir():
        ids = np.kron(np.arange(1, 31).reshape(5, 6), np.ones((8, 8), int)).astype(np.uint16)
        path.unlink()
        write_labels(path, Image(ids, "yx", (1.0, 1.0), "px"))
    net = UNet(Architecture(**json.loads((run / "plan.json").read_text())["net"]["architecture"]))
    card = Card(architecture=net.architecture.to_dict(), classes=["a", "b", "c"], labels=LabelKind("instances", (0, 1)))
    save_model(run / "model.safetensors", net, card)
    text, _ = _read(write_report(run))
    assert "150 labelled objects in all 5 masks: half of them are wider than 9 px" in text  # 64 px each


@pytest.mark.parametrize(
    "missing, words",
    [
        ("validation.json", "The training has not been completed"),
        ("log.jsonl", "no curve"),
        ("model.safetensors", "There is no model whose receptive field"),
        ("last", "it went from 0.2 to 0.0667"),
        ("previews", "none has been saved yet"),
        ("../run-data", "The masks of this training cannot be read here"),
    ],
)
def test_what_is_missing_is_said_in_words(tmp_path: Path, missing: str, words: str) -> None:
    run = _make_run(tmp_path / "run")
    (run / missing).rename(tmp_path / "away")
    text, _ = _read(write_report(run))
    assert words in text
    assert re.findall(r"<h2>(.*?)</h2>", text) == TITLES


def test_a_plan_alone_is_enough_for_a_report(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "plan.json").write_text(
        Plan(data={"validation_fraction": 0}, budget={"steps": 7}).model_dump_json()
    )
    text, page = _read(write_report(tmp_path / "run"))
    assert "No step has been logged yet" in text
    assert "No images were held out" in text
    assert not page.images


def test_without_final_scores_the_latest_picture_is_shown(tmp_path: Path) -> None:
    run = _make_run(tmp_path / "run")
    for name in ("validation.json", "previews/best.png", "previews/median.png", "previews/worst.png"):
        (run / name).unlink()
    text, page = _read(write_report(run))
    assert "Latest image" in text
    assert len(page.images) == 4


@pytest.mark.parametrize("name", ["model.safetensors", "validation.json", "last/state.safetensors"])
@pytest.mark.parametrize("content", [b"", b"{}", b'{"per_image": 3}', b"\x10\0\0\0\0\0\0\0not json, not json"])
def test_a_broken_file_is_named_and_does_not_stop_the_report(tmp_path: Path, name: str, content: bytes) -> None:
    run = _make_run(tmp_path / "run")
    (run / name).write_bytes(content)
    text, _ = _read(write_report(run))
    assert f"{Path(name).name} could not be read" in text


def test_a_torn_log_and_a_broken_picture_are_left_out(tmp_path: Path) -> None:
    run = _make_run(tmp_path / "run")
    whole = _read(write_report(run))[0]
    log = run / "log.jsonl"
    log.write_text(log.read_text() + '{"step": 40, "elap' + "\n[1]\n")
    (run / "previews" / "best.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    text, page = _read(write_report(run))
    assert "from 0.700 to 0.900" in whole
    assert "from 0.700 to 0.900" in text
    assert len(page.images) == 2 * 4


def test_a_picture_of_another_width_is_shown_whole(tmp_path: Path) -> None:
    run = _make_run(tmp_path / "run")
    Picture.new("RGB", (301, 50)).save(run / "previews" / "best.png")
    _, page = _read(write_report(run))
    assert len(page.images) == 1 + 2 * 4


def test_names_from_files_cannot_become_code(tmp_path: Path) -> None:
    evil = "<script>alert('1')</script>&\""
    run = _make_run(tmp_path / "run", names=(evil, "b", "c", f"{evil}2"))
    table = json.loads((run / "validation.json").read_text())
    table["pooled"][1]["name"], table["notes"] = evil, [evil]
    (run / "validation.json").write_text(json.dumps(table))
    plan = json.loads((run / "plan.json").read_text())
    plan["data"]["images"] = evil
    (run / "plan.json").write_text(json.dumps(plan | {"reasons": {"patches.batch": evil}}))
    text = write_report(run).read_text()
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 6
    _Page(text)


def test_the_page_goes_where_asked_and_replaces_a_former_one(tmp_path: Path) -> None:
    run, out = _make_run(tmp_path / "run"), tmp_path / "pages" / "page.html"
    assert write_report(run, out) == out
    first = out.read_bytes()
    write_report(run, out)
    assert out.read_bytes() == first
    assert [path.name for path in out.parent.iterdir()] == ["page.html"]
    assert not (run / "report.html").exists()


@pytest.mark.parametrize(
    "means, words", [((0.5, 0.6, 0.8), "more training time is likely"), ((0.6, 0.9, 0.7), "its best of 0.9")]
)
def test_the_dice_curve_is_judged(tmp_path: Path, means: tuple[float, ...], words: str) -> None:
    run = _make_run(tmp_path / "run")
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    entries = [line | {"mean_dice": mean} for line, mean in zip(lines, means, strict=True)]
    (run / "log.jsonl").write_text("\n".join(map(json.dumps, entries)))
    assert words in _read(write_report(run))[0]


def test_the_loss_curve_is_the_mean_of_the_last_steps(tmp_path: Path) -> None:
    run = _make_run(tmp_path / "run")
    losses = [2.0 / (i + 1) for i in range(30)]
    words = f"the mean over 7 steps went from 2 to {np.mean(losses[-7:]):.3g}"
    assert words in _read(write_report(run))[0]
    numbers = {"step": 31, "elapsed_s": 62.0, "best": 0.9, "losses": [*losses, float("nan")]}
    save_state(run / "last" / "state.safetensors", {}, numbers)
    assert words in _read(write_report(run))[0]


def test_no_run_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere: there is no such run folder"):
        write_report(tmp_path / "nowhere")
    (tmp_path / "other").mkdir()
    with pytest.raises(FileNotFoundError, match=r"other: has no plan\.json, so it is not a run folder"):
        write_report(tmp_path / "other")
    assert not list((tmp_path / "other").iterdir())


@pytest.mark.parametrize(
    "content, place",
    [("{", "invalid JSON"), ('{"batch": "many"}', "patches.batch is 'many'"), ('{"dial": 3}', "dial is not")],
)
def test_a_plan_that_cannot_be_read_is_refused(tmp_path: Path, content: str, place: str) -> None:
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(ValueError, match=rf"plan\.json: is not a plan: {place}"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    "time_s, words",
    [
        (0.04, "0.0 s"),
        (9.96, "10.0 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (86_399, "23 h 59 min"),
        (7380, "2 h 3 min"),
    ],
)
def test_durations_are_said_in_two_units(time_s: float, words: str) -> None:
    assert duration(time_s) == words


@pytest.mark.parametrize(
    "value, words", [([[3, 3], [1, 3]], "3 x 3; 1 x 3"), ((), ""), (0.00025, "0.00025"), ("", "-"), (False, "no")]
)
def test_values_of_a_plan_are_said_shortly(value: Any, words: str) -> None:
    assert value_text(value) == words

"""From image files to masks: names, sizes and spacing kept, the same in tiles, and every conflict named at once."""

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from recorder import Recorder

from unetkit import io
from unetkit.data.normalise import standardise
from unetkit.image import Image
from unetkit.inference.averaging import Member, average_symmetries, symmetries
from unetkit.inference.execution import Execution
from unetkit.inference.outputs import Outputs
from unetkit.inference.predictor import load_model
from unetkit.inference.prepare import prepare
from unetkit.io.lock import sole_writer_of
from unetkit.io.resample import resampled, to_size
from unetkit.labels.instances import InstanceThresholds
from unetkit.labels.kind import LabelKind
from unetkit.model.card import Card
from unetkit.model.files import save_model
from unetkit.nets.architecture import Architecture
from unetkit.nets.unet import UNet

SLOW = partial(pytest.param, marks=pytest.mark.slow)
BINARY = LabelKind("binary", (0, 255))


def model(folder, *, kind=BINARY, planes=None, augmentation="full", about=None, **options):
    """A net with random weights: its masks have structure everywhere."""
    torch.manual_seed(1)
    architecture = Architecture(widths=(4, 8), out_channels=len(kind.values), **options)
    net = UNet(architecture)
    with torch.no_grad():
        net.heads[0].weight.mul_(100)  # few pixels are then near a tie
        net.heads[0].bias.copy_(torch.linspace(0.5, 0, net.out_channels))
    about = {"planes": planes, "augmentation": augmentation, **(about or {})}
    card = Card(architecture=architecture.to_dict(), classes=["c"] * len(kind.values), labels=kind, **about)
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder / "model.safetensors", net, card)
    return net.eval()


def pixels(size=(50, 61), channels=1, seed=0):
    smooth = np.random.default_rng(seed).normal(size=(channels, *size)).cumsum(-1).cumsum(-2)
    return ((smooth - smooth.min()) / max(np.ptp(smooth), 1e-6) * 255).astype(np.uint8)


def picture(path, array, spacing=None, unit="px"):
    path.parent.mkdir(parents=True, exist_ok=True)
    ndim = array.ndim - 1
    io.write(path, Image(array, {2: "cyx", 3: "czyx"}[ndim], spacing or (1.0,) * ndim, unit))
    return path


def logits_of(net, array):
    with torch.no_grad():
        return net(torch.from_numpy(standardise(array))[None])[0]


@pytest.fixture
def run(tmp_path):
    model(tmp_path / "run")
    return tmp_path / "run"


# --- what is written ---


@pytest.mark.parametrize(
    ("source", "mask"),
    [
        ("a.png", "a.png"),
        ("a.JPG", "a.png"),
        ("a.b.jpeg", "a.b.png"),
        ("A.TIF", "A.tif"),
        ("a.tiff", "a.tiff"),
        ("a.ome.tif", "a.ome.tif"),
    ],
)
def test_a_mask_has_the_name_and_size_of_its_image(run, tmp_path, source, mask):
    (done,) = load_model(run).predict_files([picture(tmp_path / "in" / source, pixels())], tmp_path / "new" / "out")
    assert done.mask == tmp_path / "new" / "out" / mask
    written = io.read_labels(done.mask)
    assert written.size == done.size == (50, 61)
    assert written.array.dtype == np.uint8
    assert set(np.unique(written.array)) == {0, 255}
    assert done.time_s > 0
    assert os.listdir(done.mask.parent) == [mask]


@pytest.mark.parametrize(("kind", "values"), [(LabelKind("classes", (0, 5, 700)), {0, 5, 700}), (BINARY, {0, 255})])
def test_masks_hold_the_values_of_the_training_masks(tmp_path, kind, values):
    net = model(tmp_path / "run", kind=kind)
    array = pixels()
    (done,) = load_model(tmp_path / "run").predict_files([picture(tmp_path / "a.png", array)], tmp_path / "out")
    written = io.read_labels(done.mask).array
    assert set(np.unique(written)) <= values
    logits = logits_of(net, array)
    sure = logits.topk(2, 0).values.diff(dim=0)[0].abs() > 1e-3
    expected = np.array(kind.values)[logits.argmax(0)]
    assert np.array_equal(written[sure], expected[sure])
    assert sure.float().mean() > 0.99


@pytest.mark.parametrize("name", ["a.ome.tif", "a.tif"])
def test_spacing_is_kept(run, tmp_path, name):
    source = picture(tmp_path / name, pixels(), (0.5, 0.25), "µm")
    (done,) = load_model(run).predict_files([source], tmp_path / "out")
    written = io.read_labels(done.mask)
    assert written.spacing == pytest.approx((0.5, 0.25))
    assert written.unit == "µm"


def test_volumes_with_spacing(tmp_path):
    model(tmp_path / "run", ndim=3)
    source = picture(tmp_path / "v.ome.tif", pixels((9, 20, 17)), (2.0, 0.5, 0.5), "µm")
    (done,) = load_model(tmp_path / "run").predict_files([source], tmp_path / "out")
    written = io.read_labels(done.mask)
    assert (written.size, written.spacing) == ((9, 20, 17), (2.0, 0.5, 0.5))


@pytest.mark.parametrize(("planes", "channels"), [SLOW(1, 1), (3, 1), SLOW(3, 2)])
def test_volumes_plane_by_plane(tmp_path, planes, channels):
    """The mask of a volume by a 2D net is that of each plane with its neighbours, standardised as one volume."""
    net = model(tmp_path / "run", planes=planes, in_channels=planes * channels)
    array = pixels((6, 40, 50), channels)
    source = picture(tmp_path / "v.ome.tif", array, (2.0, 0.5, 0.5), "µm")
    seen = []
    whole, tiled = (
        load_model(tmp_path / "run", Execution(memory_bytes=memory)).predict_files(
            [source], tmp_path / name, progress=Recorder(seen)
        )[0]
        for name, memory in (("whole", 2**31), ("tiled", 2**17))
    )
    assert len(tiled.tiling.tiles) > 1
    written = io.read_labels(whole.mask)
    assert (written.size, written.spacing, whole.size) == ((6, 40, 50), (2.0, 0.5, 0.5), (6, 40, 50))
    assert (written.array != io.read_labels(tiled.mask).array).mean() < 1e-4
    volume = torch.from_numpy(standardise(array))
    half = planes // 2
    padded = volume[:, [abs(z) if z < 6 else 10 - z for z in range(-half, 6 + half)]]
    for z in range(6):
        logits = logits_of_tensor(net, padded[:, z : z + planes].flatten(0, 1))
        sure = (logits[0] - logits[1]).abs() > 1e-3
        assert np.array_equal(written.array[z][sure] > 0, logits.argmax(0).numpy()[sure] > 0)
    assert seen[0].message.startswith("v.ome.tif: 6 x 40 x 50 pixels, plane by plane, each whole image at once")
    shares = [step.share for step in seen if step.total]
    assert shares[-1] == 1.0
    assert len(set(shares)) > 6


def test_images_and_channels_that_a_net_for_planes_does_not_take(tmp_path):
    model(tmp_path / "run", planes=3, in_channels=3)
    picture(tmp_path / "in/flat.png", pixels())
    picture(tmp_path / "in/two.tif", pixels((5, 20, 30), 2))
    text = refused(ValueError, r"2 unusable images:\n", tmp_path / "run", [tmp_path / "in"], out=tmp_path / "out")
    assert "flat.png: has 2 spatial axes, 50 x 61; this net was trained on volumes, 3 planes at a time: give it" in text
    assert "two.tif: got an image of 2 channels, expected 1" in text
    model(tmp_path / "deep", ndim=3)
    message = r"flat\.png: has 2 spatial axes, 50 x 61; this is a 3D net"
    refused(ValueError, message, tmp_path / "deep", [tmp_path / "in/flat.png"], out=tmp_path / "out")


def test_gray_stored_as_rgba_is_gray(run, tmp_path):
    gray = pixels()[0]
    Picture.fromarray(np.stack([gray, gray, gray, np.full_like(gray, 255)], -1)).save(tmp_path / "rgba.png")
    picture(tmp_path / "gray.png", gray[None])
    seen = []
    both = load_model(run).predict_files(
        [tmp_path / "rgba.png", tmp_path / "gray.png"], tmp_path / "out", progress=Recorder(seen)
    )
    first, second = (io.read_labels(done.mask).array for done in both)
    assert np.array_equal(first, second)
    assert any("rgba.png: " in step.message and "RGBA" in step.message for step in seen)


def test_gray_is_repeated_for_a_net_of_three_channels(tmp_path):
    model(tmp_path / "run", in_channels=3)
    picture(tmp_path / "gray.png", pixels())
    assert len(load_model(tmp_path / "run").predict_files([tmp_path / "gray.png"], tmp_path / "out")) == 1


def test_folders_and_files_and_progress(run, tmp_path):
    for name in ("c10", "c2"):
        picture(tmp_path / f"in/{name}.png", pixels())
    alone = picture(tmp_path / "alone.tif", pixels((20, 30)))
    seen = []
    done = load_model(str(run)).predict_files(
        [str(tmp_path / "in"), alone, alone], str(tmp_path / "out"), progress=Recorder(seen)
    )
    assert [one.mask.name for one in done] == ["c2.png", "c10.png", "alone.tif"]
    shares = [step.share for step in seen if step.total]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert seen[0].message == "c2.png: 50 x 61 pixels, whole image at once, about 0.00 GB"
    assert load_model(run / "model.safetensors").predict_files([], tmp_path / "none") == []
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("size", [(1, 1), (3, 50)])
def test_tiny_images(run, tmp_path, size):
    (done,) = load_model(run).predict_files([picture(tmp_path / "a.png", pixels(size))], tmp_path / "out")
    assert io.read_labels(done.mask).size == size


# --- memory and symmetries ---


def test_a_net_that_is_not_local_is_blended_within_the_memory(tmp_path):
    model(tmp_path / "run", norm="instance")
    source = picture(tmp_path / "a.tif", pixels((150, 170)))
    predictor = load_model(tmp_path / "run", Execution(memory_bytes=2**20))
    (done,) = predictor.predict_files([source], tmp_path / "out")
    assert len(done.tiling.tiles) > 3
    assert not done.tiling.is_exact
    mask = io.read_labels(done.mask).array
    assert mask.shape == (150, 170)
    assert np.array_equal(mask, predictor(pixels((150, 170))).labels)
    whole = load_model(tmp_path / "run")(pixels((150, 170))).labels
    assert (mask == whole).mean() > 0.5  # approximate


@pytest.mark.parametrize("options", [{}, {"padding": "valid"}, {"ndim": 3}])
def test_tiles_give_the_same_mask_as_the_whole(tmp_path, options):
    net = model(tmp_path / "run", **options)
    size = (150, 170) if net.ndim == 2 else (20, 40, 50)
    budget = 2**20 if net.ndim == 2 else 12 * 2**20
    source = picture(tmp_path / "a.tif", pixels(size))
    whole, tiled = (
        load_model(tmp_path / "run", Execution(memory_bytes=memory)).predict_files([source], tmp_path / name)[0]
        for name, memory in (("whole", 2**31), ("tiled", budget))
    )
    assert len(whole.tiling.tiles) == 1
    assert len(tiled.tiling.tiles) > 3
    assert tiled.tiling.memory_bytes <= budget
    first, second = (io.read_labels(done.mask).array for done in (whole, tiled))
    assert (first != second).mean() < 1e-4  # but for ties in float32
    assert len(np.unique(first)) == 2


def test_a_budget_that_is_too_small_is_known_before_anything_is_written(run, tmp_path):
    sources = [picture(tmp_path / f"in/{name}.png", pixels((300, 300))) for name in "ab"]
    sources.append(picture(tmp_path / "in/tiny.png", pixels((1, 1))))
    message = r"unusable images:\n  .*a\.png: a memory budget of 0 MB is too small for this net: its smallest tile, \("
    with pytest.raises(ValueError, match=message) as caught:
        load_model(run, Execution(memory_bytes=1000)).predict_files(sources, tmp_path / "out")
    assert "b.png: a memory budget" in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("ndim", [2, 3])
def test_symmetries_are_averaged(tmp_path, ndim):
    net = model(tmp_path / "run", ndim=ndim)
    size = (21, 34) if ndim == 2 else (6, 13, 18)
    array = pixels(size)
    source = picture(tmp_path / "a.tif", array)
    seen = []
    (done,) = load_model(tmp_path / "run", Execution(tta=True)).predict_files(
        [source], tmp_path / "o", progress=Recorder(seen)
    )
    image = torch.from_numpy(standardise(array))
    views = [back(logits_of_tensor(net, turn(image)).softmax(0)) for turn, back in symmetries(ndim)]
    assert len(views) == 8 * 2 ** (ndim - 2)
    total = torch.stack(views).sum(0)
    sure = (total[0] - total[1]).abs() > 1e-3
    written = io.read_labels(done.mask).array > 0
    assert np.array_equal(written[sure], total.argmax(0).numpy()[sure] > 0)
    assert sure.float().mean() > 0.98
    shares = [step.share for step in seen if step.total]
    assert shares == sorted(shares)
    assert len(set(shares)) > 7


@pytest.mark.parametrize("augmentation", ["oriented", "none"])
def test_a_net_that_saw_no_flips_is_not_averaged_over_them(tmp_path, augmentation):
    model(tmp_path / "run", augmentation=augmentation)
    source = picture(tmp_path / "a.tif", pixels((16, 16)))
    with pytest.raises(ValueError, match="predict without --tta"):
        load_model(tmp_path / "run", Execution(tta=True)).predict_files([source], tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_only_flips_that_the_net_saw_are_averaged(tmp_path):
    net = model(tmp_path / "run", augmentation="oriented", about={"flip_axes": [False, True]})
    array = pixels((21, 34))
    source = picture(tmp_path / "a.tif", array)
    (done,) = load_model(tmp_path / "run", Execution(tta=True)).predict_files([source], tmp_path / "o")
    image = torch.from_numpy(standardise(array))
    total = logits_of_tensor(net, image).softmax(0) + logits_of_tensor(net, image.flip(-1)).softmax(0).flip(-1)
    sure = (total[0] - total[1]).abs() > 1e-3
    assert np.array_equal((io.read_labels(done.mask).array > 0)[sure], total.argmax(0).numpy()[sure] > 0)
    assert sure.float().mean() > 0.8


def logits_of_tensor(net, image):
    with torch.no_grad():
        return net(image[None])[0]


def test_symmetries_turn_with_the_image():
    """The average over all turns of a turned image is the turned average."""
    torch.manual_seed(0)
    net = prepare(UNet(Architecture(widths=(4, 8))))
    image = torch.from_numpy(standardise(pixels((32, 32))))
    masks = []
    for turned in (image, torch.rot90(image, 1, (-2, -1)).contiguous()):
        masks.append(average_symmetries(Member(net), turned, memory_bytes=2**30).argmax(0).numpy())
    assert (np.rot90(masks[0]) != masks[1]).mean() < 0.01


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime", "auto"])
def test_engines_give_the_same_mask(run, engine, tmp_path, monkeypatch):
    pytest.importorskip("openvino" if engine == "auto" else engine, reason="pip install 'unetkit[fast]'")
    monkeypatch.setattr("unetkit.inference.engines.engine._WINDOW", {2: 40})
    source = picture(tmp_path / "a.tif", pixels((100, 131)))
    seen = []
    (plain,) = load_model(run).predict_files([source], tmp_path / "plain")
    predictor = load_model(run, Execution(engine=engine), progress=Recorder(seen))
    (done,) = predictor.predict_files([source], tmp_path / "out", progress=Recorder(seen))
    assert len({tile.window_size for tile in done.tiling.tiles}) == 1
    said = " ".join(step.message for step in seen)
    assert "million pixels per second here" in said if engine == "auto" else f", by {engine}" in said
    first, second = (io.read_labels(mask.mask).array for mask in (plain, done))
    assert (first != second).mean() < 1e-3  # but for ties in float32


def test_an_engine_that_there_is_not(run, tmp_path):
    source = picture(tmp_path / "a.tif", pixels((10, 13)))
    with pytest.raises(ValueError, match=r"engine is 'fast'; expected one of auto, torch, compiled, openvino, "):
        load_model(run, Execution(engine="fast")).predict_files([source], tmp_path / "out")
    with pytest.raises(ValueError, match=r"int8 is calibrated on the images of a run, but .* is not a run folder"):
        load_model(run / "model.safetensors", Execution(engine="int8")).predict_files([source], tmp_path / "out")


# --- refused ---


def refused(error, message, run, inputs, *, out, existing="refuse", **how):
    before = sorted(out.rglob("*"))
    with pytest.raises(error, match=message) as caught:
        load_model(run, Execution(**how)).predict_files(inputs, out, existing=existing)
    assert sorted(out.rglob("*")) == before
    return str(caught.value)


def test_all_unusable_images_are_named_at_once(run, tmp_path):
    folder = tmp_path / "in"
    picture(folder / "good.png", pixels())
    picture(folder / "colour.png", np.concatenate([pixels(seed=s) for s in range(3)]))
    picture(folder / "volume.tif", pixels((5, 20, 30)))
    picture(folder / "nan.tif", np.full((1, 9, 9), np.nan, np.float32))
    cut = picture(folder / "cut.png", pixels())
    cut.write_bytes(cut.read_bytes()[:300])
    text = refused(ValueError, r"4 unusable images:\n", run, [folder], out=tmp_path / "out")
    assert f"{folder / 'colour.png'}: got an image of 3 channels, expected 1: colour" in text
    assert f"{folder / 'volume.tif'}: has 3 spatial axes, 5 x 20 x 30; this is a 2D net" in text
    assert f"{folder / 'nan.tif'}: 81 of 81 pixel values are NaN and 0 infinite" in text
    assert f"{cut}: damaged, truncated" in text
    assert "good.png" not in text


def test_a_header_that_asks_for_more_memory_than_there_is(run, tmp_path, monkeypatch):
    def exhausted(path, **options):
        raise MemoryError(f"{path}: too large for the memory at hand, or damaged (90 TB)")

    source = picture(tmp_path / "a.png", pixels())
    monkeypatch.setattr("unetkit.data.channels.open_lazy", exhausted)
    refused(ValueError, r"1 unusable image:\n  .*a\.png: too large", run, [source], out=tmp_path / "out")


def test_missing_files_and_empty_folders(run, tmp_path):
    (tmp_path / "empty").mkdir()
    inputs = [tmp_path / "x.png", tmp_path / "y.png"]
    text = refused(ValueError, r"2 missing files:\n", run, inputs, out=tmp_path / "out")
    assert f"{tmp_path / 'y.png'}: there is no such file" in text
    refused(ValueError, r"empty: no images among no files", run, [tmp_path / "empty"], out=tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"holds no model\.safetensors"):
        load_model(tmp_path / "empty").predict_files(inputs, tmp_path / "out")


def test_masks_that_exist(run, tmp_path):
    sources = [picture(tmp_path / f"in/{name}.png", pixels()) for name in "abc"]
    out = tmp_path / "out"
    picture(out / "a.png", pixels((3, 3)))
    refused(
        FileExistsError, r"1 mask exists; add --overwrite, or --resume .*folder:\n  .*a\.png$", run, sources, out=out
    )
    picture(out / "c.png", pixels((3, 3)))
    refused(FileExistsError, r"2 masks exist; add --overwrite.*:\n  .*a\.png\n  .*c\.png$", run, sources, out=out)
    load_model(run).predict_files(sources, out, existing="overwrite")
    assert io.read_labels(out / "a.png").size == (50, 61)


def test_masks_with_one_name(run, tmp_path):
    sources = [picture(tmp_path / name, pixels()) for name in ("x/a.png", "y/a.png", "x/b.jpg", "x/b.png")]
    text = refused(ValueError, r"2 shared mask names:\n", run, sources, out=tmp_path / "out", existing="overwrite")
    assert f"{tmp_path / 'out/a.png'}: would hold {sources[0]} and {sources[1]}" in text
    assert f"{tmp_path / 'out/b.png'}: would hold {sources[2]} and {sources[3]}" in text


@pytest.mark.parametrize("existing", ["refuse", "overwrite"])
def test_a_mask_never_replaces_its_image(run, tmp_path, existing):
    source = picture(tmp_path / "in/a.png", pixels())
    before = source.read_bytes()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for out in (tmp_path / "in", tmp_path / "link"):
        message = r"1 conflict:\n  .*a\.png: the mask would replace its own image; name another folder"
        refused(ValueError, message, run, [source], out=out, existing=existing)
    assert source.read_bytes() == before


def test_an_output_folder_that_is_a_file(run, tmp_path):
    source = picture(tmp_path / "a.png", pixels())
    with pytest.raises(FileExistsError, match=r"a\.png: is a file; name a folder for the masks"):
        load_model(run).predict_files([source], source)


def test_a_disk_that_fills_up_leaves_whole_masks_only(run, tmp_path, monkeypatch):
    sources = [picture(tmp_path / f"in/{name}.png", pixels()) for name in "abc"]
    real, calls = os.replace, []

    def full(source, target):
        calls.append(target)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=r"b\.png: No space left on device"):
        load_model(run).predict_files(sources, tmp_path / "out")
    monkeypatch.undo()
    assert os.listdir(tmp_path / "out") == ["a.png"]
    assert io.read_labels(tmp_path / "out/a.png").size == (50, 61)


# --- real images ---


def test_real_nuclei_and_membranes(run, tmp_path):
    data = Path(os.environ.get("UNETKIT_DATA", Path(__file__).parents[3] / "shared/data"))
    if not data.is_dir():
        pytest.skip(f"no real data: {data} does not exist")
    sources = io.list_images(data / "isbi2012/images")[:1]
    for image in io.list_images(data / "nuclei/images"):
        if len(sources) < 4 and io.read(image).channels == 1:
            sources.append(image)
    for done in load_model(run, Execution(memory_bytes=20 * 2**20)).predict_files(sources, tmp_path / "out"):
        assert done.tiling.is_exact
        assert io.read_labels(done.mask).size == io.read(done.source).size
    assert len(os.listdir(tmp_path / "out")) == 4


# --- how likely each class is ---

THREE = LabelKind("classes", (0, 5, 700))


@pytest.mark.parametrize(
    ("kind", "folders"), [(BINARY, ["probability"]), (THREE, ["probability_5", "probability_700"])]
)
def test_probabilities_are_those_of_the_net(tmp_path, kind, folders):
    net = model(tmp_path / "run", kind=kind)
    net.heads[0].weight.data.mul_(0.05)  # else all are 0 or 1
    array = pixels()
    source = picture(tmp_path / "a.tif", array, (0.5, 0.25), "µm")
    (done,) = load_model(tmp_path / "run").predict_files(
        [source], tmp_path / "out", outputs=Outputs(probabilities=True)
    )
    assert sorted(path.name for path in done.mask.parent.iterdir()) == sorted(["a.tif", *folders])
    expected = logits_of(model(tmp_path / "again", kind=kind), array).softmax(0)[1:]
    for folder, one in zip(folders, expected, strict=True):
        written = io.read_labels(done.mask.parent / folder / "a.tif")
        assert written.array.dtype == np.uint8
        assert np.abs(written.array - 100 * one.numpy()).max() <= 0.51
        assert (written.spacing, written.unit) == ((0.5, 0.25), "µm")
    plain = load_model(tmp_path / "run").predict_files([source], tmp_path / "plain")[0].mask
    assert np.array_equal(io.read_labels(plain).array, io.read_labels(done.mask).array)


@pytest.mark.slow
@pytest.mark.parametrize(("execution", "cluster"), [(Execution(tta=True), None), (Execution(), "local:1")], ids=str)
def test_probabilities_of_a_mean_and_of_a_cluster(tmp_path, execution, cluster):
    model(tmp_path / "run")
    source = picture(tmp_path / "a.png", pixels((64, 64)))
    wanted = Outputs(probabilities=True)
    load_model(tmp_path / "run", execution).predict_files([source], tmp_path / "out", outputs=wanted, cluster=cluster)
    mask = io.read_labels(tmp_path / "out" / "a.png").array
    share = io.read_labels(tmp_path / "out" / "probability" / "a.png").array
    assert (mask[share > 50] == 255).all()
    assert (mask[share < 50] == 0).all()
    assert len(np.unique(share)) > 5


def test_masks_without_probabilities_are_made_again_for_them(tmp_path):
    model(tmp_path / "run")
    source = picture(tmp_path / "a.png", pixels())
    load_model(tmp_path / "run").predict_files([source], tmp_path / "out")
    with pytest.raises(FileExistsError, match="1 mask exists"):
        load_model(tmp_path / "run").predict_files([source], tmp_path / "out", outputs=Outputs(probabilities=True))
    assert (
        len(
            load_model(tmp_path / "run").predict_files(
                [source], tmp_path / "out", outputs=Outputs(probabilities=True), existing="resume"
            )
        )
        == 1
    )
    assert (
        load_model(tmp_path / "run").predict_files(
            [source], tmp_path / "out", outputs=Outputs(probabilities=True), existing="resume"
        )
        == []
    )


def test_a_rate_counts_what_was_made(tmp_path):
    model(tmp_path / "run")
    (done,) = load_model(tmp_path / "run").predict_files([picture(tmp_path / "a.png", pixels())], tmp_path / "out")
    assert done.pixels == 50 * 61


# --- pixels of another size than the net knows ---


@pytest.mark.parametrize("execution", [Execution(), Execution(memory_bytes=2**18), Execution(tta=True)], ids=str)
def test_an_image_of_finer_pixels_is_resampled(tmp_path, execution):
    about = {"resample": True, "spacing": [0.5, 0.5], "unit": "µm"}
    net = model(tmp_path / "run", about=about)
    fine = pixels((120, 94))
    source = picture(tmp_path / "a.tif", fine, (250.0, 250.0), "nm")
    told = []
    (done,) = load_model(tmp_path / "run", execution).predict_files([source], tmp_path / "out", progress=Recorder(told))
    written = io.read_labels(done.mask)
    assert (written.size, done.size) == ((120, 94), (120, 94))
    assert written.spacing == pytest.approx((250.0, 250.0))
    assert any("the model was trained on 0.5 x 0.5" in step.message for step in told)
    coarse = resampled(standardise(fine), (60, 47), (1.0, 1.0))
    with torch.no_grad():
        logits = net(torch.from_numpy(coarse)[None])[0]
    expected = to_size((logits.argmax(0) * 255).numpy(), (120, 94))
    if not execution.tta:
        assert (written.array != expected).mean() < 0.02


def test_pixels_alike_or_of_unknown_size_are_taken_as_they_are(tmp_path):
    model(tmp_path / "run", about={"resample": True, "spacing": [0.5, 0.5], "unit": "µm"})
    model(tmp_path / "plain")
    sources = [picture(tmp_path / "a.tif", pixels(), (0.51, 0.5), "µm"), picture(tmp_path / "b.png", pixels(seed=1))]
    for run in ("run", "plain"):
        load_model(tmp_path / run).predict_files(sources, tmp_path / f"{run}_masks")
    for source in sources:
        one, other = (io.read_labels(tmp_path / f"{run}_masks" / source.name).array for run in ("run", "plain"))
        assert np.array_equal(one, other)


# --- names ---


def test_colour_pictures_numbered_as_frames_are_no_channels(tmp_path):
    model(tmp_path / "run", in_channels=3)
    for i in range(3):  # gray stored as RGB
        gray = pixels(seed=i)[0]
        (tmp_path / "frames").mkdir(exist_ok=True)
        Picture.fromarray(np.stack([gray] * 3, -1)).save(tmp_path / "frames" / f"night_{i:04}.png")
    load_model(tmp_path / "run").predict_files([tmp_path / "frames"], tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"night_{i:04}.png" for i in range(3)]


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize(("values", "ignore"), [((0, 70001), None), ((0, 1), None), ((0, 65535), -1)])
def test_values_that_png_does_not_hold_go_into_a_tiff(tmp_path, suffix, values, ignore):
    model(tmp_path / "run", kind=LabelKind("classes", values, ignore))
    picture(tmp_path / "i" / f"a{suffix}", pixels())
    (result,) = load_model(tmp_path / "run").predict_files([tmp_path / "i"], tmp_path / "out")
    assert result.mask.suffix == (".tif" if max(values) > 65535 else ".png")
    assert set(np.unique(io.read_labels(result.mask).array)) == set(values)


def test_more_objects_than_a_png_holds_ids(tmp_path, monkeypatch):
    """Known before the net runs, by the pixels that there are for them, so that no ids are lost in the end."""
    kind = LabelKind("instances", (0, 1)).with_distance(4)
    model(tmp_path / "run", kind=kind, about={"decoding": InstanceThresholds()})
    monkeypatch.setattr("unetkit.inference.files._PNG_OBJECTS", 40)  # of 64 pixels each
    picture(tmp_path / "in" / "few.png", pixels((50, 50)))
    picture(tmp_path / "in" / "many.png", pixels((50, 60)))
    picture(tmp_path / "in" / "map.tif", pixels((50, 60)))
    progress = Recorder()
    results = load_model(tmp_path / "run").predict_files([tmp_path / "in"], tmp_path / "out", progress=progress)
    assert [result.mask.name for result in results] == ["few.png", "many.tif", "map.tif"]
    assert all(result.mask.is_file() for result in results)
    assert [text for text in progress.messages if "more objects" in text] == [
        "many.png: may show more objects than a PNG holds ids: the mask is many.tif"
    ]
    with pytest.raises(FileExistsError, match=r"many\.tif"):
        load_model(tmp_path / "run").predict_files([tmp_path / "in" / "many.png"], tmp_path / "out")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_picture_with_a_world_file_has_a_mask_that_keeps_its_place(run, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    picture(tmp_path / "in" / "a.png", pixels())
    (tmp_path / "in" / "a.pgw").write_text("10\n0\n0\n-10\n499985\n4100035\n")
    picture(tmp_path / "in" / "b.png", pixels())
    results = load_model(run).predict_files([tmp_path / "in"], tmp_path / "out")
    assert [result.mask.name for result in results] == ["a.tif", "b.png"]
    with rasterio.open(results[0].mask) as mask:
        assert mask.transform[:6] == (10, 0, 499980, 0, -10, 4100040)


def test_a_note_on_many_images_is_told_once_and_counted(run, tmp_path):
    for name in "abc":
        Picture.fromarray(np.dstack([pixels()[0]] * 3)).save(picture(tmp_path / "in" / f"{name}.png", pixels()))
    progress = Recorder()
    load_model(run).predict_files([tmp_path / "in"], tmp_path / "out", progress=progress)
    told = [message for message in progress.messages if "read as one" in message]
    assert told == [
        "a.png: gray stored as RGB: read as one channel",
        "3 images in all: gray stored as RGB: read as one channel",
    ]


@pytest.mark.parametrize("name", ["a.tif", "a.ome.zarr"])
def test_a_mask_that_another_process_makes_is_named(tmp_path, name):
    model(run := tmp_path / "run")
    source = picture(tmp_path / name, pixels())
    (tmp_path / "out").mkdir()
    refusal = pytest.raises(
        FileExistsError, match=rf"{name}: process {os.getpid()} on .* writes this file; name another"
    )
    with sole_writer_of(tmp_path / "out" / name), refusal:
        load_model(run).predict_files([source], tmp_path / "out")
    (done,) = load_model(run).predict_files([source], tmp_path / "out")
    assert os.listdir(tmp_path / "out") == [name] == [done.mask.name]


def test_the_same_mask_is_the_same_file(tmp_path):
    model(run := tmp_path / "run", ndim=3)
    source = picture(tmp_path / "a.ome.tif", pixels((6, 40, 30)))
    masks = [load_model(run).predict_files([source], tmp_path / out)[0].mask.read_bytes() for out in ("one", "two")]
    assert masks[0] == masks[1]

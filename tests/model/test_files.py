"""Model files: what was saved is what is loaded, bit by bit; nothing pickled, truncated or foreign is ever used."""

import errno
import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.torch import save, save_file

from unetkit import __version__
from unetkit.io.atomic import write_bytes
from unetkit.labels.kind import LabelKind
from unetkit.model.card import FORMAT, Card
from unetkit.model.files import read_model, read_tensors, save_model, write_tensors
from unetkit.nets.architecture import Architecture
from unetkit.nets.unet import UNet


def made(ndim=2, norm="batch", **options):
    torch.manual_seed(0)
    architecture = Architecture(ndim=ndim, widths=(4, 8), norm=norm, **options)
    net = UNet(architecture)
    net.train()
    net(torch.randn(2, architecture.in_channels, *(8,) * ndim))  # statistics that are not the first ones
    card = Card(
        architecture=architecture.to_dict(),
        classes=["background", "cell"],
        labels=LabelKind("binary", (0, 255), None, "masks hold 0 and 255"),
        spacing=[0.5] * ndim,
        unit="µm",
        score=0.75,
    )
    return net.eval(), card


@pytest.fixture
def saved(tmp_path):
    net, card = made()
    path = tmp_path / "model.safetensors"
    save_model(path, net, card)
    return path


def refused(path, error, message):
    with pytest.raises(error, match=message) as caught:
        read_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


# --- what is saved is loaded ---


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_a_loaded_net_gives_the_same_bits(tmp_path, ndim, norm):
    net, card = made(ndim, norm)
    save_model(tmp_path / "run" / "model.safetensors", net, card)
    x = torch.randn(1, 1, *(13,) * ndim)
    for path in (tmp_path / "run", str(tmp_path / "run" / "model.safetensors")):
        loaded, read = read_model(path)
        assert not loaded.training
        assert torch.equal(loaded(x), net(x))
        assert read.model_dump_json() == card.model_dump_json()
        assert loaded.architecture == net.architecture


def test_the_card_says_who_wrote_it(saved):
    with safe_open(saved, framework="pt") as file:
        card = json.loads(file.metadata()["unetkit"])
    assert (card["format"], card["version"], card["intensity"]) == (FORMAT, __version__, "zscore")
    assert card["labels"]["values"] == [0, 255]


@pytest.mark.parametrize(("planes", "channels"), [(1, 1), (1, 2), (3, 3), (3, 6), (5, 5)])
def test_a_card_says_how_many_planes_the_net_sees(tmp_path, planes, channels):
    net, card = made(in_channels=channels)
    save_model(tmp_path / "model.safetensors", net, card.model_copy(update={"planes": planes}))
    assert read_model(tmp_path)[1].planes == planes


@pytest.mark.parametrize(("planes", "ndim", "channels"), [(2, 2, 2), (0, 2, 1), (-3, 2, 3), (3, 2, 4), (3, 3, 3)])
def test_planes_that_do_not_belong_to_the_net(tmp_path, planes, ndim, channels):
    message = rf"planes is {planes} for a {ndim}D net of {channels} input channels"
    architecture = Architecture(ndim=ndim, in_channels=channels, widths=(4, 8)).to_dict()
    with pytest.raises(ValidationError, match=message):
        Card(architecture=architecture, classes=["a", "b"], labels=LabelKind("binary", (0, 1)), planes=planes)
    net, card = made(ndim, in_channels=channels)
    save_model(tmp_path / "model.safetensors", net, card.model_copy(update={"planes": planes}))
    refused(tmp_path / "model.safetensors", ValueError, message)


@pytest.mark.parametrize("first", [b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05"])
def test_nothing_saved_is_taken_for_a_pickle(tmp_path, first):
    """A safetensors file starts with the length of its header, which may be the same bytes as a pickle's first."""
    path, length = tmp_path / "state.safetensors", int.from_bytes(first, "little")
    for filling in range(length - 160, length):
        write_tensors(path, {"w": torch.ones(2)}, json.dumps({"filling": "x" * filling}))
        if path.read_bytes()[:2] == first:
            break
    assert path.read_bytes()[:8] == length.to_bytes(8, "little")
    tensors, numbers = read_tensors(path)
    assert torch.equal(tensors["w"], torch.ones(2))
    assert numbers == {"filling": "x" * filling}


# --- what is refused ---


@pytest.mark.parametrize("kept", [0, 5, 200, 0.5, -1])
def test_truncated_files(saved, kept):
    content = saved.read_bytes()
    cut = content[: int(len(content) * kept) if isinstance(kept, float) else kept]
    saved.write_bytes(cut)
    refused(saved, ValueError, rf"is truncated or not a safetensors file \({len(cut)} bytes; ")


def test_pickles_are_never_read(tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "exploded",)

    path = tmp_path / "model.pth"
    for content in ({"state": Bomb()}, Bomb()):
        torch.save(content, path)
        refused(path, ValueError, r"is pickled \(as torch.save writes\), which can run any code")
        torch.save(content, path, _use_new_zipfile_serialization=False)
        refused(path, ValueError, r"is pickled")
        for protocol in (2, 3, 4, 5):
            path.write_bytes(pickle.dumps(content, protocol=protocol))
            refused(path, ValueError, r"is pickled")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"unetkit": "{"}, {"unetkit": "[1]"}])
def test_safetensors_of_other_software(tmp_path, metadata):
    path = tmp_path / "other.safetensors"
    save_file({"w": torch.ones(3), "b": torch.ones(1)}, path, metadata=metadata)
    refused(path, ValueError, r"holds 2 tensors but no unetkit card: it was written by other software")


def rewrite(path, change, drop=None):
    """The model file again with its card changed, or without a tensor."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        card = json.loads(file.metadata()["unetkit"])
    change(card)
    tensors.pop(drop, None)
    path.write_bytes(save(tensors, metadata={"unetkit": json.dumps(card)}))


def test_a_newer_format(saved):
    rewrite(saved, lambda card: card.update(format=7, version="9.9", novelty=True))
    refused(saved, ValueError, rf"written by unetkit 9\.9 in format 7; this is unetkit {__version__}, which reads")


@pytest.mark.parametrize(
    ("change", "drop", "message"),
    [
        (lambda card: card["architecture"].update(widths=[4, 16]), None, "Error"),
        (lambda card: card["architecture"].update(widths=[4]), None, r"widths are \(4,\); expected at least two"),
        (lambda card: card["architecture"].update(colour="red"), None, "unexpected keyword argument 'colour'"),
        (lambda card: None, "heads.0.weight", "Error"),
    ],
)
def test_weights_that_do_not_belong_to_the_card(saved, change, drop, message):
    rewrite(saved, change, drop)
    refused(saved, ValueError, rf"its weights do not belong to the net that its card describes: .*{message}")


def test_a_damaged_card(saved):
    rewrite(saved, lambda card: card.pop("classes"))
    refused(saved, ValueError, "its card cannot be used: classes: Field required")


def test_missing_files(tmp_path):
    refused(tmp_path / "gone.safetensors", FileNotFoundError, "there is no such model file")
    refused(tmp_path, FileNotFoundError, r"holds no model\.safetensors; has its training been started\?")


# --- whole or not at all ---


def full_disk(*args, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["os.replace", "os.fsync"])
def test_a_full_disk_leaves_the_previous_file(saved, monkeypatch, where):
    before = saved.read_bytes()
    net, card = made(norm="group")
    monkeypatch.setattr(where, full_disk)
    with pytest.raises(OSError, match=r"model\.safetensors: No space left on device; nothing was written") as caught:
        save_model(saved, net, card)
    assert caught.value.errno == errno.ENOSPC
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_real_full_disk(saved):
    """A file of limited size: the kernel itself refuses the last bytes."""
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    before = saved.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        with pytest.raises(OSError, match=r"model\.safetensors: File too large; nothing was written"):
            write_bytes(saved, bytes(50_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_an_interruption_leaves_no_temporary_file(saved, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    before = saved.read_bytes()
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(saved, b"new")
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]

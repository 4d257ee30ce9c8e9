"""Every engine gives what torch gives: over the family, in 2D and 3D, padded and not, at sizes of every kind."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unetkit.inference.engines import openvino as engine_openvino
from unetkit.inference.engines.engine import Infer, RuntimeEngine, compiled_engine, torch_engine, with_engine
from unetkit.inference.engines.onnxruntime import onnxruntime_engine
from unetkit.inference.engines.openvino import int8_engine, openvino_engine
from unetkit.inference.prepare import prepare
from unetkit.inference.runner import run
from unetkit.inference.tiling import plan_tiles
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build
from unetkit.nets.net import Net

NETS: dict[str, dict[str, Any]] = {
    "2D": {"in_channels": 2},
    "3D": {"ndim": 3, "strides": ((1, 2, 2), (2, 2, 2))},
    "unet++, four heads": {"topology": "unet++", "heads": "all"},
    "attention, 3D": {"skip": "attention", "up": "linear", "ndim": 3},
    "attention, valid": {"skip": "attention", "padding": "valid"},
    "unet++, valid": {"topology": "unet++", "padding": "valid", "up": "nearest"},
    "valid, 3D": {"padding": "valid", "ndim": 3, "widths": (4, 8)},
    "interpolated, blurred": {"up": "linear", "down": "blur", "activation": "prelu"},
    "overlapping, dense": {"up": "overlapping", "down": "transition", "block": "dense"},
    "residual, strided": {"block": "residual", "down": "strided", "skip": "add", "activation": "leaky_relu"},
    "instance norm": {"norm": "instance"},
    "group norm, 3D": {"norm": "group", "ndim": 3, "widths": (4, 8)},
}


def ready(**options: Any) -> Net:
    """A net as `predict` runs it, whose batch norms did something before they were folded."""
    torch.manual_seed(0)
    net = build(Architecture(**{"widths": (4, 8, 8), "out_channels": 3} | options))
    for name, buffer in net.named_buffers():
        if "running" in name:
            nn.init.uniform_(buffer, 0.5, 1.5) if "var" in name else nn.init.normal_(buffer, std=0.1)
    return prepare(net.eval())


def windows(net: Net, n: int = 1) -> list[Tensor]:
    """Two inputs, as `inference.runner` lays them out, of sizes that fit: odd multiples of the stride."""
    sizes = [(28, 36, 44)[: net.ndim], (44, 20, 28)[: net.ndim]]
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[net.ndim]
    generator = torch.Generator().manual_seed(1)
    shapes = [(n, net.in_channels, *net.geometry.above(size)) for size in sizes]
    return [torch.randn(shape, generator=generator).contiguous(memory_format=layout) for shape in shapes]


def body(net: Net, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return net.body(x)


def share(found: Tensor, expected: Tensor) -> float:
    """Largest difference as a share of the standard deviation."""
    assert (found.dtype, found.shape) == (torch.float32, expected.shape)
    return float((found - expected).abs().max() / expected.std())


@pytest.fixture(params=["openvino", "onnxruntime"])
def engine_of(request: pytest.FixtureRequest) -> Any:
    pytest.importorskip(request.param)
    return {"openvino": openvino_engine, "onnxruntime": onnxruntime_engine}[request.param]


@pytest.mark.parametrize("name", NETS)
def test_engines_give_what_the_net_gives(engine_of: Any, name: str) -> None:
    net = ready(**NETS[name])
    engine = engine_of(net, threads=1)
    for x in windows(net):
        assert share(engine(x), body(net, x)) < 1e-4
    first, again = windows(net)[0], engine(windows(net)[0])
    assert torch.equal(again, engine(first))
    assert engine.name in ("openvino float32", "onnxruntime")


def test_results_are_their_own_and_batches_are_batches(engine_of: Any) -> None:
    net = ready()
    engine = engine_of(net)
    x, _ = windows(net, 3)
    first = engine(x)
    kept = first.clone()
    engine(-x)
    assert torch.equal(first, kept)
    assert share(first, body(net, x)) < 1e-4


def test_torch_is_an_engine_as_well() -> None:
    net = ready()
    (x, _), engine = windows(net), torch_engine(net)
    assert engine.name == "torch"
    assert torch.equal(engine(x.contiguous()), body(net, x))


def test_compiled_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compiled is the body for fixed shapes; compiling itself takes a minute and is torch's own to test."""
    asked: list[Any] = []

    def compile(module: nn.Module, **options: Any) -> nn.Module:
        asked.append(options)
        return module

    monkeypatch.setattr(torch, "compile", compile)
    net = ready()
    (x, _), engine = windows(net), compiled_engine(net)
    assert torch.equal(engine(x), body(net, x))
    assert (engine.name, asked) == ("torch compiled", [{"dynamic": False}])


def test_tiles_of_an_image_by_an_engine() -> None:
    """Whatever runs a net over an image runs an engine, and the net is left as it was."""
    net = ready()
    image = torch.randn(1, 61, 50, generator=torch.Generator().manual_seed(2))
    seen: list[tuple[int, ...]] = []

    class Doubled:
        name = "doubled"

        def __call__(self, x: Tensor) -> Tensor:
            seen.append(tuple(x.shape))
            return 2 * body(net, x)

    tiling = plan_tiles(net, (61, 50), core=(32, 32))
    found, expected = run(with_engine(net, Doubled()), image, tiling), run(net, image, tiling)
    assert torch.equal(found, 2 * expected)
    assert len(seen) == len(tiling.tiles) == 4
    assert "body" not in vars(net)


def test_bfloat16_where_the_processor_has_it() -> None:
    pytest.importorskip("openvino")
    net = ready()
    x, _ = windows(net)
    try:
        engine = openvino_engine(net, precision="bfloat16")
    except ValueError as error:
        pytest.skip(str(error))
    assert engine.name == "openvino bfloat16"
    assert 1e-4 < share(engine(x), body(net, x)) < 0.2


class _Last(RuntimeEngine):
    """Gives the first channels of its input; remembers what it compiled for."""

    def __init__(self, net: Net, classes: int) -> None:
        super().__init__(net, "last", "last", None)
        self.n, self.shapes = classes, list[tuple[int, ...]]()

    def compile(self, shape: tuple[int, ...]) -> Infer:
        self.shapes.append(shape)
        return lambda array: array[:, : self.n].copy()


def test_the_last_four_sizes_are_kept() -> None:
    net = ready(in_channels=3)
    engine = _Last(net, 3)
    shapes = [(1, 3, n, 8) for n in (4, 8, 12, 16, 20)]
    for shape in [*shapes[:4], shapes[0], shapes[4], shapes[0], shapes[1]]:
        assert engine(torch.ones(shape)).shape == shape
    assert engine.shapes == [*shapes, shapes[1]]  # the second was the one not used for longest
    assert len(engine.compiled) == 4


def test_an_engine_that_reads_a_net_wrongly_is_not_believed() -> None:
    with pytest.raises(
        ValueError, match=r"engine last gives \(1, 2, 8, 8\) for an input of \(1, 3, 8, 8\), the net \(1, 3"
    ):
        _Last(ready(in_channels=3), 2)(torch.ones(1, 3, 8, 8))


# --- what is not possible ---


def test_values_that_are_not_possible(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    net = ready()
    with pytest.raises(ValueError, match="precision is 'float16'; expected one of float32, bfloat16"):
        openvino_engine(net, precision="float16")  # type: ignore[arg-type]
    core = SimpleNamespace(get_property=lambda device, name: ["FP32", "INT8"])
    monkeypatch.setattr(engine_openvino, "_openvino", lambda what: SimpleNamespace(Core=lambda: core))
    with pytest.raises(ValueError, match=r"does not multiply bfloat16 \(it has FP32, INT8\): use precision float32"):
        openvino_engine(net, precision="bfloat16")
    with pytest.raises(
        FileNotFoundError,
        match=r"model\.xml: there is no such model; make it with unetkit export ",
    ):
        int8_engine(net, tmp_path / "run" / "int8")


def test_a_damaged_model(tmp_path: Any) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "model.xml").write_text("<net")
    with pytest.raises(ValueError, match=r"model\.xml: is damaged \(.*\); make it again with unetkit export"):
        int8_engine(ready(), tmp_path)


@pytest.mark.parametrize("make", [openvino_engine, onnxruntime_engine, lambda net: int8_engine(net, "run/int8")])
def test_a_net_elsewhere(make: Any) -> None:
    with torch.device("meta"):
        net = build(Architecture(widths=(2, 2)))
    with pytest.raises(ValueError, match=r"computes on the processor, but the net is on meta: use engine torch"):
        make(net)


@pytest.mark.parametrize(
    ("module", "make", "what"),
    [
        ("openvino", openvino_engine, "engine openvino float32 needs openvino"),
        ("openvino", lambda net: int8_engine(net, "run/int8"), "engine openvino int8 needs openvino"),
        ("onnxruntime", onnxruntime_engine, "engine onnxruntime needs onnxruntime"),
        ("onnx", onnxruntime_engine, "engine onnxruntime needs onnx"),
        ("nncf", lambda net: engine_openvino.calibrated_model(net, [], n=1), "int8 needs nncf"),
    ],
)
def test_what_is_not_installed_is_said_with_its_cure(
    monkeypatch: pytest.MonkeyPatch, module: str, make: Any, what: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    net = ready(widths=(2, 2))
    with pytest.raises(ImportError, match=rf"^{what}, which is not installed: pip install 'unetkit\[fast\]'$"):
        make(net)

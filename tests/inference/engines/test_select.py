"""The engine that was asked for, or the fastest: measured here with a clock that the test turns."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from recorder import Recorder, Update
from torch import Tensor

from unetkit.inference.engines import select
from unetkit.inference.engines.int8_card import QuantisationReport
from unetkit.inference.engines.select import choose_engine
from unetkit.inference.prepare import prepare
from unetkit.labels.kind import LabelKind
from unetkit.model.card import Card
from unetkit.model.files import save_model
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build
from unetkit.nets.net import Net

PRICE = QuantisationReport(
    "00", 4, "validation", 3, 12_288, 0.93, 0.929, 0.05, 0.06, 0.0123, 2.0, 0.5, 0.005, "openvino 1, nncf 2"
)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return prepare(build(Architecture(widths=(2, 4))))


@pytest.fixture
def run(net: Net, tmp_path: Path) -> Path:
    labels = LabelKind("binary", (0, 255))
    card = Card(architecture=net.architecture.to_dict(), classes=["background", "cell"], labels=labels)
    save_model(tmp_path / "run" / "model.safetensors", build(net.architecture), card)
    return tmp_path / "run"


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Seconds that each engine takes for a run; engines that are not in it are not there."""
    seconds: dict[str, float] = {"torch": 1.0, "openvino": 0.5, "onnxruntime": 2.0}
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(select.time, "perf_counter", lambda: clock.now)

    def maker(name: str) -> Any:
        def make(net: Net, *_: Any) -> Any:
            def engine(x: Tensor) -> Tensor:
                clock.now += seconds[name]
                return net.body(x)

            if seconds[name] < 0:
                raise RuntimeError("no such layer\nand a second line")
            engine.name = name  # type: ignore[attr-defined]
            return engine

        return make

    monkeypatch.setattr(select, "find_spec", lambda name: name if name in seconds else None)
    monkeypatch.setattr(select, "_FLOAT32", {name: maker(name) for name in ("torch", "openvino", "onnxruntime")})
    monkeypatch.setattr(select, "int8_engine", maker("int8"))
    monkeypatch.setattr(select, "_streamed", lambda net: None)
    monkeypatch.setattr(select, "_redundancy", lambda net, window: 1.0)
    return seconds


def test_the_fastest_is_taken_and_the_others_are_told(net: Net, timed: dict[str, float]) -> None:
    lines: list[Update] = []
    engine = choose_engine(net, None, "auto", window=(64, 64), time_s=60, progress=Recorder(lines))
    assert engine.name == "openvino"
    # 64 x 64 pixels in 0.5, 1 and 2 s
    assert [line.message for line in lines] == [
        "engine openvino; million pixels per second here: openvino 0.01, torch 0.00, onnxruntime 0.00"
    ]
    timed["torch"] = 0.1
    assert choose_engine(net, None, "auto", window=(64, 64), time_s=60).name == "torch"


def test_what_is_not_installed_is_not_measured(net: Net, timed: dict[str, float]) -> None:
    del timed["openvino"]
    assert choose_engine(net, None, "auto", window=(64, 64), time_s=60).name == "torch"


def test_time_is_kept_but_torch_is_always_measured(net: Net, timed: dict[str, float]) -> None:
    timed["torch"] = 5.0
    assert choose_engine(net, None, "auto", window=(64, 64), time_s=4).name == "torch"


def test_a_net_that_a_runtime_cannot_read(net: Net, timed: dict[str, float]) -> None:
    timed["openvino"] = -1
    lines: list[Update] = []
    assert choose_engine(net, None, "auto", window=(64, 64), time_s=60, progress=Recorder(lines)).name == "torch"
    assert lines[0].message == "engine openvino cannot run this net: no such layer"
    timed["torch"] = -1
    with pytest.raises(RuntimeError, match="no such layer"):
        choose_engine(net, None, "auto", window=(64, 64))


def test_int8_is_measured_only_where_its_price_is_known_and_allowed(
    net: Net, run: Path, timed: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    timed["int8"] = 0.1

    def chosen(price: QuantisationReport | None, *, current: bool = True, net: Net = net) -> str:
        monkeypatch.setattr(select, "read_report", lambda folder: price)
        monkeypatch.setattr(select, "is_current", lambda run, report: current)
        return choose_engine(net, run, "auto", window=(64, 64), time_s=60).name

    assert chosen(PRICE) == "int8"
    assert chosen(None) == "openvino"
    assert chosen(PRICE, current=False) == "openvino"
    assert chosen(QuantisationReport(**vars(PRICE) | {"dice_int8": 0.92})) == "openvino"
    assert chosen(PRICE, net=prepare(build(Architecture(widths=(2, 2))))) == "openvino"  # pruned, perhaps


@pytest.mark.parametrize(
    ("padding", "window", "expected"),
    [("same", (64, 48), (64, 48)), ("same", (4096, 1024), (436, 106)), ("valid", (9, 9), (18, 18))],
)
def test_it_is_measured_on_a_window_that_is_quickly_computed(
    padding: Any, window: tuple[int, int], expected: tuple[int, int]
) -> None:
    x = select._probe(prepare(build(Architecture(widths=(2, 4), padding=padding))), window)
    assert x.shape == (1, 1, *expected)


def test_real_engines_are_measured(net: Net) -> None:
    lines: list[Update] = []
    engine = choose_engine(net, None, "auto", window=(64, 64), time_s=0.5, progress=Recorder(lines))
    assert lines[-1].message.startswith(f"engine {engine.name}; million pixels per second here: {engine.name} ")
    assert not getattr(engine, "compiled", None)
    x = torch.randn(1, 1, 32, 40)
    with torch.inference_mode():
        torch.testing.assert_close(engine(x), net.body(x), rtol=1e-4, atol=1e-4)


def test_one_that_was_asked_for(net: Net) -> None:
    assert choose_engine(net, None, "torch", window=(64, 64)).name == "torch"


def test_what_is_not_possible(net: Net, run: Path) -> None:
    with pytest.raises(
        ValueError, match="engine is 'tensorrt'; expected one of auto, torch, compiled, openvino, onnxruntime"
    ):
        choose_engine(net, None, "tensorrt", window=(64, 64))
    for model in (None, run / "model.safetensors"):
        with pytest.raises(
            ValueError, match=r"engine int8 is calibrated on the images of a run, but .* is not a run folder"
        ):
            choose_engine(net, model, "int8", window=(64, 64))
    with pytest.raises(ValueError, match=r"engine int8 is calibrated for the whole net of .*, not for a level of it"):
        choose_engine(prepare(build(Architecture(widths=(2, 2)))), run, "int8", window=(64, 64))


def test_a_net_on_another_device_stays_with_torch() -> None:
    with torch.device("meta"):
        elsewhere = build(Architecture(widths=(2, 2)))
    assert choose_engine(elsewhere, None, "auto", window=(64, 64)).name == "torch"

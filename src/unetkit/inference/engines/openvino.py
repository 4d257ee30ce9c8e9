"""OpenVINO: float32, bfloat16 where the processor multiplies it, and int8 models that `quantise` has calibrated."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from ...nets.net import Net
from .engine import Engine, Infer, RuntimeEngine, check_device, portable, smallest_window

__all__ = [
    "calibrated_model",
    "check_installed",
    "int8_engine",
    "openvino_engine",
    "openvino_model",
    "save_openvino",
]

Precision = Literal["float32", "bfloat16"]


def openvino_engine(net: Net, *, precision: Precision = "float32", threads: int | None = None) -> Engine:
    """OpenVINO's own kernels for a net.

    Parameters
    ----------
    net : Net
        From `inference.prepare`, on the processor.
    precision : "float32" or "bfloat16"
        Of the multiplications; what goes in and comes out is float32.
    threads : int, optional
        By default as many as torch uses.

    Raises
    ------
    ImportError
        If openvino is not installed.
    ValueError
        If the processor does not multiply bfloat16, or the net is on another device.
    """
    name = f"openvino {precision}"
    if precision not in get_args(Precision):
        raise ValueError(f"precision is {precision!r}; expected one of {', '.join(get_args(Precision))}")
    check_device(net, name)
    core = _openvino(f"engine {name}").Core()
    can = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bfloat16" and "BF16" not in can:
        raise ValueError(f"this processor does not multiply bfloat16 (it has {', '.join(can)}): use precision float32")
    return _OpenVINOEngine(net, precision, threads, core, openvino_model(net))


def int8_engine(net: Net, folder: Path | str, *, threads: int | None = None) -> Engine:
    """A model that `quantise` has calibrated, in whole numbers of 8 bits.

    Parameters
    ----------
    net : Net
        The one that was quantised, from `inference.prepare`, on the processor.
    folder : path
        RUN/int8, which holds model.xml and model.bin.
    threads : int, optional
        By default as many as torch uses.

    Raises
    ------
    ImportError
        If openvino is not installed.
    FileNotFoundError
        If there is no such model.
    ValueError
        If its files are damaged, or the net is on another device.
    """
    path, name = Path(folder) / "model.xml", "openvino int8"
    check_device(net, name)
    core = _openvino(f"engine {name}").Core()
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: there is no such model; make it with unetkit export {path.parent.parent} --format int8"
        )
    try:
        model = core.read_model(path)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(f"{path}: is damaged ({reason}); make it again with unetkit export --format int8") from None
    return _OpenVINOEngine(net, "int8", threads, core, model)


class _OpenVINOEngine(RuntimeEngine):
    """A model of OpenVINO, in latency mode: one window at a time, by all threads."""

    def __init__(self, net: Net, precision: str, threads: int | None, core: Any, model: Any) -> None:
        key = "openvino" if precision == "float32" else precision
        packed = {"float32": 1, "bfloat16": 2, "int8": 4}[precision]
        super().__init__(net, f"openvino {precision}", key, threads, values_per_float=packed)
        self.core, self.model = core, model
        self.settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16"
            if precision == "bfloat16"
            else "f32",  # unasked it takes the fastest there is
            "INFERENCE_NUM_THREADS": self.threads,
            "ENABLE_CPU_PINNING": False,  # else two processes would be pinned to the same cores
        }

    def compile(self, shape: tuple[int, ...]) -> Infer:
        model = self.model.clone()
        model.reshape(list(shape))
        request = self.core.compile_model(model, "CPU", self.settings).create_infer_request()

        def infer(array: np.ndarray) -> np.ndarray:
            result: np.ndarray = request.infer([array], share_inputs=True)[0]  # a copy of the request's own memory
            return result

        return infer


def openvino_model(net: Net) -> Any:
    """A net as an `openvino.Model` whose batch and window size are left open.

    Read by OpenVINO's frontend from a traced net. `openvino.convert_model` does the same, and reports each use of it
    over the network unless told otherwise.
    """
    _openvino("reading a net into OpenVINO")
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of tracing: it is deprecated, and sizes are compared in Python
        decoder = TorchScriptPythonDecoder(
            portable(net), example_input=smallest_window(net), shared_memory=False, trace_kwargs={"check_trace": False}
        )
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
    model.reshape([-1, net.in_channels, *(-1,) * net.ndim])
    return model


def calibrated_model(net: Net, patches: Iterable[np.ndarray], *, n: int) -> Any:
    """A net in int8: an `openvino.Model` whose ranges are those that its maps have on patches.

    Post-training quantisation of nncf: weights in 8 bits with a scale per channel, maps with one scale each, taken
    from what they hold on the patches; biases are corrected for what the rounding shifts on average.

    Parameters
    ----------
    net : Net
        From `inference.prepare`.
    patches : iterable of ndarray of shape (1, C, *patch), float32
        As the net is given images.
    n : int
        How many of them are used.

    Raises
    ------
    ImportError
        If openvino or nncf is not installed.
    """
    check_installed()
    nncf, model = _nncf(), openvino_model(net)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # its progress bars
        warnings.simplefilter("ignore")
        return nncf.quantize(
            model,
            nncf.Dataset(list(patches)),
            preset=nncf.QuantizationPreset.PERFORMANCE,
            target_device=nncf.TargetDevice.CPU,
            subset_size=n,
        )


def save_openvino(model: Any, path: Path) -> None:
    """Write a model as PATH.xml and PATH.bin, its float32 weights as they are."""
    _openvino("writing a model of OpenVINO").save_model(model, path, compress_to_fp16=False)


def check_installed() -> None:
    """Raise ImportError, before any work, if openvino or nncf is not there to make an int8 model."""
    for name in ("openvino", "nncf"):
        if find_spec(name) is None:
            raise ImportError(f"int8 needs {name}, which is not installed: pip install 'unetkit[fast]'")


def _openvino(user: str) -> Any:
    try:
        import openvino
    except ImportError:
        raise ImportError(f"{user} needs openvino, which is not installed: pip install 'unetkit[fast]'") from None
    return openvino


def _nncf() -> Any:
    """The package, kept from reporting its use over the network, and from writing lines of its own."""
    was_set = "NNCF_CI" in os.environ
    os.environ.setdefault("NNCF_CI", "1")  # read once, when it is imported
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import nncf
    finally:
        if not was_set:
            del os.environ["NNCF_CI"]
    nncf.set_log_level(logging.ERROR)
    return nncf

"""onnxruntime: the net written as ONNX in memory, and computed by its kernels."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import torch

from ...nets.net import Net
from .engine import Engine, Infer, RuntimeEngine, check_device, portable, smallest_window

__all__ = ["onnx_bytes", "onnxruntime_engine"]

_OPSET = 17


def onnxruntime_engine(net: Net, *, threads: int | None = None) -> Engine:
    """onnxruntime's kernels for a net, in float32.

    Parameters
    ----------
    net : Net
        From `inference.prepare`, on the processor.
    threads : int, optional
        By default as many as torch uses.

    Raises
    ------
    ImportError
        If onnxruntime or onnx is not installed.
    ValueError
        If the net is on another device.
    """
    check_device(net, "onnxruntime")
    try:
        import onnx  # noqa: F401 - torch writes ONNX with it
        import onnxruntime
    except ImportError as error:
        missing = error.name or "onnxruntime"
        raise ImportError(
            f"engine onnxruntime needs {missing}, which is not installed: pip install 'unetkit[fast]'"
        ) from None
    return _OnnxruntimeEngine(net, threads, onnxruntime)


class _OnnxruntimeEngine(RuntimeEngine):
    def __init__(self, net: Net, threads: int | None, runtime: Any) -> None:
        super().__init__(net, "onnxruntime", "onnxruntime", threads)
        self.runtime, self.model, self.axes = runtime, onnx_bytes(net), ("n", *_axes(net))

    def compile(self, shape: tuple[int, ...]) -> Infer:
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3  # errors
        for axis, n in zip(self.axes, (shape[0], *shape[2:]), strict=True):
            options.add_free_dimension_override_by_name(axis, n)
        session = self.runtime.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])

        def infer(array: np.ndarray) -> np.ndarray:
            result: np.ndarray = session.run(None, {"image": array})[0]
            return result

        return infer


def onnx_bytes(net: Net) -> bytes:
    """A net as an ONNX model with one input "image" and one output "logits", batch and window size left open.

    By torch's older exporter, which traces: it takes a tenth of the newer one's time and needs no onnxscript.
    """
    file, axes = io.BytesIO(), {0: "n"} | dict(enumerate(_axes(net), start=2))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # that it is the older one, and that sizes are compared in Python
        torch.onnx.export(
            portable(net),
            (smallest_window(net),),
            file,  # type: ignore[arg-type]
            input_names=["image"],
            output_names=["logits"],
            opset_version=_OPSET,
            dynamic_axes={"image": axes, "logits": {0: "n"}},
            dynamo=False,
        )
    return file.getvalue()


def _axes(net: Net) -> tuple[str, ...]:
    return tuple("zyx"[-net.ndim :])

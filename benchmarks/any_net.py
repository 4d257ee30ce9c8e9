"""Nets of peers through `Predictor(net)`: what is read of them, and speed and memory beside a sliding window.

    python benchmarks/any_net.py --list                                    what is read of every net; takes minutes
    python benchmarks/any_net.py --out any_net.jsonl                       4096 x 4096 or 192 cubed; takes hours
    python benchmarks/any_net.py --only "smp Unet" --side 1024             some nets, smaller
    python benchmarks/any_net.py --table any_net.jsonl                     the table of benchmarks/README.md

In an environment of its own, since torchvision does not import beside the CPU build of torch 2.13:

    pip install torch==2.14.1 torchvision==0.29.1 monai segmentation_models_pytorch dynamic_network_architectures timm .

Every figure is a process: the net on the whole image, `Predictor`, and MONAI's `sliding_window_inference` (overlap 0.5,
Gaussian; windows of 512 x 512, 96 cubed, or the size that the net was made for), one after another for each net.
Weights are random, with norms, gates and layer scales as after training (gains of 0.5 to 1.5): fresh ones hide what a
layer reads. Peak memory is the most that the process held beyond what it held before the run. Differences are shares
of the largest logit; where the whole image does not fit into `--most` GB, they are those of a smaller image. Float32
itself rounds a deep net's logits by up to 5e-5 of them: so `exact` also streams a small image in float64, and says how
far float32 is from float64 on the whole of it. What is in the file already is not run again.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

SIDES = {2: 4096, 3: 192}
WINDOWS = {2: 512, 3: 96}
Build = Callable[[], nn.Module]


def monai(name: str, **options: Any) -> Build:
    def build() -> nn.Module:
        from monai.networks import nets

        return getattr(nets, name)(out_channels=2, **options)  # type: ignore[no-any-return]

    return build


def smp(name: str, encoder: str = "resnet34") -> Build:
    def build() -> nn.Module:
        import segmentation_models_pytorch

        make = getattr(segmentation_models_pytorch, name)
        return make(encoder, encoder_weights=None, in_channels=3, classes=2)  # type: ignore[no-any-return]

    return build


def nnunet(kind: str, ndim: int, norm: str) -> Build:
    """As nnU-Net plans it for patches of 512 x 512 and 128 cubed."""

    def build() -> nn.Module:
        from dynamic_network_architectures.architectures import unet

        widths = [32, 64, 128, 256, 320, 320] if ndim == 3 else [32, 64, 128, 256, 512, 512, 512, 512]
        n = len(widths)
        options: dict[str, Any] = {
            "input_channels": 1,
            "n_stages": n,
            "features_per_stage": widths,
            "conv_op": {2: nn.Conv2d, 3: nn.Conv3d}[ndim],
            "kernel_sizes": 3,
            "strides": [1] + [2] * (n - 1),
            "num_classes": 2,
            "conv_bias": True,
            "norm_op": getattr(nn, f"{norm}Norm{ndim}d"),
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "nonlin": nn.LeakyReLU,
            "nonlin_kwargs": {"inplace": True},
            "deep_supervision": True,
        }
        if kind == "plain":
            return unet.PlainConvUNet(n_conv_per_stage=2, n_conv_per_stage_decoder=2, **options)  # type: ignore[no-any-return]
        blocks = [1, 3, 4, 6, 6, 6, 6, 6][:n]
        return unet.ResidualEncoderUNet(n_blocks_per_stage=blocks, n_conv_per_stage_decoder=1, **options)  # type: ignore[no-any-return]

    return build


def torchvision(name: str) -> Build:
    def build() -> nn.Module:
        from torchvision.models import segmentation

        return getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=2)  # type: ignore[no-any-return]

    return build


_ONE: dict[str, Any] = {"spatial_dims": 2, "in_channels": 1}
_ONE_3D: dict[str, Any] = {"spatial_dims": 3, "in_channels": 1}
_LEVELS: dict[str, Any] = {"channels": (16, 32, 64, 128, 256), "strides": (2, 2, 2, 2), "num_res_units": 2}
# Name -> how it is built, spatial axes, channels of the image.
NETS: dict[str, tuple[Build, int, int]] = {
    "MONAI BasicUNet 3D": (monai("BasicUNet", **_ONE_3D), 3, 1),
    "MONAI BasicUNet 3D, batch norm": (monai("BasicUNet", norm="batch", **_ONE_3D), 3, 1),
    "MONAI BasicUNet 2D, upsample nontrainable": (
        monai("BasicUNet", norm="batch", upsample="nontrainable", **_ONE),
        2,
        1,
    ),
    "MONAI UNet 2D, batch norm": (monai("UNet", norm="batch", **_ONE, **_LEVELS), 2, 1),
    "MONAI UNet 3D": (monai("UNet", **_ONE_3D, **_LEVELS), 3, 1),
    "MONAI AttentionUnet 2D": (
        monai("AttentionUnet", channels=(32, 64, 128, 256), strides=(2, 2, 2), **_ONE),
        2,
        1,
    ),
    "MONAI BasicUNetPlusPlus 2D": (monai("BasicUNetPlusPlus", **_ONE), 2, 1),
    "MONAI BasicUNetPlusPlus 2D, batch norm": (monai("BasicUNetPlusPlus", norm="batch", **_ONE), 2, 1),
    "MONAI DynUNet 3D": (
        monai("DynUNet", kernel_size=[3] * 5, strides=[1, 2, 2, 2, 2], upsample_kernel_size=[2] * 4, **_ONE_3D),
        3,
        1,
    ),
    "MONAI SegResNet 3D": (monai("SegResNet", **_ONE_3D), 3, 1),
    "MONAI VNet 3D": (monai("VNet", **_ONE_3D), 3, 1),
    "MONAI FlexibleUNet 2D, resnet34": (
        monai("FlexibleUNet", in_channels=3, backbone="resnet34", pretrained=False),
        2,
        3,
    ),
    "MONAI SwinUNETR 3D": (monai("SwinUNETR", feature_size=24, **_ONE_3D), 3, 1),
    "MONAI UNETR 3D": (monai("UNETR", in_channels=1, img_size=(96, 96, 96)), 3, 1),
    "smp Unet, resnet34": (smp("Unet"), 2, 3),
    "smp Unet, efficientnet-b0": (smp("Unet", "efficientnet-b0"), 2, 3),
    "smp Unet, convnext_tiny": (smp("Unet", "tu-convnext_tiny"), 2, 3),
    "smp Unet, mit_b0": (smp("Unet", "mit_b0"), 2, 3),
    "smp UnetPlusPlus, resnet34": (smp("UnetPlusPlus"), 2, 3),
    "smp MAnet, resnet34": (smp("MAnet"), 2, 3),
    "smp Linknet, resnet34": (smp("Linknet"), 2, 3),
    "smp FPN, resnet34": (smp("FPN"), 2, 3),
    "smp PSPNet, resnet34": (smp("PSPNet"), 2, 3),
    "smp DeepLabV3Plus, resnet34": (smp("DeepLabV3Plus"), 2, 3),
    "smp PAN, resnet34": (smp("PAN"), 2, 3),
    "smp UPerNet, resnet34": (smp("UPerNet"), 2, 3),
    "smp Segformer, mit_b0": (smp("Segformer", "mit_b0"), 2, 3),
    **{
        f"nnU-Net {kind} {d}D, {norm.lower()} norm": (nnunet(kind, d, norm), d, 1)
        for kind in ("plain", "residual")
        for d in (2, 3)
        for norm in ("Instance", "Batch")
    },
    "torchvision fcn_resnet50": (torchvision("fcn_resnet50"), 2, 3),
    "torchvision deeplabv3_resnet50": (torchvision("deeplabv3_resnet50"), 2, 3),
}
METHODS = ("whole", "predictor", "sliding")


def trained(net: nn.Module, channels: int, size: tuple[int, ...]) -> nn.Module:
    """Gains, gates and layer scales as after training, and the statistics that batch norms take of two images."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in net.named_parameters():
            last = name.rpartition(".")[2]
            if (tensor.ndim == 1 and last == "weight") or last == "gamma" or "layer_scale" in name:
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        for module in net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = None  # the mean over all images
        image = torch.from_numpy(np.stack([picture(channels, size, seed) for seed in (1, 2)]))
        net.train()(image)
    return net.eval()


def build(name: str) -> nn.Module:
    make, ndim, channels = NETS[name]
    make()  # libraries draw random numbers as they are imported
    torch.manual_seed(0)
    return trained(make(), channels, ((96,) if ndim == 3 else (256,)) * ndim)


def picture(channels: int, size: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Blobs over noise, near mean 0 and deviation 1, float32."""
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((channels, *size), dtype=np.float32) * 0.5
    axes = np.meshgrid(*(np.linspace(0, 12 * np.pi, n, dtype=np.float32) for n in size), indexing="ij", sparse=True)
    for axis in axes:
        image += np.sin(axis)
    return image


# --- one row: a process ---


class PeakMemory:
    """The most resident memory during a `with` block, beyond that at its start, in bytes; looked at every 20 ms."""

    def __enter__(self) -> PeakMemory:
        gc.collect()
        self._stop, self.start = threading.Event(), resident()
        self.peak = self.start
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.peak = max(self.peak, resident())

    def __exit__(self, *_: object) -> None:
        self.peak = max(self.peak, resident())
        self._stop.set()
        self._thread.join()

    @property
    def bytes(self) -> int:
        return self.peak - self.start


def resident() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096


def first(result: Any) -> torch.Tensor:
    if isinstance(result, dict):
        result = next(iter(result.values()))
    return first(result[0]) if isinstance(result, list | tuple) else result


def run_method(name: str, method: str, side: int, memory: int, out: Path) -> dict[str, Any]:
    from unetkit import Execution, Predictor

    _, ndim, channels = NETS[name]
    net, size = build(name), (side,) * ndim
    image = picture(channels, size)
    words = ""
    with torch.inference_mode(), PeakMemory() as peak:
        started = time.perf_counter()
        if method == "whole":
            logits = first(net(torch.from_numpy(image)[None]))[0].numpy()
        elif method == "predictor":
            predictor = Predictor(net, execution=Execution(memory_bytes=memory), in_channels=channels, ndim=ndim)
            prediction = predictor(image)
            words = predictor.describe(predictor.plan(size))
            logits = prediction.logits if prediction.logits is not None else np.empty(0)
        else:
            from monai.inferers import sliding_window_inference

            only = read_only(name)
            logits = sliding_window_inference(
                torch.from_numpy(image)[None], only or (WINDOWS[ndim],) * ndim, 1, lambda x: first(net(x)), overlap=0.5,
                mode="gaussian",
            )[0].numpy()  # type: ignore[union-attr,index]  # fmt: skip
        seconds = time.perf_counter() - started
    np.save(out, logits)
    return {"seconds": seconds, "peak_bytes": peak.bytes, "words": words}


def run_exact(name: str) -> dict[str, Any]:
    """A small image in float64: the stream beside the whole, and how far the whole in float32 is from it."""
    from unetkit import Predictor
    from unetkit.inference.runner import run
    from unetkit.inference.tiling import plan_stream

    _, ndim, channels = NETS[name]
    net, size = build(name), {2: (1152, 512), 3: (96, 64, 96)}[ndim]
    size = read_only(name) or size
    image = torch.from_numpy(picture(channels, size))
    with torch.inference_mode():
        single = first(net(image[None]))[0].double()
        net, image = net.double(), image.double()
        whole = first(net(image[None]))[0]
        member = Predictor(net, in_channels=channels, ndim=ndim).members[0]
        stream = member.stream_for((SIDES[ndim],) * ndim)
        result = {"rounding": float((single - whole).abs().max() / whole.abs().max())}
        if stream is not None:
            tiling = plan_stream(member.net, stream, size, slab={2: 16, 3: 4}[ndim])
            streamed = run(member.net, image, tiling, stream=stream)
            result["float64"] = float((streamed - whole).abs().max() / whole.abs().max())
    return result


def read_only(name: str) -> tuple[int, ...] | None:
    """The size that a net was made for, where it takes no other."""
    from unetkit import read_graph

    _, ndim, channels = NETS[name]
    return read_graph(NETS[name][0](), in_channels=channels, ndim=ndim).only


def facts(name: str, side: int) -> dict[str, Any]:
    """What is read of a net, and the memory that the whole image takes."""
    from unetkit import read_graph
    from unetkit.graph.memory import peak_memory

    build_net, ndim, channels = NETS[name]
    net = build_net().eval()
    try:
        graph = read_graph(net, in_channels=channels, ndim=ndim)
    except ValueError as error:
        return {"reads": False, "reason": str(error)}
    geometry = graph.geometry
    row: dict[str, Any] = {"reads": True, "local": graph.is_local, "reason": graph.describe_reach()}
    row |= {"stride": geometry.stride, "halo": geometry.halo, "layers": len(graph.layers), "only": graph.only}
    row["field"] = [field.largest for field in geometry.receptive_field()]
    row["parameters"] = sum(p.numel() for p in net.parameters())
    size = graph.only or geometry.above((side,) * ndim)
    row["whole_bytes"] = peak_memory(net, size, graph=graph).peak_bytes
    return row


# --- all rows ---


def child(*args: object) -> dict[str, Any]:
    done = subprocess.run([sys.executable, __file__, "--row", *map(str, args)], capture_output=True, text=True)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["killed"])[-1]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(name: str, side: int, args: argparse.Namespace, work: Path) -> dict[str, Any]:
    for file in work.glob("*.npy"):
        file.unlink()
    row: dict[str, Any] = {"net": name, "side": side} | child("facts", name, side)
    if not row.get("reads"):
        return row
    whole_side = side if row["only"] is None else row["only"][0]
    while row["only"] is None and whole_side > 64:
        needed = row["whole_bytes"] if whole_side == side else child("facts", name, whole_side)["whole_bytes"]
        if needed <= args.most * 2**30:
            break
        whole_side //= 2
    row["whole_side"] = whole_side
    row |= child("exact", name, side)
    # What is not local is run whole where that fits.
    memory = args.memory if row["local"] else int(args.most * 2**30)
    for method in METHODS if whole_side == side else METHODS[1:]:
        row[method] = child(method, name, side, memory, work / f"{method}.npy")
    if whole_side != side:
        for method in METHODS[:2]:
            row[f"{method}_smaller"] = child(method, name, whole_side, 32 * 2**30, work / f"{method}.npy")
    if all((work / f"{method}.npy").exists() for method in METHODS[:2]):
        whole, ours = (np.load(work / f"{method}.npy") for method in METHODS[:2])
        row["difference"] = float(np.abs(whole - ours).max() / np.abs(whole).max())
        row["changed"] = float((whole.argmax(0) != ours.argmax(0)).mean())
        sliding = work / "sliding.npy"
        if whole_side == side and sliding.exists():
            theirs = np.load(sliding)
            row["sliding_difference"] = float(np.abs(whole - theirs).max() / np.abs(whole).max())
            row["sliding_changed"] = float((whole.argmax(0) != theirs.argmax(0)).mean())
    return row


def table(path: Path) -> str:
    lines = [
        "| net | local | stride | halo | field | difference | ours, s | GB | window 0.5, s | GB | faster |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in map(json.loads, path.read_text().splitlines()):
        if not row["reads"]:
            lines.append(f"| {row['net']} | not read: {row['reason']} |")
            continue
        ours, theirs = (row.get(method, {}) for method in ("predictor", "sliding"))
        cells = [row["net"], "yes" if row["local"] else "no", *(max(row[key]) for key in ("stride", "halo", "field"))]
        cells.append(f"{row['difference']:.0e}" if "difference" in row else "")
        for result in (ours, theirs):
            has = "seconds" in result
            cells += [f"{result['seconds']:.1f}", f"{result['peak_bytes'] / 2**30:.1f}"] if has else ["", ""]
        both = "seconds" in ours and "seconds" in theirs
        cells.append(f"{theirs['seconds'] / ours['seconds']:.1f}" if both else "")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="only say what is read of every net")
    parser.add_argument("--only", default="", help="nets whose names hold these words, separated by |")
    parser.add_argument("--side", type=int, help="pixels per axis; 4096 in 2D, 192 in 3D by default")
    parser.add_argument("--memory", type=int, default=2 * 2**30, help="bytes for the maps of a local net; else --most")
    parser.add_argument("--most", type=float, default=14, help="GB that a whole image may take")
    parser.add_argument("--out", type=Path, default=Path("any_net.jsonl"))
    parser.add_argument("--table", type=Path, help="print the table of a file of results")
    parser.add_argument("--row", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.row:
        kind, name, side, *rest = args.row
        if kind == "facts":
            print(json.dumps(facts(name, int(side))))
        elif kind == "exact":
            print(json.dumps(run_exact(name)))
        else:
            print(json.dumps(run_method(name, kind, int(side), int(rest[0]), Path(rest[1]))))
        return
    if args.table:
        print(table(args.table))
        return
    wanted = [name for name in NETS if any(part in name for part in args.only.split("|"))]
    done = {json.loads(line)["net"] for line in args.out.read_text().splitlines()} if args.out.exists() else set()
    work = args.out.parent / "any_net_work"
    if args.list:
        for name in wanted:
            print(name, json.dumps(child("facts", name, args.side or SIDES[NETS[name][1]])), flush=True)
        return
    work.mkdir(exist_ok=True)
    for name in wanted:
        if name in done:
            continue
        row = measure(name, args.side or SIDES[NETS[name][1]], args, work)
        with args.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()

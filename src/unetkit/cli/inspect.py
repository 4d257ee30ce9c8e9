"""The verbs that explain a net: inspect, draw, levels."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import NETS, AsJson, Data, option, sides, widths_of

if TYPE_CHECKING:
    from ..insight.summary import Summary
    from ..nets.net import Net

__all__ = ["draw", "inspect", "levels"]

Model = Annotated[
    Path | None, typer.Argument(metavar="RUN", help="Run folder, or a model.safetensors (default: --net).")
]
NetName = Annotated[str | None, typer.Option("--net", help=NETS + " (default: unet).")]
Block = Annotated[str | None, typer.Option(help="plain, residual, preactivation or dense (default: the net's).")]
Skip = Annotated[
    str | None, typer.Option(help="concat, reduce (1x1 to half), add, attention; or none, to see what skips are worth.")
]
Widths = Annotated[str | None, typer.Option(help="Channels per level, finest first: 16,32,64.")]
WidthDivisor = Annotated[
    int | None, typer.Option("--width-divisor", "--divide-width", min=1, help="Divide the widths of a paper's net.")
]
Size = Annotated[str | None, typer.Option(help="Input in pixels: 572, or 132x132x116 (three make unet a 3D net).")]
Channels = Annotated[int | None, typer.Option(min=1, help="Channels of the image.")]
Classes = Annotated[int | None, typer.Option(min=1, help="Classes, background included.")]


def inspect(
    model: Model = None,
    net: NetName = None,
    block: Block = None,
    skip: Skip = None,
    widths: Widths = None,
    width_divisor: WidthDivisor = None,
    size: Size = None,
    channels: Channels = None,
    classes: Classes = None,
    image: Annotated[
        Path | None, typer.Option(help="Image to inspect with (default: the first one that the run has held out).")
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="Its true mask (default: looked up in the run's data).")] = None,
    data: Data = None,
    layers: Annotated[bool, typer.Option("--layers", help="Print every layer, not only the stages.")] = False,
    out: Annotated[Path | None, typer.Option(help="The page (.html; default: inspect.html in the run).")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a net is, what it sees in an image, and why: a table, and for a run one HTML page.

    The table: stages, map sizes, receptive fields, parameters, multiplications. The page: the net drawn, receptive
    fields on the image, what each skip carries, frequencies, gradients, cost, shifts; it takes up to a minute.
    A net by name (--net) gets a page with --image or --out PAGE.html, with random weights.
    """
    chosen, summary = _summarise(model, net, block, skip, widths, width_divisor, size, channels, classes)
    if as_json:
        rows = {"stages": summary.stage_rows()} | ({"layers": summary.layer_rows()} if layers else {})
        print(json.dumps({**summary.to_dict(), **rows}))
        return
    from .console import SectionBar, print_table

    print_table(summary.table(layers=layers))
    for line in summary.lines():
        typer.echo(line)
    if not (model or image or out):
        return
    from ..report.inspection.choose import choose_inspection, page_path
    from ..report.inspection.write import write_inspection

    page = page_path(model, net, image=image, out=out)
    if page:
        inspection, objects = choose_inspection(model or chosen, image=image, mask=mask, data=data, name=net)
        for note in inspection.notes:
            typer.echo(note)
        with SectionBar() as bar:
            write_inspection(inspection, page, objects=objects, progress=bar)
        typer.echo(f"Look at {page}")


def draw(
    out: Annotated[Path, typer.Option(help="The drawing (.svg).")],
    model: Model = None,
    net: NetName = None,
    block: Block = None,
    skip: Skip = None,
    widths: Widths = None,
    width_divisor: WidthDivisor = None,
    size: Size = None,
    channels: Channels = None,
    classes: Classes = None,
) -> None:
    """Draw a net as a U: levels, sizes, channels and receptive fields are read from the net itself."""
    from ..insight.summary import check_drawing_path, write_drawing

    check_drawing_path(out)
    _, summary = _summarise(model, net, block, skip, widths, width_divisor, size, channels, classes)
    write_drawing(out, summary, title=f"{model or net or 'unet'}, input {summary.size}")
    typer.echo(f"Look at {out}")


def _summarise(
    model: Path | None,
    net: str | None,
    block: str | None,
    skip: str | None,
    widths: str | None,
    width_divisor: int | None,
    size: str | None,
    channels: int | None,
    classes: int | None,
) -> tuple[Net, Summary]:
    """The net of the options that `inspect` and `draw` share, and its summary."""
    from ..insight.summary import choose_net, summarise

    input_size = None if size is None else option(lambda text: sides(text, "size"), size)
    input_size = (input_size,) if isinstance(input_size, int) else input_size
    chosen = choose_net(
        model,
        net,
        ndim=len(input_size) if input_size and len(input_size) > 1 else None,
        in_channels=channels,
        out_channels=classes,
        block=block,
        skip=skip,
        widths=None if widths is None else option(widths_of, widths),
        width_divisor=width_divisor,
    )
    return chosen, summarise(chosen.graph, input_size)


def levels(
    run: Annotated[Path, typer.Argument(help="Run folder of a unet++; its images are read from where they were.")],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Score and time every level of a unet++ run on its validation images, to choose one for predict --level."""
    from ..training.levels import compare_levels
    from .console import print_table

    rows = [asdict(row) for row in compare_levels(run, data=data)]
    if as_json:
        print(json.dumps(rows))
        return
    print_table(rows)
    typer.echo(f"Choose one: unetkit predict {run} IMAGES --out MASKS --level LEVEL")

"""The verbs that measure masks: measure table, measure polygons."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .options import AsJson, Labels

__all__ = ["app", "polygons", "table"]

app = typer.Typer(
    name="measure",
    help="Measure the objects of masks: a table, or outlines as GeoJSON.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def table(
    masks: Annotated[list[Path], typer.Argument(metavar="MASK...", help="Masks, or folders of masks.")],
    out: Annotated[Path, typer.Option(help="Folder for objects.csv.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images, of the same names: gray values are measured too.")
    ] = None,
    rois: Annotated[bool, typer.Option("--rois", help="Also NAME_rois.zip, outlines for ImageJ (2D).")] = False,
    labels: Labels = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure every object of masks: size, centre, shape and gray values, a row each, in the units of the files.

    Masks of ids give one object per id; of other masks every connected part of a class is one.
    """
    from ..measurements.table import measure
    from ..progress import SILENT
    from .console import FileBar

    with FileBar("measuring") as bar:
        result = measure(
            masks,
            out=out,
            images=images,
            labels=labels,
            rois=rois,
            overwrite=overwrite,
            progress=SILENT if as_json else bar,
        )
    if as_json:
        summary = {"table": str(result.table), "masks": result.masks, "objects": result.objects, "unit": result.unit}
        print(json.dumps(summary | {"notes": result.notes}))
        return
    for note in result.notes:
        typer.echo(note)
    typer.echo(result.describe())
    rois_text = f", and {len(result.rois)} files of outlines for ImageJ" if result.rois else ""
    typer.echo(f"Table: {result.table}{rois_text}")


@app.command()
def polygons(
    masks: Annotated[list[Path], typer.Argument(metavar="MASK...", help="2D masks, or folders of masks.")],
    out: Annotated[Path, typer.Option(help="Folder for the .geojson files.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the outlines of masks as GeoJSON: for QGIS in the map's coordinates, for QuPath in pixels.

    One polygon per connected region of one value; 0 and what a map holds no data for are left out.
    """
    from ..measurements.polygons import write_polygons
    from ..progress import SILENT
    from .console import FileBar

    with FileBar("tracing") as bar:
        files = write_polygons(masks, out=out, overwrite=overwrite, progress=SILENT if as_json else bar)
    if as_json:
        print(json.dumps([{**asdict(file), "mask": str(file.mask), "path": str(file.path)} for file in files]))
        return
    for file in files:
        typer.echo(f"{file.path}: {file.polygons} polygons, coordinates: {file.coordinates}")

"""The page of an inspection: one section after the other, each from its own tool."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from ...insight.drawing.draw import draw
from ...insight.inspection import Inspection
from ...insight.summary import Summary, macs_text, size_text, summarise
from ...io.atomic import check_writable, write_text
from ...plotting.html import Html, figure, header, page, paragraph, section, table
from ...progress import SILENT, Progress
from ..run import ObjectSizes
from .ablation import paths_section
from .choose import choose_inspection, inspect_module
from .costs import costs_section
from .frequencies import frequencies_section
from .gradients import gradients_section
from .receptive_fields import receptive_fields_section
from .shifts import shifts_section

__all__ = ["inspect", "write_inspection"]


def inspect(
    model: Path | str | nn.Module,
    image: Path | str | np.ndarray | None = None,
    *,
    mask: Path | str | np.ndarray | None = None,
    out: Path | str,
    progress: Progress = SILENT,
) -> Path:
    """Inspect a net with an image, and write one HTML page.

    Receptive fields on the image, ablation of each skip, frequencies, gradients, cost, and changes of the mask when the
    image moves; measured on this net and this image, in less than a minute for a common net on two cores.

    Parameters
    ----------
    model : path or Module
        A run folder, a model file, or any Module that `read_graph` reads; it is put into evaluation mode.
    image : path or ndarray of shape (C, *spatial), float32, optional
        A file, for a model of this package; an array, normalised as the Module expects it, for a Module. By default
        the first image that the run held out for validation, or noise.
    mask : path or ndarray of shape (*spatial), integer, optional
        The true mask, as `image`; class indices in an array. A run looks it up in its own data.
    out : path
        The page; an existing one is replaced.
    progress : Progress
        Gets the name of each section before it is computed.

    Returns
    -------
    Path
        The page that was written.

    Raises
    ------
    ValueError
        If the net cannot be read, image and net do not fit, or a file is given for a Module or an array for a run.
    FileNotFoundError
        If a file does not exist.
    """
    check_writable(Path(out), suffix=".html")
    objects = None
    if isinstance(model, nn.Module):
        if isinstance(image, Path | str) or isinstance(mask, Path | str):
            raise ValueError("it is not known how a Module normalises files: give image and mask as arrays")
        inspection = inspect_module(model, image, mask, name=type(model).__name__)
    elif isinstance(image, np.ndarray) or isinstance(mask, np.ndarray):
        raise ValueError(f"{model} normalises images itself: give image and mask as files, or the net as a Module")
    else:
        image, mask = (None if file is None else Path(file) for file in (image, mask))
        inspection, objects = choose_inspection(Path(model), image=image, mask=mask)
    return write_inspection(inspection, Path(out), objects=objects, progress=progress)


def write_inspection(
    inspection: Inspection, out: Path, *, objects: ObjectSizes | None = None, progress: Progress = SILENT
) -> Path:
    """Write the page on a net and an image: one HTML file that needs no other.

    Parameters
    ----------
    inspection : Inspection
        Of a trained net, one by name, or your own Module.
    out : Path
        The page; an existing one is replaced.
    objects : ObjectSizes, optional
        Of the training data, to compare the receptive field with; by default those of the inspection's own truth.
    progress : Progress
        Gets the name of each section before it is computed.

    Returns
    -------
    Path
        The page that was written.
    """
    summary = summarise(inspection.graph, inspection.size)
    sections = {
        "receptive fields": lambda: receptive_fields_section(inspection, objects),
        "paths": lambda: paths_section(inspection),
        "frequencies": lambda: frequencies_section(inspection),
        "gradients": lambda: gradients_section(inspection),
        "cost": lambda: costs_section(inspection),
        "shifts": lambda: shifts_section(inspection),
    }
    parts = [_header(inspection, summary), _net_section(summary)]
    for done, (name, make) in enumerate(sections.items()):
        progress.update(done, len(sections), name)
        parts.append(make())
    progress.update(len(sections), len(sections))
    title = f"{inspection.name}: inspection of the net"
    write_text(out, page(title, *parts, footer=f"Written by unetkit: {inspection.name}", is_large=True))
    return out


def _header(inspection: Inspection, summary: Summary) -> Html:
    totals = summary.to_dict()
    field = max(high for _, high in totals["receptive_field"])
    values = [
        (f"{totals['parameters'] / 1e6:.2f} M", "parameters"),
        (macs_text(totals["macs"]), f"multiplications for {size_text(inspection.size)}"),
        (f"{field} px", "receptive field of an output, at most"),
        (size_text(sorted(set(totals["stride"]))), "total stride"),
        ("yes" if totals["is_local"] else "no", "exact in tiles"),
    ]
    state = "trained" if inspection.is_trained else "with random weights, untrained"
    if inspection.is_noise:
        image = "Gaussian noise: no image was given, so the page shows what follows from the net alone"
    else:
        image = inspection.source + ("" if inspection.truth is not None else ", whose true mask is not known")
    notes = "".join(f" Note: {note}." for note in inspection.notes)
    return header(inspection.name, f"The net, {state}, inspected with {image}.{notes}", values)


def _net_section(summary: Summary) -> Html:
    rows = summary.table()
    names = [key for key in rows[0] if key != "level"]
    body = [[f"{row[key]:,}" if isinstance(row[key], int) else str(row[key]) for key in names] for row in rows]
    drawing = Html(draw(summary.graph, summary.size).removeprefix('<?xml version="1.0" encoding="UTF-8"?>\n'))
    words = (
        "The net as read from its computation: each box is a feature map, its height the size and its width the number "
        "of channels; arrows down are pooling, arrows up are up-sampling, horizontal ones are skips."
    )
    return section(
        "The net",
        figure(Html(f'<div class="wide">{drawing}</div>'), words),
        table([name.replace("_", " ").replace("macs", "MACs") for name in names], body, caption="Stages"),
        paragraph(*(f"{line}." for line in summary.lines()[1:])),
    )

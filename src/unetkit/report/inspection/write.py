"""Put the page together: one section after the other, each from its own tool."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from ...insight.drawing.draw import draw
from ...insight.inspection import Inspection
from ...insight.summary import macs_text, size_text, summarise
from ...io.atomic import write_text
from ...plotting.html import Html, figure, header, page, paragraph, section, table
from .ablation import paths_section
from .choose import choose, choose_own
from .costs import costs_section
from .frequencies import frequencies_section
from .gradients import gradients_section
from .receptive_fields import Objects, sight_section
from .shifts import shifts_section

__all__ = ["SECTIONS", "inspect", "write_inspection"]

SECTIONS = ("receptive fields", "paths", "frequencies", "gradients", "cost", "shifts")


def inspect(
    model: Path | str | nn.Module,
    image: Path | str | np.ndarray | None = None,
    *,
    mask: Path | str | np.ndarray | None = None,
    out: Path | str,
    observer: Callable[[str], None] | None = None,
) -> Path:
    """Show what a net sees in an image, and why: one HTML page.

    Receptive fields on the image, what each skip carries, frequencies, gradients, cost, and how much the mask changes
    when the image moves; measured on this net and this image, in less than a minute for a common net on two cores.

    Parameters
    ----------
    model : path or Module
        A run folder, a model file, or any Module that `read_graph` reads; it is put into evaluation mode.
    image : path or ndarray of shape (C, *spatial), float32, optional
        A file, for a model of this package; an array, normalised as the Module expects it, for a Module. By default
        the first image that the run has held out for validation, or noise.
    mask : path or ndarray of shape (*spatial), integer, optional
        The true mask, as `image`; class indices in an array. A run looks it up in its own data.
    out : path
        The page; an existing one is replaced.
    observer : callable, optional
        Called with the name of each section before it is computed.

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
    if isinstance(model, nn.Module):
        arrays = tuple(a if isinstance(a, np.ndarray) else None for a in (image, mask))
        if (image, mask) != arrays and any(isinstance(a, Path | str) for a in (image, mask)):
            raise ValueError("a Module does not say how files are normalised for it: give image and mask as arrays")
        choice = choose_own(model, *arrays, name=type(model).__name__)
    elif isinstance(image, np.ndarray) or isinstance(mask, np.ndarray):
        raise ValueError(f"{model} normalises images by itself: give image and mask as files, or the net as a Module")
    else:
        files = [None if file is None else Path(file) for file in (image, mask)]
        choice = choose(Path(model), image=files[0], mask=files[1])
    return write_inspection(choice.subject, Path(out), objects=choice.objects, observer=observer)


def write_inspection(
    subject: Inspection, out: Path, *, objects: Objects | None = None, observer: Callable[[str], None] | None = None
) -> Path:
    """Write the page on a net and an image: one HTML file that needs nothing else.

    Parameters
    ----------
    subject : Subject
        Of `insight.inspection`: a trained net, one by name, or your own Module.
    out : Path
        The page; an existing one is replaced.
    objects : (diameters, sentence), optional
        Sizes of the labelled objects of the training data in pixels, to hold the receptive field against; by default
        those of the subject's own truth.
    observer : callable, optional
        Called with the name of each section before it is computed.

    Returns
    -------
    Path
        The page that was written.
    """
    parts = [_top(subject), _stages(subject)]
    for name, make in zip(SECTIONS, _sections(subject, objects), strict=True):
        if observer:
            observer(name)
        parts.append(make())
    title = f"{subject.name}: what the net sees"
    write_text(out, page(title, *parts, footer=f"Written by unetkit: {subject.name}", is_large=True))
    return out


def _sections(subject: Inspection, objects: Objects | None) -> Iterator[Callable[[], Html]]:
    yield lambda: sight_section(subject, objects)
    for make in (paths_section, frequencies_section, gradients_section, costs_section, shifts_section):
        yield partial(make, subject)


def _top(subject: Inspection) -> Html:
    found = summarise(subject.graph, subject.size)
    totals = found.to_dict()
    field = max(high for _, high in totals["receptive_field"])
    values = [
        (f"{totals['parameters'] / 1e6:.2f} M", "parameters"),
        (macs_text(totals["macs"]), f"multiplications for {size_text(subject.size)}"),
        (f"{field} px", "seen by an output, at most"),
        (size_text(sorted(set(totals["stride"]))), "total stride"),
        ("yes" if totals["is_local"] else "no", "exact in tiles"),
    ]
    state = "trained" if subject.is_trained else "with random weights, as before any training"
    return header(subject.name, f"The net, {state}, looking at {_image(subject)}.", values)


def _image(subject: Inspection) -> str:
    if subject.is_noise:
        return "Gaussian noise: no image was given, so what follows from the net alone is shown"
    return subject.source if subject.truth is not None else f"{subject.source}, of which no true mask is known"


def _stages(subject: Inspection) -> Html:
    found = summarise(subject.graph, subject.size)
    rows = found.table()
    names = [key for key in rows[0] if key != "level"]
    body = [[f"{row[key]:,}" if isinstance(row[key], int) else str(row[key]) for key in names] for row in rows]
    drawing = Html(draw(subject.graph, found.size).removeprefix('<?xml version="1.0" encoding="UTF-8"?>\n'))
    words = (
        "The net as its computation shows it: each box is a map, its height the size and its width the channels; "
        "arrows down are pooling, up enlarging, level ones the skips."
    )
    listed = table([name.replace("_", " ").replace("macs", "MACs") for name in names], body, caption="Stages")
    return section(
        "The net",
        figure(Html(f'<div class="wide">{drawing}</div>'), words),
        listed,
        paragraph(*(f"{line}." for line in found.lines()[1:])),
    )

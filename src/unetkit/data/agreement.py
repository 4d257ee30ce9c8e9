"""What the samples of a set have in common: axes, channels, pixel size, and the meaning of their masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median

from ..errors import Problem, Problems, raise_problems
from ..image import Image
from ..labels.kind import LabelKind
from ..labels.options import LabelOptions
from ..labels.recognise import recognise
from .sample import Sample

__all__ = ["common_channels", "common_ndim", "kind_of_labels", "typical_spacing"]


def common_ndim(samples: Sequence[Sample]) -> int:
    """2 or 3, as most images have; the others are named."""
    counts = Counter(sample.image.ndim for sample in samples)
    ndim = max(counts, key=lambda n: (counts[n], n)) if counts else 2
    problems = []
    for sample in samples:
        if sample.image.ndim != ndim:
            size = " x ".join(map(str, sample.image.size))
            text = f"has {sample.image.ndim} spatial axes, {size}, most others {ndim}: planes and volumes are not mixed"
            problems.append(Problem(f"{sample.pair.image}: {text}", (*sample.pair.files, sample.pair.mask)))
    raise_problems(problems, "image of another dimension")
    return ndim


def common_channels(images: Sequence[Image]) -> int:
    """The number that most images have or, being gray, can be given; of equals the largest."""
    counts = Counter(image.channels for image in images)
    fitting = {channels: n + (counts[1] if channels == 3 else 0) for channels, n in counts.items()}
    return max(fitting, key=lambda channels: (fitting[channels], channels))


def kind_of_labels(samples: Sequence[Sample], options: LabelOptions) -> LabelKind:
    """Kind of the labels; where none fits, the file with the most values is named, as a stray photograph has most."""
    statistics = [sample.statistics for sample in samples]
    try:
        return recognise(statistics, options)
    except ValueError as error:
        numbers = [len(each.counts) for each in statistics]
        if len(set(numbers)) < 2:
            raise
        mask = samples[numbers.index(max(numbers))].pair.mask
        message = f"{error}; the most values, {max(numbers)}, are in {mask}"
    raise Problems("", [Problem(message, (mask,))])


def typical_spacing(images: Sequence[Image]) -> tuple[tuple[float, ...], str]:
    """Median pixel size per axis; 1 px where the files do not agree on the unit."""
    if len({image.unit for image in images}) > 1:
        return (1.0,) * images[0].ndim, "px"
    return tuple(median(image.spacing[i] for image in images) for i in range(images[0].ndim)), images[0].unit

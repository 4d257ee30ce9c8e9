"""Read, write and lazily open images and label images, by suffix and content; numpy in, numpy out."""

from ..georeference import GeoReference, valid_mask
from .lazy import LazyImage
from .reading import images_within, list_images, list_outlines, open_lazy, read, read_coded_labels, read_labels
from .writing import write, write_labels, write_labels_from

__all__ = [
    "GeoReference",
    "LazyImage",
    "images_within",
    "list_images",
    "list_outlines",
    "open_lazy",
    "read",
    "read_coded_labels",
    "read_labels",
    "valid_mask",
    "write",
    "write_labels",
    "write_labels_from",
]

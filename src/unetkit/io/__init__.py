"""Read, write and lazily open images and label images, by suffix and content; numpy in, numpy out."""

from .lazy import LazyImage
from .raster import list_images, open_lazy, read, read_labels
from .writing import write, write_labels

__all__ = ["LazyImage", "list_images", "open_lazy", "read", "read_labels", "write", "write_labels"]

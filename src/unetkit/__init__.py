"""U-Nets for every pixel: from a folder of images and masks to exact masks of images of any size.

Names are loaded on first use, so that importing the package takes no time.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

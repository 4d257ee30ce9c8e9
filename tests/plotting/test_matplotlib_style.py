"""Pictures as SVG."""

import re

import numpy as np
from matplotlib.figure import Figure

from unetkit.plotting.matplotlib_style import svg


def test_equal_images_in_a_figure_have_no_id_in_common():
    figure = Figure()
    for axis in figure.subplots(1, 2):
        axis.imshow(np.zeros((8, 8)))
    text = svg(figure, label="zeros")
    assert text.count("<image") == 2
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)

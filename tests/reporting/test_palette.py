"""The curves' colours, as the common kinds of colour vision see them, and against the page."""

import re
from importlib.resources import files
from itertools import combinations

import numpy as np
import pytest

CSS = (files("gan_lab.reporting") / "templates" / "report.css").read_text()
MODES = dict(zip(("light", "dark"), re.findall(r":root \{(.*?)\}", CSS, re.DOTALL), strict=True))

# What is left of linear RGB without one kind of cone: Machado, Oliveira and Fernandes 2009, severity 1.
VISIONS = {
    "common": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def test_print_is_light():
    assert CSS.count("prefers-color-scheme") == 1 and "@media screen and (prefers-color-scheme: dark)" in CSS


def linear(name, mode):
    """A colour of the style sheet as linear RGB."""
    text = re.search(rf"--{name}: #(\w+)", MODES[mode])[1]
    text = "".join(c * 2 for c in text) if len(text) == 3 else text
    c = np.array([int(text[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def luminance(rgb):
    return rgb @ [0.2126, 0.7152, 0.0722]


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def lab(rgb):
    to_xyz = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                       [0.0193339, 0.1191920, 0.9503041]])  # fmt: skip
    xyz = to_xyz @ rgb / [0.95047, 1, 1.08883]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("mode", MODES)
def test_lines_and_text_stand_out_from_the_page(mode):
    back = linear("back", mode)
    assert min(contrast(linear(f"c{i}", mode), back) for i in range(8)) >= 3  # WCAG for graphics
    words = ("text", "soft", "accent", "bad", "good", "open")
    assert min(contrast(linear(name, mode), back) for name in words) >= 4.5  # and for text


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("mode", MODES)
def test_colours_stay_apart_in_every_colour_vision(mode, vision):
    seen = [lab(np.clip(np.array(VISIONS[vision]) @ linear(f"c{i}", mode), 0, 1)) for i in range(8)]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 15
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen[:5], 2)) > 20


def test_the_measure_itself_tells_red_and_green_apart_only_for_some():
    red, green = np.array([0.5, 0.1, 0.0]), np.array([0.14, 0.2, 0.0])
    seen = {name: np.linalg.norm(lab(np.clip(np.array(m) @ red, 0, 1)) - lab(np.clip(np.array(m) @ green, 0, 1)))
            for name, m in VISIONS.items()}  # fmt: skip
    assert seen["deuteranopia"] < seen["common"] / 3

"""The figure `task`, from made-up tables."""

import numpy as np
import pandas as pd
import pytest

from .made import draw, trial_rows


def test_trial_marks_stimulus_response_and_target(drawn):
    frames, trigger, outputs = drawn("task").axes[:3]
    assert {(text.get_text(), text.xy[0]) for text in frames.texts} == {
        ("image", 5),
        ("trigger: answer now", 14),
        ("A", 0),
    }
    assert len(frames.images) == 20
    assert list(trigger.lines[0].get_ydata()) == [0] * 14 + [1] + [0] * 5
    due = {tuple(map(int, point)) for point in outputs.collections[-1].get_offsets()}
    assert due == {(step, 0) for step in range(20) if step != 14} | {(14, 4)}  # null, and class 3 at the response
    assert outputs.images[0].get_array().shape == (11, 20)


@pytest.mark.parametrize("shape", [(8, 8, 1), (5, 10, 1), (6, 4, 3)], ids=["square", "wide", "colour"])
def test_trial_shows_frames_in_their_shape_and_the_stimulus_where_the_table_has_it(shape):
    # Every frame is within an image's range, so that nothing but the table tells which one is the stimulus.
    rows = pd.DataFrame(trial_rows(np.random.default_rng(1), stimulus=2, shape=shape, noise=0.01))
    frames = draw("task", {"trial": rows}).axes[0]
    assert ("image", 2) in {(text.get_text(), text.xy[0]) for text in frames.texts}
    pixels = rows[rows["quantity"] == "pixel"].pivot(index="step", columns="index", values="value").to_numpy()
    assert pixels.min() >= 0 and pixels.max() <= 1
    assert len(frames.images) == 20
    for image, flat in zip(frames.images, pixels, strict=True):
        np.testing.assert_allclose(np.reshape(image.get_array(), shape), flat.reshape(shape))
        assert image.get_array().shape[:2] == shape[:2]


def test_protocols_are_drawn_with_their_values_and_starts(drawn):
    panels = drawn("task").axes[-3:]
    assert [axes.texts[0].get_text().split(":")[0] for axes in panels] == ["VoCu", "DeCu", "NaCu"]
    line = panels[1].lines[0]
    assert line.get_ydata().tolist() == [6, 8, 10, 12, 14, 16, 18, 20, 20]
    assert line.get_xdata()[:3] == pytest.approx([0, 100 * 20 / 140, 100 * 30 / 140])
    assert set(panels[2].lines[0].get_ydata()) == {1}

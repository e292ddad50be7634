"""The figure `trial`, from made-up tables."""

import numpy as np
import pandas as pd
import pytest

from .made import draw, trial_rows


def test_trial_marks_stimulus_response_and_target(drawn):
    frames, trigger, outputs, bar = drawn("trial").axes
    assert {(text.get_text(), text.xy[0]) for text in frames.texts} == {("stimulus", 5), ("response", 14)}
    assert len(frames.images) == 20
    assert list(trigger.lines[0].get_ydata()) == [0] * 14 + [1] + [0] * 5
    due = {tuple(map(int, point)) for point in outputs.collections[-1].get_offsets()}
    assert due == {(step, 0) for step in range(20) if step != 14} | {(14, 4)}  # null, and class 3 at the response
    assert outputs.images[0].get_array().shape == (11, 20)
    assert bar.get_ylabel() == "value of the output"


@pytest.mark.parametrize("shape", [(8, 8, 1), (5, 10, 1), (6, 4, 3)], ids=["square", "wide", "colour"])
def test_trial_shows_frames_in_their_shape_and_the_stimulus_where_the_table_has_it(shape):
    # Every frame is within an image's range, so that nothing but the table tells which one is the stimulus.
    rows = pd.DataFrame(trial_rows(np.random.default_rng(1), stimulus=2, shape=shape, noise=0.01))
    frames = draw("trial", {"trial": rows}).axes[0]
    assert ("stimulus", 2) in {(text.get_text(), text.xy[0]) for text in frames.texts}
    pixels = rows[rows["quantity"] == "pixel"].pivot(index="step", columns="index", values="value").to_numpy()
    assert pixels.min() >= 0 and pixels.max() <= 1
    assert len(frames.images) == 20
    for image, flat in zip(frames.images, pixels, strict=True):
        np.testing.assert_allclose(np.reshape(image.get_array(), shape), flat.reshape(shape))
        assert image.get_array().shape[:2] == shape[:2]

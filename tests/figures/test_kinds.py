"""The figure `kinds`, from made-up tables."""

import pytest

from memrnn.figures import style

from .made import draw, legend_labels, texts


def test_kinds_are_counted_over_the_networks_that_learned(tables, drawn):
    shares, constants = drawn("kinds").axes
    lines = [f"{cell}, {protocol}" for cell in ("GRU", "LSTM") for protocol in ("VoCu", "DeCu", "NaCu")]
    assert [label.get_text() for label in shares.get_yticklabels()] == lines
    assert texts(shares).splitlines() == [*["12", "4", "16", "4", "4"] * 2, "no network learned"] * 2
    widths = [round(bar.get_width(), 6) for bar in shares.patches[:5]]
    assert widths == [0.3, 0.1, 0.4, 0.1, 0.1]
    assert [bar.get_x() for bar in shares.patches[:5]] == pytest.approx([0, 0.3, 0.4, 0.8, 0.9])
    assert legend_labels(drawn("kinds"))[:5] == list(style.KINDS.values())
    stable = constants.collections[0]
    rows = tables["spectrum"].query("cell == 'gru' and curriculum == 'vocu' and kind == 'stable'")
    assert stable.get_offsets()[:, 0].tolist() == pytest.approx(rows["time_constant"].tolist())
    assert constants.get_xscale() == "log"
    ghost = constants.collections[2]
    filled = (ghost.get_facecolors()[:, :3] != 1).any(axis=1)
    growing = (
        tables["spectrum"].query("cell == 'gru' and curriculum == 'vocu' and kind == 'ghost'")["leading_modulus"] > 1
    )
    assert filled.tolist() == growing.tolist()


def test_kinds_says_what_it_lacks(tables):
    unlearned = tables | {"scores": tables["scores"].assign(learned=False)}
    assert set(texts(draw("kinds", unlearned).axes[0]).splitlines()) == {"no network learned"}

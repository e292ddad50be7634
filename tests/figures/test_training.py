"""The figure `training`, from made-up tables."""

from memrnn.figures import training

from .made import legend_labels


def test_training_says_what_grows_and_when(drawn):
    figure = drawn("training")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:3] == [
        "GRU, VoCu\n2 to 10 classes",
        "GRU, DeCu\n6 to 20 time steps",
        "GRU, NaCu\nfull task throughout",
    ]
    upright = [
        [line.get_xdata()[0] for line in axes.lines if line.get_label() == training.GROWN] for axes in figure.axes
    ]
    assert [len(steps) for steps in upright[:3]] == [8, 7, 0]
    assert upright[0][:2] == [400, 700]  # first logged steps past 8/140 and 16/140 of 6,000
    assert legend_labels(figure) == ["at the response (class)", "at all other steps (null)", training.GROWN]

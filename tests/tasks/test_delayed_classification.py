"""The task: what trials are drawn, what the networks see, what counts as right, and the loss, term by term."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import dense
from scipy import stats
from torch import Tensor

from memrnn.core import streams
from memrnn.models import networks as nets
from memrnn.tasks import delayed_classification as task
from memrnn.tasks.protocols import Lesson

DELTA = 4
T = 20
FULL = Lesson(10, T)


def generators(*seeds: int) -> list[torch.Generator]:
    return [streams.generator(seed, "tests") for seed in seeds]


def split(counts: list[int]) -> tuple[Tensor, Tensor]:
    """Offsets and counts of a split sorted by class."""
    numbers = torch.tensor(counts)
    return torch.tensor([0, *itertools.accumulate(counts)][:-1]), numbers


# ---------------------------------------------------------------- drawing


@settings(max_examples=60, deadline=None)
@given(
    steps=st.integers(2, 40),
    delay=st.integers(1, 39),
    counts=st.lists(st.integers(1, 6), min_size=1, max_size=10),
    batch=st.integers(1, 50),
    seeds=st.lists(st.integers(0, 10**6), min_size=1, max_size=3),
    data=st.data(),
)
def test_every_trial_is_possible(steps, delay, counts, batch, seeds, data):
    delay = min(delay, steps - 1)
    classes = data.draw(st.integers(1, len(counts)))
    drawn = task.draw(generators(*seeds), batch, Lesson(classes, steps), delay, *split(counts))
    assert all(part.shape == (len(seeds), batch) and part.dtype == torch.int64 for part in drawn)
    assert (drawn.stimulus >= 0).all() and (drawn.stimulus <= steps - delay - 1).all()
    assert (drawn.response - drawn.stimulus >= delay).all() and (drawn.response <= steps - 1).all()
    assert (drawn.label >= 0).all() and (drawn.label < classes).all()
    owner = torch.tensor([k for k, count in enumerate(counts) for _ in range(count)])
    assert torch.equal(owner[drawn.image], drawn.label)


@pytest.fixture(scope="module")
def many() -> task.Trials:
    return task.draw(generators(0), 200_000, Lesson(7, T), DELTA, *split([3, 1, 5, 2, 4, 6, 7, 9, 9, 9]))


def uniform(values: Tensor, among: range) -> float:
    """p of the chi-square test that values are uniform among these, all of which must occur."""
    numbers = np.bincount(values.numpy().ravel(), minlength=among.stop)
    assert numbers.sum() == numbers[among.start : among.stop].sum()
    assert (numbers[among.start : among.stop] > 0).all()
    return stats.chisquare(numbers[among.start : among.stop]).pvalue


def test_times_are_uniform_over_their_inclusive_ranges(many):
    assert uniform(many.stimulus, range(T - DELTA)) > 1e-3
    for t_s in range(T - DELTA):
        response = many.response[many.stimulus == t_s]
        if t_s == T - DELTA - 1:
            assert (response == T - 1).all()
        else:
            assert uniform(response, range(t_s + DELTA, T)) > 1e-3


def test_classes_in_play_and_their_images_are_uniform_the_last_included(many):
    assert uniform(many.label, range(7)) > 1e-3
    begin = 0
    for label, count in enumerate([3, 1, 5, 2, 4, 6, 7]):
        images = many.image[many.label == label]
        assert set(images.tolist()) == {*range(begin, begin + count)}
        if count > 1:
            assert uniform(images, range(begin, begin + count)) > 1e-3
        begin += count


def test_time_class_and_image_are_drawn_independently(many):
    table = np.zeros((T - DELTA, 7))
    np.add.at(table, (many.stimulus[0].numpy(), many.label[0].numpy()), 1)
    assert stats.chi2_contingency(table).pvalue > 1e-3
    chosen = many.label == 6
    table = np.zeros((T - DELTA, 7))
    np.add.at(table, (many.stimulus[chosen].numpy(), many.image[chosen].numpy() - 21), 1)
    assert stats.chi2_contingency(table).pvalue > 1e-3


def test_the_shortest_trials_leave_three_pairs_of_times():
    drawn = task.draw(generators(0, 1), 600, Lesson(2, 6), DELTA, *split([1] * 10))
    pairs = set(zip(drawn.stimulus.flatten().tolist(), drawn.response.flatten().tolist(), strict=True))
    assert pairs == {(0, 4), (0, 5), (1, 5)}


def test_each_network_draws_from_its_own_stream():
    block = task.draw(generators(5, 3, 8), 40, FULL, DELTA, *split([9] * 10))
    for position, seed in enumerate((5, 3, 8)):
        alone = task.draw(generators(seed), 40, FULL, DELTA, *split([9] * 10))
        assert all(torch.equal(ours[position], theirs[0]) for ours, theirs in zip(block, alone, strict=True))
    assert not torch.equal(block.image[0], block.image[1])
    stream = generators(5)
    first, second = (task.draw(stream, 40, FULL, DELTA, *split([9] * 10)) for _ in range(2))
    assert not torch.equal(first.image, second.image)


@pytest.mark.parametrize(("steps", "delay"), [(4, 4), (3, 4), (20, 20)])
def test_a_trial_without_room_is_refused(steps, delay):
    with pytest.raises(ValueError, match=f"a trial of {steps} steps has no room for a delay of {delay}"):
        task.draw(generators(0), 1, Lesson(10, steps), delay, *split([1] * 10))


# ---------------------------------------------------------------- what the networks see

MEAN, STD = 0.3, 0.4
OWN_OR_SHARED = pytest.mark.parametrize("shared", [None, 24, 64], ids=["own", "24 shared", "64 shared"])


def show(
    drawn: task.Trials, seeds: tuple[int, ...], images: Tensor, steps: int, shared: int | None = None
) -> task.Inputs:
    """Inputs in a buffer full of leftovers."""
    batch = drawn.label.shape[1]
    room = torch.full((len(seeds), steps * batch if shared is None else shared + batch, images.shape[1]), math.nan)
    shown = task.inputs(drawn, generators(*seeds), images, MEAN, STD, steps, shared, room)
    assert shown.frames is room
    return shown


def seen(drawn: task.Trials, seeds: tuple[int, ...], images: Tensor, steps: int, shared: int | None = None) -> Tensor:
    return dense(show(drawn, seeds, images, steps, shared))


@settings(max_examples=40, deadline=None)
@given(
    steps=st.integers(5, 24),
    classes=st.integers(1, 10),
    seed=st.integers(0, 1000),
    batch=st.integers(1, 12),
    spare=st.none() | st.integers(0, 9),
)
def test_image_and_trigger_are_clean_and_alone(steps, classes, seed, batch, spare):
    images = torch.rand(30, 9, generator=torch.Generator().manual_seed(seed))
    seeds = (seed, seed + 1)
    drawn = task.draw(generators(*seeds), batch, Lesson(classes, steps), DELTA, *split([3] * 10))
    x = seen(drawn, seeds, images, steps, None if spare is None else steps + spare)
    assert x.shape == (2, steps, batch, 10)
    for network, trial in itertools.product(range(2), range(batch)):
        t_s, t_a = drawn.stimulus[network, trial], drawn.response[network, trial]
        image = images[drawn.image[network, trial]]
        trigger = [float(t == t_a) for t in range(steps)]
        assert x[network, :, trial, -1].tolist() == trigger
        for t in range(steps):
            assert torch.equal(x[network, t, trial, :-1], image) == (t == t_s)


@OWN_OR_SHARED
def test_what_is_seen_is_the_frame_that_the_index_names(shared):
    images = torch.rand(30, 9, generator=torch.Generator().manual_seed(0))
    drawn = task.draw(generators(3, 4), 5, FULL, DELTA, *split([3] * 10))
    shown = show(drawn, (3, 4), images, T, shared)
    assert shown.steps == T and torch.equal(shown.response, drawn.response)
    x = dense(shown)
    for network, t, trial in np.ndindex(2, T, 5):
        frame = t * 5 + trial if shared is None else shown.index[network, t, trial]
        assert torch.equal(x[network, t, trial, :-1], shown.frames[network, frame])
    assert (shown.index is None) == (shared is None)


@OWN_OR_SHARED
def test_noise_is_white_unclipped_and_of_the_right_size(shared):
    """With shared frames the trials of a batch are not independent, so the frames are looked at instead."""
    images = torch.full((10, 16), 77.0)
    seeds = (0, 1)
    drawn = task.draw(generators(*seeds), 250, FULL, DELTA, *split([1] * 10))
    if shared is None:
        noise = seen(drawn, seeds, images, T)[..., :-1].numpy()
        is_image = (noise == 77).all(-1)
        assert (is_image.sum(1) == 1).all()
    else:
        sets = [show(drawn, tuple(range(k, k + 2)), images, T, shared).frames for k in range(0, 400, 2)]
        noise = torch.stack(sets, 1)[:, :, :shared].numpy()  # (networks, sets, frames, pixels)
        is_image = (noise == 77).all(-1)
        assert not is_image.any() and all((each[:, shared:] == 77).all() for each in sets)
    values = (noise[~is_image] - MEAN) / STD  # (frames, pixels)
    assert values.shape == (2 * 250 * (T - 1) if shared is None else 2 * 200 * shared, 16)
    assert abs(values.mean()) < 5 / math.sqrt(values.size)
    assert abs(values.var() - 1) < 5 * math.sqrt(2 / values.size)
    assert stats.kstest(values.ravel()[::7], "norm").pvalue > 1e-3
    assert values.min() < -MEAN / STD and values.max() > (1 - MEAN) / STD  # beyond what a pixel can be

    def correlation(a: np.ndarray, b: np.ndarray, either: np.ndarray) -> float:
        """Largest allowed is five standard errors; `either` marks pairs with an image in them."""
        a, b = a[~either].ravel(), b[~either].ravel()
        return abs(np.corrcoef(a, b)[0, 1]) * math.sqrt(a.size)

    assert correlation(noise[:, 1:], noise[:, :-1], is_image[:, 1:] | is_image[:, :-1]) < 5  # time steps, or sets
    assert (
        correlation(noise[:, :, 1:], noise[:, :, :-1], is_image[:, :, 1:] | is_image[:, :, :-1]) < 5
    )  # trials, frames
    assert correlation(noise[0], noise[1], is_image[0] | is_image[1]) < 5  # networks
    assert correlation(noise[..., 1:], noise[..., :-1], is_image) < 5  # pixels


@OWN_OR_SHARED
def test_noise_scales_about_its_mean(shared):
    drawn = task.draw(generators(0), 5, FULL, DELTA, *split([1] * 10))

    def noise(std: float) -> Tensor:
        x = dense(task.inputs(drawn, generators(0), torch.full((10, 4), 77.0), MEAN, std, T, shared))
        return x[..., :-1][x[..., :-1] != 77]

    assert (noise(0.0) == torch.tensor(MEAN)).all()
    torch.testing.assert_close(noise(STD) - MEAN, 4 * (noise(STD / 4) - MEAN), rtol=1e-4, atol=1e-6)


@OWN_OR_SHARED
def test_a_network_sees_the_same_in_every_block(shared):
    images = torch.rand(30, 9, generator=torch.Generator().manual_seed(0))
    seeds = (4, 9, 2)
    drawn = task.draw(generators(*seeds), 12, FULL, DELTA, *split([3] * 10))
    block = seen(drawn, seeds, images, T, shared)
    for position, seed in enumerate(seeds):
        own = task.Trials(*(part[position : position + 1] for part in drawn))
        assert torch.equal(seen(own, (seed,), images, T, shared)[0], block[position])


@OWN_OR_SHARED
def test_frames_are_fresh_in_every_batch_and_room_may_be_used_again(shared):
    images = torch.rand(30, 9, generator=torch.Generator().manual_seed(0))
    drawn = [task.draw(generators(seed), 6, FULL, DELTA, *split([3] * 10)) for seed in (0, 1)]

    def batches(reuse: bool) -> list[Tensor]:
        stream, room, made = generators(7), None, []
        for each in drawn:
            shown = task.inputs(each, stream, images, MEAN, STD, T, shared, room)
            made.append(dense(shown))
            room = shown.frames if reuse else None
        return made

    first, second = batches(reuse=False)
    assert all(torch.equal(ours, fresh) for ours, fresh in zip(batches(reuse=True), (first, second), strict=True))
    common = (first[..., None, :, :-1] == second[..., None, :-1]).all(-1)  # the same frame at the same step
    noise = [torch.arange(T).view(-1, 1) != each.stimulus[0] for each in drawn]
    assert not (common[0] & noise[0].unsqueeze(1) & noise[1].unsqueeze(2)).any()


# ---------------------------------------------------------------- shared frames


def frame_numbers(frames: int, steps: int, batch: int, seed: int = 0) -> tuple[Tensor, task.Trials]:
    """Which frame each trial sees, (steps, batch), frame numbers from `frames` on being images."""
    drawn = task.draw(generators(seed), batch, Lesson(10, steps), min(DELTA, steps - 1), *split([1] * 10))
    shown = task.inputs(drawn, generators(seed), torch.zeros(10, 1), MEAN, STD, steps, frames)
    return shown.index[0], drawn


@pytest.mark.parametrize("steps", [2, 5, 20])
def test_no_trial_sees_a_frame_twice(steps):
    """Primes, powers of two, numbers with many divisors, and as many frames as steps."""
    for frames in [*range(steps, 70), 127, 128, 210, 256]:
        index, drawn = frame_numbers(frames, steps, 200)
        is_image = torch.arange(steps).unsqueeze(1) == drawn.stimulus
        own = (frames + torch.arange(200)).expand(steps, 200)
        assert torch.equal(index == own, is_image), frames
        assert (index[~is_image] < frames).all() and (index >= 0).all(), frames
        ordered = index.sort(0).values
        assert (ordered[1:] > ordered[:-1]).all(), frames


@pytest.mark.parametrize("frames", [20, 23, 24, 64])
def test_every_frame_is_as_likely_at_every_step(frames):
    index, drawn = frame_numbers(frames, T, 20_000)
    for step in (0, 1, 7, T - 1):
        assert uniform(index[step, drawn.stimulus[0] != step], range(frames)) > 1e-3


@pytest.mark.parametrize("frames", [20, 24])
def test_the_frames_of_a_trial_are_independent_of_each_other(frames):
    """Products of different steps' pixels, averaged over many sets of frames, are as near to 0 as with own noise.

    Trials of one set are not independent, so each set gives one number. Were noise shared by step, so that a trial saw
    one frame all the time, the number would be 1.
    """
    seeds, pixels = tuple(range(400)), 3
    drawn = task.draw(generators(*seeds), 8, FULL, DELTA, *split([1] * 10))

    def products(shared: int | None, same_frame: bool = False) -> Tensor:
        shown = show(drawn, seeds, torch.full((10, pixels), MEAN), T, shared)
        if same_frame:
            shown = shown._replace(index=shown.index[:, :1].expand(-1, T, -1))
        z = (dense(shown)[..., :-1] - MEAN) / STD  # images count as 0
        return ((z.sum(1).square() - z.square().sum(1)) / ((T - 1) * (T - 2))).mean((1, 2))

    def mean_and_error(values: Tensor) -> tuple[float, float]:
        return values.mean().item(), values.std().item() / math.sqrt(len(values))

    own, shared = mean_and_error(products(None)), mean_and_error(products(frames))
    assert shared[1] < 0.01 and abs(shared[0]) < 4 * shared[1]
    assert abs(shared[0] - own[0]) < 4 * math.hypot(shared[1], own[1])
    assert mean_and_error(products(frames, same_frame=True))[0] > 0.9


@pytest.mark.parametrize(("frames", "steps"), [(19, 20), (1, 2)])
def test_fewer_shared_frames_than_steps_are_refused(frames, steps):
    with pytest.raises(ValueError, match=f"found {frames} shared noise frames, too few for trials of {steps} steps"):
        frame_numbers(frames, steps, 3)


# ---------------------------------------------------------------- targets, loss, accuracies

BY_HAND = task.Trials(
    stimulus=torch.tensor([[0, 1], [0, 0]]),
    response=torch.tensor([[4, 5], [5, 4]]),
    label=torch.tensor([[0, 9], [3, 3]]),
    image=torch.zeros(2, 2, dtype=torch.int64),
)


def test_targets_by_hand():
    expected = [
        [[0, 0], [0, 0], [0, 0], [0, 0], [1, 0], [0, 10]],
        [[0, 0], [0, 0], [0, 0], [0, 0], [0, 4], [4, 0]],
    ]
    assert task.targets(BY_HAND, 6).tolist() == expected


def random_case(lesson: Lesson, batch: int = 5, seed: int = 0) -> tuple[Tensor, task.Trials]:
    drawn = task.draw(generators(seed, seed + 1), batch, lesson, DELTA, *split([3] * 10))
    noise = torch.randn(2, lesson.steps, batch, 11, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return 3 * noise, drawn


def loss_by_hand(logits: Tensor, drawn: task.Trials, network: int, classes: int, alpha: float, t_cur: int) -> float:
    """docs/method.md, Loss and optimiser, read aloud for one network: every trial, step and output."""
    batch = logits.shape[2]
    total = 0.0
    for trial in range(batch):
        t_a, label = drawn.response[network, trial].item(), drawn.label[network, trial].item()
        for t in range(T):
            w = (T - 1) * (t == t_a) + alpha if t < t_cur else 0
            if w == 0:
                continue
            y = [1 / (1 + math.exp(-logits[network, t, trial, k].item())) for k in range(11)]
            allowed = [0, *range(1, classes + 1)]
            p = math.exp(y[label + 1 if t == t_a else 0]) / sum(math.exp(y[k]) for k in allowed)
            total += w * math.log(p + 1e-4)
    return -total / (batch * 11 * T)


STAGES = [
    FULL,
    Lesson(2, T),
    Lesson(7, T),
    Lesson(10, 6),
    Lesson(10, 14),
    Lesson(10, T, 0.0),
    Lesson(10, T, 0.25),
    Lesson(3, 8, 0.5),
]


@pytest.mark.parametrize("lesson", STAGES, ids=str)
def test_loss_is_the_literal_sum(lesson):
    logits, drawn = random_case(lesson)
    expected = [loss_by_hand(logits, drawn, n, lesson.classes, lesson.alpha, lesson.steps) for n in range(2)]
    np.testing.assert_allclose(task.loss(logits, drawn, lesson, T), expected, rtol=1e-10)


def test_loss_of_undecided_networks_in_closed_form():
    """All outputs equal: p = 1/11 everywhere, and the weights of a trial add up to 20 - 1 + 20 = 39."""
    _, drawn = random_case(FULL)
    expected = -39 * math.log(1 / 11 + 1e-4) / (11 * 20)
    found = task.loss(torch.zeros(2, T, 5, 11, dtype=torch.float64), drawn, FULL, T)
    assert found.tolist() == pytest.approx([expected] * 2, rel=1e-12)


def test_loss_has_a_floor_near_027():
    """Perfect outputs: y is 1 for the target and 0 for the others, p = e / (e + 10) = 0.214."""
    _, drawn = random_case(FULL)
    perfect = torch.nn.functional.one_hot(task.targets(drawn, T), 11) * 2000.0 - 1000
    found = task.loss(perfect, drawn, FULL, T)
    assert found.tolist() == pytest.approx([-39 * math.log(math.e / (math.e + 10) + 1e-4) / 220] * 2, rel=1e-5)
    assert 0.27 < found[0] < 0.28
    logits, _ = random_case(FULL)
    assert (task.loss(logits, drawn, FULL, T) > found).all()


def test_outputs_of_classes_not_in_play_neither_count_nor_learn():
    lesson = Lesson(4, T)
    logits, drawn = random_case(lesson)
    other = logits.clone()
    other[..., 5:] = 1000.0
    assert torch.equal(task.loss(logits, drawn, lesson, T), task.loss(other, drawn, lesson, T))
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(task.loss(logits, drawn, lesson, T).sum(), logits)
    assert (gradient[..., 5:] == 0).all() and (gradient[..., :5] != 0).all()


def test_null_responses_without_weight_do_not_learn():
    lesson = Lesson(10, T, 0.0)
    logits, drawn = random_case(lesson)
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(task.loss(logits, drawn, lesson, T).sum(), logits)
    assert torch.equal((gradient != 0).any(-1), task.targets(drawn, T) != 0)


@pytest.mark.parametrize("lesson", STAGES, ids=str)
def test_accuracies_by_counting(lesson):
    logits, drawn = random_case(lesson, batch=300)
    right, asked, silent, quiet = [0, 0], [0, 0], [0, 0], [0, 0]
    for network, trial in itertools.product(range(2), range(300)):
        for t in range(lesson.steps):
            outputs = logits[network, t, trial, : lesson.classes + 1].tolist()
            answer = outputs.index(max(outputs))
            if t == drawn.response[network, trial]:
                asked[network] += 1
                right[network] += answer == drawn.label[network, trial] + 1
            else:
                quiet[network] += 1
                silent[network] += answer == 0
    response, null = task.accuracies(logits, drawn, lesson)
    np.testing.assert_allclose(response, np.divide(right, asked), rtol=1e-6)
    np.testing.assert_allclose(null, np.divide(silent, quiet), rtol=1e-6)
    assert asked == [300, 300] and 0 < right[0] < 300


# ---------------------------------------------------------------- one trial to look at


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_example_shows_one_held_out_trial_and_the_first_networks_outputs(digits, cell):
    networks = nets.initial(cell, [3, 5], 65, 12, 11)
    table = task.example(networks, digits, T, DELTA)
    assert list(table.columns) == ["step", "quantity", "index", "value"]
    shown = {
        quantity: rows.pivot(index="step", columns="index", values="value").to_numpy(dtype=float)
        for quantity, rows in table.groupby("quantity")
    }
    assert {name: values.shape for name, values in shown.items()} == {
        "pixel": (T, 64), "trigger": (T, 1), "stimulus": (T, 1), "target": (T, 11), "output": (T, 11), "shape": (1, 3),
    }  # fmt: skip
    (t_a,) = np.flatnonzero(shown["trigger"])
    assert shown["trigger"][t_a] == 1
    held_out = [
        (t, i) for t in range(T) for i in np.flatnonzero((digits.test_images.numpy() == shown["pixel"][t]).all(1))
    ]
    ((t_s, image),) = held_out
    np.testing.assert_array_equal(shown["stimulus"][:, 0], np.arange(T) == t_s)
    assert shown["shape"].tolist() == [[8, 8, 1]]
    assert t_a - t_s >= DELTA
    target = np.zeros((T, 11))
    target[:, 0] = 1
    target[t_a] = np.eye(11)[digits.test_labels[image] + 1]
    np.testing.assert_array_equal(shown["target"], target)
    x = torch.tensor(np.hstack([shown["pixel"], shown["trigger"]]), dtype=torch.float32)
    alone = nets.initial(cell, [3], 65, 12, 11)
    output = torch.sigmoid(alone.logits(alone.cell.sequence(alone.weights, x.view(1, T, 1, 65))))[0, :, 0]
    np.testing.assert_allclose(shown["output"], output, rtol=0, atol=1e-6)
    assert task.example(networks, digits, T, DELTA).equals(table)

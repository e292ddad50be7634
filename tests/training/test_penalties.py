"""Every penalty keeps its contract, and each is what it says."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from reference import plain_speed
from torch import Tensor

from memrnn.core import streams
from memrnn.data.images import ImageSet
from memrnn.models.cell import speed
from memrnn.models.cells import CELLS
from memrnn.models.networks import Networks, initial
from memrnn.run import config
from memrnn.tasks import delayed_classification as task
from memrnn.tasks.delayed_classification import held_input, hidden_states
from memrnn.tasks.protocols import Lesson
from memrnn.training.engine import Batch, Penalty
from memrnn.training.known import PLACES, Known
from memrnn.training.penalties import PENALTIES

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES, PIXELS, UNITS, TRIALS, DELTA = 3, 5, 8, 6, 2
SEEDS = (2, 5)
STAGE = Lesson(CLASSES, 8)
BOTH = pytest.mark.parametrize("cell", ["gru", "lstm"])


def made_images(mean: float = 0.3, std: float = 0.7) -> ImageSet:
    labels = torch.arange(CLASSES).repeat_interleave(4)
    shown = (0.8 * torch.eye(CLASSES, PIXELS))[labels]
    return ImageSet("made", (1, PIXELS, 1), ("a", "b", "c"), shown, labels, shown.clone(), labels, mean, std, "0")


def networks_of(cell: str, seeds: tuple[int, ...] = SEEDS) -> Networks:
    start = initial(cell, seeds, PIXELS + 1, UNITS, CLASSES + 1)
    return start.like({name: values.clone().requires_grad_() for name, values in start.parameters.items()})


def passing_on(share: float) -> Networks:
    """GRUs with h' = tanh(share * x), one unit a pixel: S^2 at 0 is the sum of (share * x)^2, nearly."""
    networks = networks_of("gru")
    with torch.no_grad():
        for values in networks.parameters.values():
            values.zero_()
        networks.weights.bias[:, :UNITS] = 30  # z = 1
        networks.weights.inputs[:, :PIXELS, 2 * UNITS :] = share * torch.eye(PIXELS, UNITS)
    return networks


def states_for(networks: Networks, seed: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(len(networks.cell.bounds), len(SEEDS), CLASSES, UNITS, generator=generator) / 2
    which = torch.tensor([SEEDS.index(each) for each in networks.seeds])  # the same for a network in any company
    return tuple(part[which] for part in drawn)


def known_of(networks: Networks, images: ImageSet | None = None) -> Known:
    kept = networks.like({name: values.detach() for name, values in networks.parameters.items()})
    return Known(
        kept, images or made_images(), states_for(networks, 6), states_for(networks, 7), 3, STAGE.steps - DELTA - 1
    )


def batch_of(networks: Networks) -> tuple[Batch, Tensor]:
    """Trials of each network and the hidden states that it goes through in them."""
    images = made_images()
    generators = [streams.generator(seed, "trials") for seed in networks.seeds]
    drawn = task.draw(generators, TRIALS, STAGE, DELTA, images.offsets("train"), images.counts("train"))
    shown = task.inputs(drawn, generators, images.train_images, images.mean, images.std, STAGE.steps)
    return Batch(drawn, shown, STAGE), hidden_states(networks, shown)


def value(penalty: Penalty, networks: Networks) -> Tensor:
    return penalty(networks, *batch_of(networks), [streams.generator(seed, "p") for seed in networks.seeds])


def choices(schema: dict) -> list:
    """All values of a setting, or some."""
    return schema["enum"] if "enum" in schema else [max(schema["minimum"], 2)]


def every() -> list[tuple[str, dict]]:
    """Every penalty with its settings in all combinations."""
    found = []
    for name, settings in config.settings_of(config.PENALTIES).items():
        for chosen in itertools.product(*map(choices, settings.values())):
            found.append((name, dict(zip(settings, chosen, strict=True))))
    return found


# Every penalty on every cell; all its settings on one of them.
FIRST = dict(reversed(every()))  # the first settings of each
ON_CELLS = [(cell, *each) for cell in CELLS for each in (every() if cell == "gru" else FIRST.items())]
ALL = pytest.mark.parametrize(
    ("cell", "name", "settings"),
    ON_CELLS,
    ids=[" ".join([cell, name, *map(str, chosen.values())]) for cell, name, chosen in ON_CELLS],
)


# ------------------------------------------------------------------------------------------------------- the contract


@ALL
def test_a_number_of_each_network_that_training_can_lower(cell, name, settings):
    networks = networks_of(cell)
    found = value(PENALTIES[name](known_of(networks), **settings), networks)
    assert found.shape == (len(SEEDS),)
    assert found.isfinite().all() and (found > 0).all()
    found.sum().backward()
    gradients = [values.grad for values in networks.parameters.values() if values.grad is not None]
    assert gradients and all(each.isfinite().all() for each in gradients)
    assert all(max(each[network].abs().max() for each in gradients) > 0 for network in range(len(SEEDS)))
    step = {
        name: (values - 1e-4 * (0 if values.grad is None else values.grad)).detach()
        for name, values in networks.parameters.items()
    }
    assert (value(PENALTIES[name](known_of(networks), **settings), networks.like(step)) < found).all()


@ALL
def test_a_penalty_repeats_itself_and_changes_nothing_that_it_is_given(cell, name, settings):
    networks = networks_of(cell)
    penalty, (batch, hidden) = PENALTIES[name](known_of(networks), **settings), batch_of(networks)
    given = [hidden, *batch.trials, batch.inputs.frames, batch.inputs.response, *networks.parameters.values()]
    before = [values.detach().clone() for values in given]
    first, second = (penalty(networks, batch, hidden, [streams.generator(s, "p") for s in SEEDS]) for _ in range(2))
    assert torch.equal(first, second)
    assert all(torch.equal(values, kept) for values, kept in zip(given, before, strict=True))


@ALL
def test_networks_do_not_affect_each_other(cell, name, settings):
    networks = networks_of(cell)
    together = value(PENALTIES[name](known_of(networks), **settings), networks)
    for network, seed in enumerate(SEEDS):
        alone = networks_of(cell, (seed,))
        found = value(PENALTIES[name](known_of(alone), **settings), alone)
        assert found.item() == pytest.approx(together[network].item(), rel=1e-5)
    together[0].backward()
    for name, values in networks.parameters.items():
        assert values.grad is None or (values.grad[1] == 0).all(), name


def test_the_files_settings_name_what_there_is():
    for name, settings in config.settings_of(config.PENALTIES).items():
        assert set(settings.get("at", {"enum": PLACES})["enum"]) == set(PLACES), name
        for setting, schema in settings.items():
            assert schema["description"], f"{name}.{setting}"
            assert "enum" in schema or {"minimum", "maximum"} <= set(schema), f"{name}.{setting}"


# ----------------------------------------------------------------------------------------------------------- activity


@BOTH
def test_activity_is_the_mean_square_of_all_hidden_states(cell):
    networks = networks_of(cell)
    _, hidden = batch_of(networks)
    numbers = hidden.detach().double().numpy()
    found = value(PENALTIES["activity"](known_of(networks)), networks)
    assert found.tolist() == pytest.approx([(each**2).sum() / each.size for each in numbers], rel=1e-5)


# -------------------------------------------------------------------------------------------------------------- speed


@BOTH
def test_speed_is_a_sum_over_classes_and_draws(cell):
    networks, draws = networks_of(cell), 4
    with torch.no_grad():
        networks.weights.inputs[:, -1] = 100  # a trigger would be seen
    known = known_of(networks)
    found = value(PENALTIES["speed"](known, part="all", at="points", noise_draws=draws), networks)
    for network, seed in enumerate(SEEDS):
        weights = {name: values[network].detach().double().numpy() for name, values in networks.parameters.items()}
        noise = torch.empty(CLASSES * draws, PIXELS).normal_(0.3, 0.7, generator=streams.generator(seed, "p"))
        expected = 0.0
        for number, (label, _) in enumerate(itertools.product(range(CLASSES), range(draws))):
            state = [part[network, label].double().numpy() for part in known.points]
            expected += plain_speed(cell, weights, state, np.append(noise[number].double().numpy(), 0.0)) ** 2
        assert found[network].item() == pytest.approx(expected, rel=1e-5)


def test_the_noise_has_its_mean_and_its_full_width():
    """With one unit per pixel that passes its input through, S^2 at 0 is the square of the input's candidate."""
    networks, draws, mean, std = passing_on(0.01), 4000, 0.4, 1.5
    nowhere = (torch.zeros(len(SEEDS), CLASSES, UNITS),)
    known = Known(networks, made_images(mean, std), nowhere, nowhere, 1, 1)
    found = value(PENALTIES["speed"](known, part="all", at="points", noise_draws=draws), networks)
    for each in found.tolist():
        assert each / (draws * CLASSES * PIXELS) == pytest.approx(1e-4 * (mean**2 + std**2), rel=0.02)


def test_every_draw_is_another_and_every_call_too():
    networks = networks_of("gru")
    generators = [streams.generator(seed, "p") for seed in SEEDS]
    single = PENALTIES["speed"](known_of(networks), part="all", at="points", noise_draws=1)
    first, second = (single(networks, *batch_of(networks), generators) for _ in range(2))
    assert (first != second).all()
    quiet = known_of(networks, made_images(std=1e-9))
    still, tenfold = (
        value(PENALTIES["speed"](quiet, part="all", at="points", noise_draws=n), networks) for n in (1, 10)
    )
    assert torch.allclose(tenfold, 10 * still)
    x = held_input(networks, 0.3)
    assert torch.allclose(still, speed(networks.cell, networks.weights, quiet.points, x).square().sum(1))


@BOTH
def test_speed_moves_the_weights_and_not_the_points(cell):
    networks = networks_of(cell)
    known = known_of(networks)
    before = [part.clone() for part in known.points]
    value(PENALTIES["speed"](known, part="all", at="points", noise_draws=3), networks).sum().backward()
    assert all(networks.parameters[name].grad.abs().max() > 0 for name in ("inputs", "recurrent", "bias"))
    assert networks.readout.grad is None
    assert all(torch.equal(part, kept) and part.grad is None for part, kept in zip(known.points, before, strict=True))


@BOTH
def test_the_noise_free_part_is_the_speed_under_the_mean_input(cell):
    networks = networks_of(cell)
    known = known_of(networks)
    found = value(PENALTIES["speed"](known, part="noise_free", at="points", noise_draws=5), networks)
    slow = speed(networks.cell, networks.weights, known.points, held_input(networks, 0.3))
    assert torch.allclose(found, 5 * slow.square().sum(1))
    # Noise that is hardly there adds nothing to it.
    quiet = known_of(networks, made_images(std=1e-4))
    whole = value(PENALTIES["speed"](quiet, part="all", at="points", noise_draws=5), networks)
    assert torch.allclose(whole, found, rtol=1e-2)
    gain = value(PENALTIES["speed"](quiet, part="noise_gain", at="points", noise_draws=5), networks)
    assert (gain < 1e-4 * whole).all()


def test_the_noise_gain_is_the_variance_that_noise_adds():
    """Where the next state is linear in the input, h' = 0.001 x, it is the noise's variance, whatever its mean."""
    networks, draws, mean, std = passing_on(0.001), 2000, 5.0, 1.5
    known = known_of(networks, made_images(mean, std))
    found = value(PENALTIES["speed"](known, part="noise_gain", at="points", noise_draws=draws), networks)
    for each in found.tolist():
        assert each / (draws * CLASSES * PIXELS) == pytest.approx(1e-6 * std**2, rel=0.02)


def test_the_noise_gain_is_no_smaller_for_few_draws():
    """Averaged over many calls, two draws estimate what many do: the variance is unbiased."""
    networks = networks_of("gru")
    generators = [streams.generator(seed, "p") for seed in SEEDS]

    def mean(draws: int, calls: int) -> Tensor:
        penalty = PENALTIES["speed"](known_of(networks), part="noise_gain", at="points", noise_draws=draws)
        batch = batch_of(networks)
        with torch.no_grad():
            return sum(penalty(networks, *batch, generators) for _ in range(calls)) / calls / draws

    assert torch.allclose(mean(2, 1000), mean(1000, 2), rtol=0.05)


# ------------------------------------------------------------------------------------- weight decay, norm stabiliser


@BOTH
def test_weight_decay_is_that_of_adam(cell):
    """Its gradient, times the strength, is what torch's Adam adds for `weight_decay`."""
    networks = networks_of(cell)
    (0.3 * value(PENALTIES["weight_decay"](known_of(networks)), networks)).sum().backward()
    for values in networks.parameters.values():
        assert torch.allclose(values.grad, 0.3 * values)


def test_the_norm_stabiliser_sees_changes_of_the_norm_alone():
    networks = networks_of("gru")
    penalty = PENALTIES["norm_stabiliser"](known_of(networks))
    angle = torch.linspace(0, 3, 7).view(1, 7, 1).expand(2, -1, 4)
    turning = torch.stack([angle.cos(), angle.sin()], -1)  # (networks, time, trials, units), of norm 1
    assert torch.allclose(penalty(networks, None, turning, []), torch.zeros(2), atol=1e-12)
    grows = torch.tensor([0.5, 2.0]).view(2, 1, 1, 1) * torch.arange(7.0).view(1, 7, 1, 1)
    assert torch.allclose(penalty(networks, None, (1 + grows) * turning, []), torch.tensor([0.25, 4.0]))


# --------------------------------------------------------------------------------------------------------- the places


@BOTH
def test_a_speed_is_that_of_the_states_of_its_place(cell):
    networks = networks_of(cell)
    known = known_of(networks)
    x, state = held_input(networks, 0.3), known.centroids
    with torch.no_grad():
        for _ in range(3):
            state = networks.step(state, x)
    expected = {"centroids": known.centroids, "points": known.points, "relaxed": state}
    for place, states in expected.items():
        found = known.states(place)
        assert len(found) == len(networks.cell.bounds)
        assert all(torch.equal(part, other) for part, other in zip(found, states, strict=True)), place


def test_states_before_the_image_are_spread_over_the_steps_that_trials_have_there():
    """Of a network that goes half of the way to a known state at each step, the state tells the number of steps."""
    networks = networks_of("gru")
    with torch.no_grad():
        for values in networks.parameters.values():
            values.zero_()
        networks.weights.bias[:, 2 * UNITS :] = 0.5
        networks.weights.inputs[:, -1] = 100  # a trigger would be seen
    (found,) = known_of(networks).states("before_image")
    latest = STAGE.steps - DELTA - 1
    expected = math.tanh(0.5) * (1 - 0.5 ** torch.tensor([1.0, (1 + latest) / 2, latest]))
    assert torch.allclose(found, expected.view(1, -1, 1).expand_as(found))


def test_states_before_the_image_have_seen_noise_of_their_own():
    networks = networks_of("lstm")
    known = known_of(networks)
    found = torch.cat(known.states("before_image"), -1).flatten(0, 1)
    assert (torch.pdist(found) > 1e-3).all()
    again = torch.cat(known.states("before_image"), -1).flatten(0, 1)
    assert torch.equal(found, again)
    still = torch.cat(known_of(networks, made_images(std=1e-9)).states("before_image"), -1)
    networks.weights.inputs.data[:, :-1] = 0
    networks.weights.bias.data += 0.3 * networks_of("lstm").weights.inputs.data[:, :-1].sum(1)
    assert torch.allclose(torch.cat(known_of(networks).states("before_image"), -1), still, atol=1e-5)


def test_trials_that_begin_with_their_image_have_no_state_before_it():
    with pytest.raises(ValueError, match=r"no step before its image; .*task\.steps at least task\.min_delay \+ 2"):
        dataclasses.replace(known_of(networks_of("gru")), latest_image=0).states("before_image")

"""Maps of one time step: how networks of other people are called, and which of them cannot be searched.

`as_map` makes of a function, a cell or a layer of `torch.nn` one function of flat states. It knows how each wants to
be called, unpacks what is compiled or wrapped, and refuses what it cannot tell. `check_map` tries the result once:
without a map that acts on each state alone, and derivatives that are those of its values, a search goes astray.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from memrnn.dynamics.newton import GRAPH, gradient
from memrnn.models.cell import State

StepMap = Callable[..., Any]  # step(state, inputs) -> state, a tensor or a tuple of tensors; step(state) without inputs

# How arguments are called in code that takes the inputs first, as torch.nn does.
INPUT_NAMES = {"input", "inputs", "inp", "x", "x_t", "xt", "u", "u_t", "ut"}
STATE_NAMES = {"h", "hx", "hc", "hidden", "state", "states", "h0", "h_0", "h_t", "ht", "h_prev", "h_in", "hidden_state"}

TRIED = 64  # states with which a map is tried


class Map:
    """One step of a network under held inputs, as a function of flat states; by automatic differentiation.

    Attributes:
        bound: modulus that no coordinate of h can exceed at rest, if that is known of the map.
    """

    bound: float | None = None
    lstm = False  # whether the state is h and c of an LSTM of torch

    def __init__(self, step: StepMap, state: State, bare: bool) -> None:
        self.step, self.bare, self.dtype = step, bare, state[0].dtype
        self.sizes = [part.shape[-1] for part in state]  # numbers of each part in a flat state

    def pack(self, state: State) -> Tensor:
        """Flat states, (points, n), of parts (points, units)."""
        return torch.cat(tuple(state), -1)

    def unpack(self, flat: Tensor) -> Tensor | State:
        """The inverse of `pack`, in the form in which the map takes and gives states."""
        parts = [part.clone() for part in flat.split(self.sizes, -1)]  # a map may write over what it is given
        return parts[0] if self.bare else tuple(parts)

    def cast(self, x: Any) -> Any:
        """Inputs in the type in which the map computes."""
        return x

    def __call__(self, s: Tensor, x: Any) -> Tensor:
        """Flat states after a step, (points, n).

        Args:
            s: (points, n).
            x: inputs, (points, ...), if they are a tensor; or whatever the map takes.
        """
        after = self.move(self.unpack(s), x)
        parts = (after,) if isinstance(after, Tensor) else after
        expected = [(len(s), size) for size in self.sizes]
        if isinstance(parts, (tuple, list)) and all(isinstance(part, Tensor) for part in parts):
            found: Any = [tuple(part.shape) for part in parts]
            if found == expected and all(part.dtype == s.dtype for part in parts):
                return torch.cat(tuple(parts), -1)
            found = [(*shape, part.dtype) for shape, part in zip(found, parts, strict=True)]
        else:
            found = type(parts).__name__
        raise ValueError(
            f"step: found {found} after a step from states of shape and type {[(*e, s.dtype) for e in expected]}, "
            "expected no change. It must return the next state alone, for any number of states at once, with units and "
            "type kept; inputs must fit the states."
        )

    def move(self, state: Tensor | State, x: Any) -> Any:
        """The step as the map takes and gives it."""
        return self.step(state) if x is None else self.step(state, x)

    def jacobian(self, s: Tensor, x: Any, numbers: int = 2**26) -> Tensor:
        """Derivative of the next state with respect to the state, (points, n, n).

        Every state is put in as often as it has coordinates, so that one pass backwards gives all rows: of any map that
        can be differentiated, compiled or with operations of its own.

        Args:
            s, x: as for a call.
            numbers: that automatic differentiation may hold at a time.
        """
        points, n = s.shape
        at_once = max(1, numbers // (GRAPH * points * n))
        rows = []
        for some in torch.eye(n, dtype=s.dtype, device=s.device).split(at_once):
            repeated = s.detach().repeat_interleave(len(some), 0).requires_grad_()
            with torch.enable_grad():
                after = self(repeated, repeat(x, len(some)))
                rows.append(gradient(after, repeated, some.repeat(points, 1)).view(points, -1, n))
        return torch.cat(rows, 1)


def repeat(x: Any, times: int) -> Any:
    """Inputs of states each of which is put in so many times; what is no tensor belongs to all of them."""
    return x.repeat_interleave(times, 0) if isinstance(x, Tensor) and x.ndim else x


# ------------------------------------------------------------------------------------------------ what torch.nn has


class _Torch(Map):
    """A cell or layer of `torch.nn` as it calls itself, copied: nothing of it is written to or gets a gradient."""

    def __init__(self, module: nn.RNNBase | nn.RNNCellBase, state: State, bare: bool, layered: bool) -> None:
        super().__init__(module, state, bare)
        self.lstm = isinstance(module, (nn.LSTM, nn.LSTMCell))
        self.layered = layered  # states are (layers, points, units), as layers take them
        self.layers = state[0].shape[0] if layered else 1
        self.sizes = [self.layers * size for size in self.sizes]
        try:
            self.module = copy.deepcopy(module).to(state[0].dtype).requires_grad_(False)
        except RuntimeError as error:
            raise ValueError(
                f"step: found a {_name(module)} that cannot be copied, expected one whose weights are plain parameters "
                "or parametrizations. Make its weights plain first, as by torch.nn.utils.remove_weight_norm."
            ) from error

    def pack(self, state: State) -> Tensor:
        return torch.cat([part.transpose(0, 1).flatten(1) if self.layered else part for part in state], -1)

    def unpack(self, flat: Tensor) -> Tensor | State:
        parts = flat.split(self.sizes, -1)
        if self.layered:
            parts = [part.unflatten(-1, (self.layers, -1)).transpose(0, 1).contiguous() for part in parts]
        return parts[0] if self.bare else tuple(parts)

    def cast(self, x: Any) -> Any:
        return x.to(self.dtype)

    def __call__(self, s: Tensor, x: Any) -> Tensor:
        # cuDNN differentiates layers in training mode only, and never twice.
        with torch.backends.cudnn.flags(enabled=False), torch.autocast(s.device.type, enabled=False):
            after = self.move(self.unpack(s), x)
        return self.pack((after,) if isinstance(after, Tensor) else after)

    def move(self, state: Tensor | State, x: Any) -> Any:
        if not isinstance(self.module, nn.RNNBase):
            return self.module(x, state)
        if not self.layered:  # one layer, whose states came without their axis of layers
            state = state.unsqueeze(0) if isinstance(state, Tensor) else tuple(part.unsqueeze(0) for part in state)
        after = self.module(x.unsqueeze(1 if self.module.batch_first else 0), state)[1]
        if self.layered:
            return after
        return after[0] if isinstance(after, Tensor) else tuple(part[0] for part in after)


class _Closed(_Torch):
    """The same with the Jacobian in closed form, for torch's own RNN, GRU and LSTM.

    Every unit of a layer takes weighted sums of the layer's old h and of what comes from below, and what it makes of
    them is its own affair. So one pass backwards through that part, with all units at once, gives the factors by which
    rows of weights enter the Jacobian.
    """

    def __init__(self, module: nn.RNNBase | nn.RNNCellBase, state: State, bare: bool, layered: bool) -> None:
        super().__init__(module, state, bare, layered)
        self.kind = "LSTM" if len(state) == 2 else "GRU" if isinstance(module, (nn.GRU, nn.GRUCell)) else "RNN"
        names = [f"_l{layer}" for layer in range(self.layers)] if isinstance(module, nn.RNNBase) else [""]
        self.weights = [
            [getattr(self.module, f"{part}_{by}{name}", None) for part in ("weight", "bias") for by in ("ih", "hh")]
            for name in names
        ]
        self.relu = getattr(module, "nonlinearity", "tanh") == "relu"
        self.bound = None if self.relu else 1.0

    def __call__(self, s: Tensor, x: Any) -> Tensor:
        with torch.autocast(s.device.type, enabled=False):
            return torch.cat([part for parts in zip(*self._walk(s, x, None), strict=True) for part in parts], -1)

    def jacobian(self, s: Tensor, x: Any, numbers: int = 0) -> Tensor:
        out = s.new_zeros(*s.shape, s.shape[1])
        with torch.enable_grad(), torch.autocast(s.device.type, enabled=False):
            for _ in self._walk(s.detach(), x, out):
                pass
        return out

    def _walk(self, s: Tensor, x: Tensor, out: Tensor | None) -> Iterator[State]:
        """The parts of the state of each layer after a step, from below; writes the Jacobian into `out`."""
        parts, width = [part.chunk(self.layers, -1) for part in s.split(self.sizes, -1)], self.sizes[0]
        units = width // self.layers
        below = None  # rows of the Jacobian that belong to h of the layer below
        for layer, (v, w, v_bias, w_bias) in enumerate(self.weights):
            old = [part[layer] for part in parts]
            drive, sums = nn.functional.linear(x, v, v_bias), nn.functional.linear(old[0], w, w_bias)
            if out is None:
                new = self._units(drive, sums, old)
                yield new
                x = new[0]
                continue
            leaves = [values.detach().requires_grad_() for values in (drive, sums, *old)]
            new = self._units(leaves[0], leaves[1], leaves[2:])
            at = slice(layer * units, (layer + 1) * units)
            for k, values in enumerate(new):
                by_drive, by_sums, *direct = torch.autograd.grad(
                    values.sum(), leaves, retain_graph=True, materialize_grads=True
                )
                rows = out[:, k * width :][:, at]
                own = rows[:, :, at]
                for factor, block in zip(by_sums.split(units, -1), w.split(units), strict=True):
                    own.addcmul_(factor.unsqueeze(2), block)
                for part, slope in enumerate(direct):
                    rows[:, :, part * width :][:, :, at].diagonal(dim1=1, dim2=2).add_(slope)
                if below is not None:
                    through = rows.new_zeros(len(s), units, units)
                    for factor, block in zip(by_drive.split(units, -1), v.split(units), strict=True):
                        through.addcmul_(factor.unsqueeze(2), block)
                    rows += through @ below
            below = out[:, at].clone()
            yield tuple(values.detach() for values in new)
            x = new[0].detach()

    def _units(self, drive: Tensor, sums: Tensor, old: list[Tensor]) -> State:
        """What the units of a layer make of their weighted sums; columns in torch's order."""
        if self.kind == "RNN":
            return ((drive + sums).relu() if self.relu else (drive + sums).tanh(),)
        if self.kind == "GRU":
            (r, z, n), (r_sum, z_sum, n_sum) = drive.chunk(3, -1), sums.chunk(3, -1)
            z = torch.sigmoid(z + z_sum)
            return ((1 - z) * torch.tanh(n + torch.sigmoid(r + r_sum) * n_sum) + z * old[0],)
        i, f, g, o = (drive + sums).chunk(4, -1)
        c = torch.sigmoid(f) * old[1] + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


# -------------------------------------------------------------------------------------------------- which map it is


def as_map(step: StepMap | nn.Module, start: Tensor | State, inputs: Any, dtype: torch.dtype | None) -> Map:
    """The map of a function, cell or layer; `start` and `inputs` are checked against it.

    Args:
        dtype: in which cells and layers of torch.nn compute; None: float64.
    Raises:
        ValueError: it cannot be told how the map is called; it has no step of its own; start or inputs do not fit.
    """
    state, bare = check_state(start)
    step = unwrap(step)
    if isinstance(step, (nn.RNNBase, nn.RNNCellBase)):
        return _as_torch(step, state, bare, inputs, dtype or torch.float64)
    if not callable(step):
        raise ValueError(f"step: found a {type(step).__name__}, expected a function or a module of torch.nn.")
    _check_order(step)
    weights = [("weights", values) for values in step.parameters()] if isinstance(step, nn.Module) else []
    for name, part in [*[("start", part) for part in state], ("inputs", inputs), *weights]:
        if isinstance(part, Tensor) and part.is_floating_point() and part.dtype != (dtype or state[0].dtype):
            raise ValueError(
                f"{name}: found {part.dtype} beside {dtype or state[0].dtype}, expected one type for start, inputs "
                "and map. Convert them, best all to float64, as by .double()."
            )
    if any(part.ndim != 2 for part in state):
        raise ValueError(
            f"start: found the shapes {_shapes(state)}, expected (points, units) for each part of a state. "
            "Flatten further axes, as by .flatten(0, -2); a single state becomes one by .unsqueeze(0)."
        )
    return Map(step, state, bare)


def unwrap(step: Any) -> Any:
    """What torch.compile, DataParallel or DistributedDataParallel hold."""
    while isinstance(step, nn.Module):
        if isinstance(step, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            step = step.module
        elif isinstance(getattr(step, "_orig_mod", None), nn.Module):  # torch.compile's; to import its class takes long
            step = step._orig_mod
        else:
            break
    return step


def check_state(start: Any) -> tuple[State, bool]:
    """A start as a tuple, and whether it was a bare tensor.

    Raises:
        ValueError: it is no tensor or tuple of tensors, is empty, or not of finite floating-point numbers.
    """
    bare = isinstance(start, Tensor)
    if not bare and not isinstance(start, (tuple, list)):
        raise ValueError(
            f"start: found a {type(start).__name__}, expected a tensor or a tuple of tensors, h first. "
            "Convert it, as by torch.from_numpy(start)."
        )
    state = (start,) if bare else tuple(start)
    if not state:
        raise ValueError("start: found an empty tuple, expected a tensor or a tuple of tensors, h first.")
    for part in state:
        if not isinstance(part, Tensor):
            raise ValueError(
                f"start: found a {type(part).__name__} in a tuple, expected a tensor or a tuple of tensors, h first. "
                "Convert it, as by torch.from_numpy(part)."
            )
        if part.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"start: found {part.dtype}, expected floating-point numbers, float64 or float32. "
                "Convert it, as by .double()."
            )
        if part.dtype != state[0].dtype or part.device != state[0].device:
            found = [f"{each.dtype} on {each.device}" for each in state]
            raise ValueError(f"start: found parts of type {found}, expected one type and place. Convert or move them.")
        if not part.ndim or part.shape[:-1] != state[0].shape[:-1]:
            raise ValueError(
                f"start: found the shapes {_shapes(state)}, expected (..., units) with the same points in each."
            )
        if not part.numel():
            raise ValueError(f"start: found the shapes {_shapes(state)}, expected one state of one unit at least.")
    finite = torch.stack([part.isfinite().all(-1) for part in state]).all(0)
    if not finite.all():
        raise ValueError(
            f"start: {int((~finite).sum())} of {finite.numel()} states are not finite; a search cannot use them. "
            "Leave them out."
        )
    return state, bare


def _as_torch(module: nn.RNNBase | nn.RNNCellBase, state: State, bare: bool, inputs: Any, dtype: torch.dtype) -> Map:
    """The map of a cell or layer of torch.nn, in closed form where that is what the module does."""
    name = _name(module)
    layer = isinstance(module, nn.RNNBase)
    if layer and module.bidirectional:
        raise ValueError(
            f"step: found a bidirectional {name}, whose state runs both ways through time, so that it has no step. "
            "Search the forward direction alone, in a layer of its own."
        )
    parts = 2 if isinstance(module, (nn.LSTM, nn.LSTMCell)) else 1
    first = (module.proj_size or module.hidden_size) if layer else module.hidden_size
    widths = [first, module.hidden_size][:parts]
    layered = layer and state[0].ndim == 3
    expected = [((module.num_layers, "points", width) if layered else ("points", width)) for width in widths]
    fits = len(state) == parts and all(
        part.ndim == (3 if layered else 2) and part.shape[-1] == width
        for part, width in zip(state, widths, strict=True)
    )
    if layer:
        fits = fits and (state[0].shape[0] if layered else 1) == module.num_layers
        expected = [(module.num_layers, "points", width) for width in widths]
    known = isinstance(module, (nn.RNNBase, nn.GRUCell, nn.LSTMCell, nn.RNNCell))
    if known and (not fits or bare != (parts == 1)):
        wanted = " and ".join(f"({', '.join(map(str, shape))})" for shape in expected)
        raise ValueError(
            f"start: found states of shape {_shapes(state)}, expected {wanted} for a {name}. "
            + ("Give a tuple (h, c)" if parts == 2 else "Give a tensor h")
            + (", as the layer returns its last state." if layer else ".")
        )
    placed = {str(values.device) for values in module.parameters()}
    places = {str(state[0].device)} | ({str(inputs.device)} if isinstance(inputs, Tensor) else set())
    if placed | places != places or len(places) > 1:
        raise ValueError(
            f"start, inputs: found them on {', '.join(sorted(places))}, the weights of the {name} on "
            f"{', '.join(sorted(placed))}; expected one place. Move them, as by .to(device)."
        )
    if not isinstance(inputs, Tensor) or not inputs.ndim or inputs.shape[-1] != module.input_size:
        found = f"the shape {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else f"a {type(inputs).__name__}"
        raise ValueError(
            f"inputs: found {found}, expected a tensor whose last axis has the {module.input_size} inputs of the "
            f"{name}. For silence, torch.zeros({module.input_size})."
        )
    state = tuple(part.to(dtype) for part in state)
    by_itself = _Torch(module, state, bare, layered)
    if known and widths == [module.hidden_size] * parts:
        closed = _Closed(module, state, bare, layered)
        some = closed.pack(tuple(part[..., :TRIED, :] for part in state))
        x = inputs.to(dtype).reshape(-1, module.input_size)[:1].expand(len(some), -1)
        with torch.no_grad():
            # A module with hooks, or a class of its own, may do something else with the same weights.
            if torch.allclose(closed(some, x), by_itself(some, x), rtol=1e-4, atol=1e-5):
                return closed
    return by_itself


def bound_of(bound: float | str | None, step: Map, flat: Tensor) -> float | None:
    """The bound of h, inside which starts (points, n) must lie.

    Args:
        bound: a positive number, None, or "auto": what is known of the map.
    Raises:
        ValueError: it is something else, or a start lies beyond it.
    """
    known = step.bound if bound == "auto" else bound
    if known is None:
        return None
    if isinstance(known, str) or not known > 0:
        raise ValueError(f"bound: found {known!r}, expected a positive number, None or 'auto'.")
    most = flat[:, : step.sizes[0]].abs().amax(1)
    beyond = most > known
    if beyond.any():
        why = "outside which this network's h cannot rest" if bound == "auto" else "given"
        raise ValueError(
            f"start: h of {int(beyond.sum())} of {len(flat)} states goes up to {most.max():.4g}, beyond the bound "
            f"{known:g} {why}. Leave them out or clamp them, as by sample_states(..., bound={known:g}); or give "
            "bound=None."
        )
    return float(known)


def _check_order(step: Callable[..., Any]) -> None:
    """Refuse functions and modules that take the inputs first, or do not say in which order."""
    try:
        arguments = inspect.signature(step.forward if isinstance(step, nn.Module) else step).parameters.values()
    except (TypeError, ValueError):
        return
    names = [each.name.lower() for each in arguments if each.kind is not inspect.Parameter.VAR_KEYWORD]
    unsaid = isinstance(step, nn.Module) and any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in arguments)
    swapped = len(names) > 1 and names[0] in INPUT_NAMES and names[1] in STATE_NAMES
    if unsaid or swapped or isinstance(step, torch.jit.ScriptModule):
        given = f"({', '.join(names)})" if swapped else "arguments that it does not name"
        raise ValueError(
            f"step: found a {_name(step)} that takes {given}, expected (state, inputs), in this order. Give a function "
            f"that calls it: {_advice(step)}."
        )


def _name(step: Any) -> str:
    kind = type(step)
    if isinstance(step, nn.Module):
        return f"torch.nn.{kind.__name__}" if kind.__module__.startswith("torch.nn.") else kind.__name__
    return "function " + getattr(step, "__name__", kind.__name__)


def _advice(step: Any) -> str:
    return "lambda state, x: layer(x, state)" if isinstance(step, nn.Module) else "lambda state, x: step(x, state)"


def _shapes(state: State) -> list[tuple[int, ...]]:
    return [tuple(part.shape) for part in state]


# ---------------------------------------------------------------------------------------------- whether it is a map


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    """Say where an exception of the map came from."""
    try:
        yield
    except ValueError as error:
        if str(error).startswith(("step:", "inputs:", "start:")):
            raise
        raise ValueError(f"step: {what}: {error}") from error
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise ValueError(f"step: {what}: {type(error).__name__}: {error}") from error


def check_map(step: Callable[[Tensor, Any], Tensor], s: Tensor, x: Any) -> None:
    """Try a map of flat states on some of them.

    Raises:
        ValueError: it fails; its values are random, or depend on other states than the point's own; they are not
            finite; or the derivatives of torch are not those of the values.
    """
    # Two states at least, or nothing can be seen of what they do to each other.
    s = torch.cat([s[:TRIED], 0.5 * s[:1] + 0.1])
    x = x[:TRIED] if isinstance(x, Tensor) and x.ndim else x
    x = torch.cat([x, x[:1]]) if isinstance(x, Tensor) and x.ndim else x
    shapes = f"it failed for states of shape {tuple(s.shape)}" + (
        f" and inputs {tuple(x.shape)}" if isinstance(x, Tensor) else ""
    )
    kept = s.clone()
    leaf = s.clone().requires_grad_()
    with torch.enable_grad(), _named(shapes):
        after = step(leaf, x)
        alone = gradient(after[0].sum(), leaf, torch.ones((), dtype=s.dtype, device=s.device))[1:]
    with torch.no_grad(), _named(shapes):
        again, one = step(kept, x), step(s[:1], x[:1] if isinstance(x, Tensor) and x.ndim else x)
    values = after.detach()
    bad = int((~values[:-1].isfinite().all(1)).sum())
    if bad:
        raise ValueError(
            f"step: the speed of {bad} of the first {len(s) - 1} starts is not finite, expected numbers; look at the "
            "map, its weights and its inputs."
        )
    rounding = 1e4 * torch.finfo(s.dtype).eps * (1 + values.abs().max().item())
    if (again - values).abs().max() > rounding:
        raise ValueError(
            "step: found other values at a second call from the same states, expected the same: is there dropout or "
            "noise in the map, or a state that it keeps? Call .eval() on modules; hold noise and memory fixed."
        )
    if (one - values[:1]).abs().max() > rounding or alone.abs().max() > rounding:
        raise ValueError(
            "step: found a state that depends on the others beside it, expected that each goes its own way: is there "
            "batch normalisation in training mode in the map, or a mean over all states? Call .eval() on modules."
        )
    _check_derivatives(step, s[:-1], x[:-1] if isinstance(x, Tensor) and x.ndim else x)


def _check_derivatives(step: Callable[[Tensor, Any], Tensor], s: Tensor, x: Any) -> None:
    """Compare derivatives along one direction with differences of values, away from kinks that starts may sit on."""
    generator = torch.Generator().manual_seed(0)

    def draw() -> Tensor:
        return torch.randn(s.shape, generator=generator, dtype=s.dtype).to(s.device)

    size = s.abs().mean().item() or 1.0
    width = size * torch.finfo(s.dtype).eps ** (1 / 3)
    along, weights = draw(), draw()
    at = s + 1e-3 * size * draw()
    leaf = at.clone().requires_grad_()
    with torch.enable_grad(), _named("it cannot be differentiated"):
        ours = (gradient((step(leaf, x) * weights).sum(), leaf, torch.ones_like(s[0, 0])) * along).sum(1)
    with torch.no_grad():
        change = (step(at + width * along, x) - step(at - width * along, x)) / (2 * width)
    theirs = (change * weights).sum(1)
    finite = ours.isfinite() & theirs.isfinite()
    near = 1e-2 * (ours.abs() + theirs.abs()) + 1e-3 * change.norm(dim=1)
    if finite.any() and ((ours - theirs).abs() > near)[finite].double().mean() > 0.5:
        raise ValueError(
            "step: found derivatives that are not those of the map's values, expected a map of torch's differentiable "
            "operations alone: is there .detach(), .data, torch.no_grad, inference_mode or numpy in it? A search would "
            "go astray; take it out."
        )

"""What happens inside a module while it runs: named inputs and outputs of its submodules, and the states and gates of torch's
recurrent layers at every step, which the fused kernels do not return.

A fused layer gives h of its last layer only. Here h of the lower layers comes from the same kernel run layer by layer, the
gates of all steps from one matrix product of x_t and h_{t-1}, and an LSTM's c from a scan of its gates. The gates must
give back h, or the capture raises: numbers that do not belong to this network are never returned.

Gates as in torch.nn.GRU and torch.nn.LSTM (r, z, n; i, f, g, o).
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from hooks.errors import CaptureError, InputError
from hooks.families.recurrent import Cell, Layer, weights
from hooks.trajectory import Trajectory

GATE_SITES: Mapping[Cell, tuple[str, ...]] = {
    "tanh": ("h",),
    "relu": ("h",),
    "gru": ("h", "reset", "update", "candidate"),
    "lstm": ("h", "c", "input", "forget", "cell", "output"),
}
FUSED = {"tanh": torch.rnn_tanh, "relu": torch.rnn_relu, "gru": torch.gru, "lstm": torch.lstm}
Place = tuple[str, Literal["in", "out"]]  # a submodule's path, and which side of it
ROUNDING = 1e3  # eps of the dtype: the gates give back h to this


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a recurrent layer or cell."""

    inputs: Tensor  # (runs, steps, inputs)
    start: Tensor  # (runs, dim), the state before the first step
    lengths: Tensor | None  # (runs,), of packed sequences


class Tape:
    """Site -> what was captured there, detached copies.

    ``tape[name]`` is (runs, steps, units) for the sites of recurrent layers, NaN after the end of a packed sequence, and what
    the submodule returned for other sites. Several calls are joined along the runs, those of a cell along the steps.
    """

    def __init__(self) -> None:
        self._captured: dict[str, list[Tensor]] = {}
        self._calls: dict[str, list[Call]] = {}
        self._along: dict[
            str, int
        ] = {}  # site -> axis along which its calls follow each other, 1 for the steps of cells

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._captured:
            raise CaptureError(f"nothing was captured at {name!r}; the tape holds {_listed(self._captured)}")
        return _joined(self._captured[name], self._along.get(name, 0), name)

    def __contains__(self, name: object) -> bool:
        return name in self._captured

    def __iter__(self) -> Iterator[str]:
        return iter(self._captured)

    def __len__(self) -> int:
        return len(self._captured)

    def keys(self) -> tuple[str, ...]:
        """Sites with something captured; ``dict(tape)`` takes all."""
        return tuple(self._captured)

    def calls(self, name: str) -> tuple[Tensor, ...]:
        """What was captured at a site, a tensor for each call."""
        self[name] if name not in self._captured else None
        return tuple(self._captured[name])

    def trajectory(self, path: str = "") -> Trajectory:
        """The full state of the recurrent layer at ``path``, the start first, with the inputs that drove it.

        Raises
        ------
        CaptureError
            When not every h (and c) of the layer is on the tape, or a cell was not given its own last state.
        """
        if path not in self._calls:
            raise CaptureError(f"no recurrent layer {path!r} on the tape; there are {_listed(self._calls)}")
        calls, prefix = self._calls[path], f"{path}.layers." if path else "layers."
        depth = 1 + max(int(name[len(prefix) :].split(".")[0]) for name in self if name.startswith(prefix))
        units = next(values[0].shape[2] for name, values in self._captured.items() if name.startswith(prefix))
        kinds = ["h"] if calls[0].start.shape[1] == units * depth else ["h", "c"]
        wanted = [f"{prefix}{layer}.{kind}" for kind in kinds for layer in range(depth)]
        if len(wanted) * units != calls[0].start.shape[1] or any(name not in self for name in wanted):
            raise CaptureError(
                f"a trajectory of {path!r} needs h, and c of an LSTM, of every layer: capture '{prefix}*'"
            )
        after = [torch.cat(parts, dim=2) for parts in zip(*(self._captured[name] for name in wanted), strict=True)]
        whole = [torch.cat([call.start[:, None], states], 1) for call, states in zip(calls, after, strict=True)]
        cell = self._along.get(wanted[0], 0) == 1
        if cell:
            for number, (left, entered) in enumerate(zip(whole, calls[1:], strict=False), 1):
                if left[:, -1].shape != entered.start.shape or not torch.equal(left[:, -1], entered.start):
                    raise CaptureError(
                        f"call {number + 1} of {path!r} does not start from the state that the one before left"
                    )
            whole = [torch.cat([whole[0], *after[1:]], dim=1)]
        lengths = [call.lengths + 1 for call in calls if call.lengths is not None]
        return Trajectory(
            _joined(whole, 0, path).double().cpu().numpy(),
            "time",
            lengths=torch.cat(lengths).numpy() if lengths else None,
            drives=_joined([call.inputs for call in calls], int(cell), path).double().cpu().numpy(),
            source=path,
        )


def copied(values: Tensor) -> Tensor:
    """What a tape keeps of a tensor when nothing else is asked: a detached copy."""
    return values.detach().clone()


@contextmanager
def capture(
    model: nn.Module,
    names: str | Iterable[str] | Callable[[str], bool],
    *,
    places: Mapping[str, Place] | None = None,
    keep: Callable[[Tensor], Tensor] = copied,
) -> Iterator[Tape]:
    """Record named sites of any torch module while it runs inside this context.

    Parameters
    ----------
    model
        Left as it came: hooks go when the context ends, also after an exception; hooks of the user's stay.
    names
        Names of sites, with the wildcards of fnmatch, or a function of the name. Sites are the submodules (their output; the
        first tensor of a tuple or mapping) and, for every nn.RNN, GRU, LSTM or cell at ``path``, ``path.layers.k.h`` and
        ``.reset .update .candidate`` (GRU) or ``.c .input .forget .cell .output`` (LSTM) of its layer k at every step.
    places
        Sites by other names, in place of these: name -> (path of a submodule, "in" or "out"), its first tensor that comes in or
        goes out. ``stack.sites`` of hooks.stack names those of a residual stream.
    keep
        What is kept of the tensor at a submodule's site, such as some positions of it; not a view, which would hold the whole.

    Yields
    ------
    Tape
        Site -> tensor, filled as the module runs.

    Raises
    ------
    CaptureError
        For a name that is no site (with the nearest ones, or the reason why a layer has none), when a named site never ran,
        and when gates do not give back the layer's own output.

    Notes
    -----
    Costs a copy of each captured tensor; gates one matrix product over all steps; lower layers of a stack one run each.
    """
    wanted = _chosen(model, names, sites(model) if places is None else tuple(places))
    tape, handles = Tape(), []
    try:
        for name in wanted if places is not None else ():
            path, side = places[name]  # type: ignore[index]
            module = model.get_submodule(path)
            if side == "in":
                kept = partial(_keep_input, tape, name, keep)
                handles.append(module.register_forward_pre_hook(kept, with_kwargs=True))
            else:
                handles.append(module.register_forward_hook(partial(_keep_output, tape, name, keep)))
        for path, module in model.named_modules() if places is None else ():
            if path in wanted:
                handles.append(module.register_forward_hook(partial(_keep_output, tape, path, keep)))
            own = [name for name in _step_sites(path, module) if name in wanted]
            if own:
                handles.append(module.register_forward_hook(partial(_keep_steps, tape, path, own), with_kwargs=True))
        yield tape
    finally:
        for handle in handles:
            handle.remove()
    missed = [name for name, pattern in wanted.items() if not any(p in tape for p, q in wanted.items() if q == pattern)]
    if missed:
        raise CaptureError(
            f"these sites never ran: {_listed(missed)}. Call the model inside the context, in the usual way"
        )


def sites(model: nn.Module) -> tuple[str, ...]:
    """Every name that ``capture`` knows in this module."""
    return tuple(
        name for path, module in model.named_modules() for name in ([path] if path else []) + _step_sites(path, module)
    )


def _step_sites(path: str, module: nn.Module) -> list[str]:
    """Per-step sites of a recurrent layer or cell; none for another module, or for one that is no map of its state."""
    if not isinstance(module, nn.RNNBase | nn.RNNCellBase):
        return []
    try:
        cell, layers = weights(module)
    except InputError:
        return []
    prefix = f"{path}.layers" if path else "layers"
    return [f"{prefix}.{layer}.{site}" for layer in range(len(layers)) for site in GATE_SITES[cell]]


def _chosen(
    model: nn.Module, names: str | Iterable[str] | Callable[[str], bool], known: tuple[str, ...]
) -> dict[str, str]:
    """Site -> the pattern that chose it."""
    if callable(names):
        chosen = {name: "the function" for name in known if names(name)}
        if not chosen:
            raise CaptureError(f"the function chose none of the {len(known)} sites: {_listed(known)}")
        return chosen
    chosen = {}
    for pattern in [names] if isinstance(names, str) else names:
        found = [pattern] if pattern in known else fnmatch.filter(known, pattern)
        if not found:
            near = difflib.get_close_matches(pattern, known, 4, 0.5) or known
            raise CaptureError(f"no site {pattern!r}; the nearest: {_listed(near)}.{_refused(model)}")
        for name in found:
            chosen.setdefault(name, pattern)
    if not chosen:
        raise CaptureError("no names were given, so nothing would be captured")
    return chosen


def _refused(model: nn.Module) -> str:
    """Why a recurrent layer of this module has no per-step sites."""
    for path, module in model.named_modules():
        if isinstance(module, nn.RNNBase) and not _step_sites(path, module):
            try:
                weights(module)
            except InputError as error:
                return f" The steps of {path or type(module).__name__!r} cannot be captured: {error}"
    return ""


def first_tensor(values: Any, name: str) -> Tensor:
    """The tensor itself, or the first one of a tuple, list or mapping; a packed sequence padded with NaN.

    Raises
    ------
    CaptureError
        When there is none.
    """
    while not isinstance(values, Tensor | PackedSequence):
        parts = list(values.values()) if isinstance(values, Mapping) else values
        if not isinstance(parts, tuple | list) or not parts:
            raise CaptureError(f"{name!r} gave a {type(values).__name__}, which holds no tensor first")
        values = parts[0]
    if isinstance(values, PackedSequence):
        values = pad_packed_sequence(values, batch_first=True, padding_value=torch.nan)[0]
    return values


def _keep_output(
    tape: Tape, name: str, keep: Callable[[Tensor], Tensor], module: nn.Module, args: Any, output: Any
) -> None:
    tape._captured.setdefault(name, []).append(keep(first_tensor(output, name)))


def _keep_input(
    tape: Tape, name: str, keep: Callable[[Tensor], Tensor], module: nn.Module, args: Any, options: dict[str, Any]
) -> None:
    tape._captured.setdefault(name, []).append(keep(first_tensor([*args, *options.values()], name)))


def _keep_steps(
    tape: Tape, path: str, own: list[str], module: nn.Module, args: Any, options: dict[str, Any], output: Any
) -> None:
    inputs, state = [*args, *(options[key] for key in ("input", "hx") if key in options), None][:2]
    fused = isinstance(module, nn.RNNBase)
    cell, layers = weights(module)
    with torch.no_grad():
        x, h_out, hs, cs, lengths = _arranged(module, inputs, state, output)
        found: dict[str, Tensor] = {}
        prefix = f"{path}.layers" if path else "layers"
        deepest = max(int(name[len(prefix) + 1 :].split(".")[0]) for name in own)
        if fused and module.training and module.dropout and deepest > 0:
            raise CaptureError(f"dropout between the layers of {path or 'the module'!r} is on: call .eval() first")
        entering = x
        for k, layer in enumerate(layers[: deepest + 1]):
            h = h_out if k == len(layers) - 1 else _fused_h(module, cell, k, entering, hs[k], cs[k])
            before = torch.cat([hs[k][:, None], h[:, :-1]], dim=1)
            given, again = _gates(cell, layer, entering, before, cs[k])
            _check_h(again, h, path, lengths)
            found |= {f"{prefix}.{k}.{site}": value for site, value in {"h": h, **given}.items()}
            entering = h
        for name in own:
            tape._captured.setdefault(name, []).append(_ended(found[name], lengths).detach().clone())
        start = torch.cat([*hs, *cs] if cell == "lstm" else [*hs], dim=1)
        steps = _ended(x, lengths)
        tape._calls.setdefault(path, []).append(Call(steps.detach().clone(), start.detach().clone(), lengths))
        if not fused:
            tape._along |= dict.fromkeys(own, 1)


def _arranged(
    module: nn.Module, inputs: Any, state: Any, output: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """Inputs and last h as (runs, steps, .), starting h and c as (layers, runs, units), lengths of packed sequences."""
    lengths = None
    if isinstance(module, nn.RNNCellBase):
        h_out = output[0] if isinstance(output, tuple) else output
        x, h_out = inputs.reshape(-1, 1, inputs.shape[-1]), h_out.reshape(-1, 1, h_out.shape[-1])
        depth = 1
    else:
        assert isinstance(module, nn.RNNBase)
        h_out, depth = output[0], module.num_layers
        if isinstance(inputs, PackedSequence):
            h_out = pad_packed_sequence(h_out, batch_first=True)[0]
            x, lengths = pad_packed_sequence(inputs, batch_first=True)
        elif inputs.ndim == 2:
            x, h_out = inputs[None], h_out[None]
        else:
            x, h_out = (inputs, h_out) if module.batch_first else (inputs.transpose(0, 1), h_out.transpose(0, 1))
    zero = x.new_zeros(depth, len(x), module.hidden_size)
    h, c = state if isinstance(state, tuple) else (state, None)
    return (x, h_out, *(zero if part is None else part.reshape(zero.shape) for part in (h, c)), lengths)


def _fused_h(module: Any, cell: Cell, k: int, x: Tensor, h: Tensor, c: Tensor) -> Tensor:
    """h of layer k at every step, by torch's own kernel for one layer."""
    start = (h[None], c[None]) if cell == "lstm" else h[None]
    run: Any = FUSED[cell]
    return run(x.contiguous(), start, module.all_weights[k], module.bias, 1, 0.0, False, False, True)[0]


def _gates(cell: Cell, layer: Layer, x: Tensor, before: Tensor, c: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """(site -> gate at every step, h that the gates give), from inputs and the h before each step."""
    from_x, from_h = linear(x, layer.W_x, layer.b_x), linear(before, layer.W_h, layer.b_h)
    if cell in ("tanh", "relu"):
        return {}, (torch.tanh if cell == "tanh" else torch.relu)(from_x + from_h)
    if cell == "gru":
        (r_x, z_x, n_x), (r_h, z_h, n_h) = from_x.chunk(3, -1), from_h.chunk(3, -1)
        r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
        n = torch.tanh(n_x + r * n_h)
        return {"reset": r, "update": z, "candidate": n}, n + z * (before - n)
    i, f, g, o = (from_x + from_h).chunk(4, -1)
    i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
    cs = []
    for t in range(x.shape[1]):
        c = f[:, t] * c + i[:, t] * g[:, t]
        cs.append(c)
    states = torch.stack(cs, dim=1) if cs else torch.zeros_like(i)
    return {"c": states, "input": i, "forget": f, "cell": g, "output": o}, o * torch.tanh(states)


def _check_h(again: Tensor, h: Tensor, path: str, lengths: Tensor | None) -> None:
    gap = torch.nan_to_num(_ended(again - h, lengths)).abs().amax() if h.numel() else h.new_zeros(())
    allowed = ROUNDING * torch.finfo(h.dtype).eps * max(1.0, float(h.abs().amax()) if h.numel() else 1.0)
    if not gap <= allowed:
        raise CaptureError(
            f"the gates of {path or 'the module'!r} give an h that differs from its output by {gap:.2g} (rounding allows "
            f"{allowed:.2g}): another hook changes the output, or the forward is not torch's own"
        )


def _ended(values: Tensor, lengths: Tensor | None) -> Tensor:
    """NaN after the end of each run."""
    if lengths is None:
        return values
    over = torch.arange(values.shape[1]) >= lengths[:, None]
    return values.masked_fill(over.to(values.device)[..., None], torch.nan)


def _joined(calls: list[Tensor], along: int, name: str) -> Tensor:
    if len(calls) == 1:
        return calls[0]
    shapes = {tuple(call.shape[:along] + call.shape[along + 1 :]) for call in calls}
    if len(shapes) > 1 or calls[0].ndim == 0:
        raise CaptureError(
            f"the {len(calls)} calls of {name!r} gave {_listed([str(tuple(call.shape)) for call in calls])}, which cannot be "
            f"joined: take them one by one with tape.calls({name!r})"
        )
    return torch.cat(calls, dim=along)


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(map(repr, names[:8])) + (f" and {len(names) - 8} more" if len(names) > 8 else "") or "nothing"

"""The command line: interp report | capture | cases | reproduce | verify. Heavy imports happen inside the commands."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interp._version import __version__

if TYPE_CHECKING:
    from interp.page import Report

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Trained networks as dynamical systems: how they work, with a doubt beside every number.",
)
OUR_FAULT, BAD_INPUT, CHECK_FAILED, OUT_OF_TIME, INTERRUPTED = 1, 2, 3, 4, 130
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the path.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"interp-dynamics {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    pass


@app.command()
def report(
    source: Annotated[
        str, typer.Argument(help="A file of weights (safetensors, torch, npz), or a model folder of transformers.")
    ],
    inputs: Annotated[
        Path | None, typer.Option(help="Inputs as .npy: (runs, steps, inputs) or (steps, inputs).")
    ] = None,
    symbols: Annotated[
        bool | None,
        typer.Option(
            "--symbols/--no-symbols", help="Inputs are one-hot symbols: find the automaton. Noticed when left out."
        ),
    ] = None,
    text: Annotated[Path | None, typer.Option(help="Texts for a transformer, one a line.")] = None,
    twins: Annotated[int, typer.Option(help="Random-weight twins of a transformer, the null of its numbers.")] = 39,
    revisions: Annotated[
        str | None, typer.Option(help="Training checkpoints of a hub model, a..b: a page each.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="1..9, for {seed} in the id, with --revisions.")] = "",
    model: Annotated[str | None, typer.Option(help="package.module:Class that the weights belong to.")] = None,
    kwargs: Annotated[str | None, typer.Option(help="Its arguments, a JSON object.")] = None,
    relu: Annotated[int | None, typer.Option(help="Rectified units of an almost-linear RNN {A, W, h}.")] = None,
    nonlinearity: Annotated[str | None, typer.Option(help="tanh or relu, of a plain RNN.")] = None,
    leak: Annotated[float | None, typer.Option(help="dt / tau of a leaky rate network.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; interp-report/NAME when left out.")] = None,
    seed: Annotated[int, typer.Option(help="Of every draw.")] = 0,
    device: Annotated[str, typer.Option(help="torch device.")] = "cpu",
    budget: Annotated[float | None, typer.Option(help="Seconds that each long search may take.")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Open a file that executes code. Only for your own.")] = False,
    as_json: Json = False,
) -> None:
    """Write the account of a trained network: a recurrent one, or a transformer with --text."""
    from hooks.errors import InputError

    options: Any = {}
    if kwargs is not None:
        try:
            options = json.loads(kwargs)
        except json.JSONDecodeError as error:
            raise InputError(f"--kwargs is not JSON: {error}") from None
        if not isinstance(options, dict):
            raise InputError(f"--kwargs is a JSON object such as '{{\"hidden\": 16}}', not {kwargs}")

    if revisions is not None:
        from interp.residual_plan import revision_reports

        if text is None:
            raise InputError("--revisions are of a transformer on texts: give --text")
        shared = {"twins": twins, "trust": trust, "seed": seed, "budget": budget}
        for page in revision_reports(source, text, revisions=revisions, seeds=seeds or (), out=out, **shared):
            typer.echo(str(page.path))
        return

    from interp.plans import report as analysed

    _finish(
        analysed(
            source,
            inputs=None if inputs is None else _array(inputs),
            symbolic=symbols,
            text=text,
            twins=twins,
            model=model,
            kwargs=options,
            relu=relu,
            nonlinearity=nonlinearity,
            leak=leak,
            trust=trust,
            out=out,
            seed=seed,
            device=device,
            budget=budget,
        ),
        as_json,
    )


@app.command()
def capture(
    source: Annotated[str, typer.Argument(help="A model of transformers: its folder or hub id.")],
    text: Annotated[
        Path, typer.Option(help='Texts, one a line; JSON lines with "text" or "tokens"; or token ids as .npy.')
    ],
    out: Annotated[Path, typer.Option(help="The store, a Zarr folder; one that was begun is finished.")],
    sites: Annotated[
        str, typer.Option(help="Of each block, as resid_post or attn_out, or blocks.3.*; several with commas.")
    ] = "resid_post",
    shard: Annotated[str, typer.Option(help="i/N: the i-th of N parts, from 0; all fill one store.")] = "0/1",
    dtype: Annotated[str, typer.Option(help="Kept as float32, float16 or bfloat16.")] = "float32",
    positions: Annotated[str, typer.Option(help="all, last, or positions such as 0,-1.")] = "all",
    batch_tokens: Annotated[int, typer.Option(help="Tokens a forward pass at most.")] = 4096,
    longest: Annotated[int | None, typer.Option(help="Tokens of a text after which it is cut.")] = None,
    device: Annotated[str, typer.Option(help="torch device.")] = "cpu",
    trust: Annotated[bool, typer.Option("--trust", help="Run code that the model brings. Only your own.")] = False,
    as_json: Json = False,
) -> None:
    """Record a transformer's states over many texts into a store on disk; killed, the same command goes on."""
    import torch

    from analyses.result import counted
    from hooks.errors import InputError
    from hooks.fill_store import begin_store, fill_store
    from hooks.stack import stack_of
    from interp.network import load
    from interp.progress import meter
    from interp.texts import tokens_of

    part, parts = _numbers(shard, "/", "--shard is i/N such as 0/4", 2)
    kept = positions if positions in ("all", "last") else _numbers(positions, ",", "--positions is all, last, or 0,-1")
    kind = getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype):
        raise InputError(f"--dtype is float32, float16 or bfloat16, not {dtype!r}")
    texts = tokens_of(text, source, longest=longest)
    try:
        stack = stack_of(load(source, trust=trust).module.to(device))
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {device!r} cannot be used here: {str(error).splitlines()[0][:120]}") from None
    store = begin_store(
        out, stack, texts, sites=sites.split(","), positions=kept, dtype=kind, batch_tokens=batch_tokens, source=source
    )
    chunks, there = store.layout.chunks, int(store.committed.sum())
    typer.echo(
        f"{out}: {len(store.sites)} sites, {store.layout.states:,} states of {len(texts):,} texts, {store.dtype}: "
        f"{store.nbytes:,} bytes in {counted(chunks, 'chunk')}, {there} of them there already",
        err=True,
    )
    try:
        fill_store(store, stack, texts, shard=(part, parts), watch=meter("capture"))
    finally:  # interrupted, too
        done = int(store.committed.sum())
        if done < chunks:
            rest = "other shards, or the same command again, do" if parts > 1 else "the same command again does"
            typer.echo(f"interp: {done} of {chunks} chunks are there and stay good; {rest} the rest", err=True)
    if as_json:
        typer.echo(json.dumps({
            "path": str(out), "sites": store.sites, "states": store.layout.states, "texts": len(texts), "dtype": store.dtype,
            "bytes": store.nbytes, "chunks": chunks, "were_there": there, "committed": done,
        }))  # fmt: skip
    else:
        typer.echo(str(out))


@app.command()
def cases(as_json: Json = False) -> None:
    """List the case studies."""
    import importlib

    studies = importlib.import_module("case_studies")
    listed = {name: studies.load(name) for name in studies.names()}
    if as_json:
        typer.echo(
            json.dumps({name: {"title": study.title, "citation": study.citation} for name, study in listed.items()})
        )
    else:
        for name, study in listed.items():
            typer.echo(f"{name}\t{study.title}")


@app.command()
def reproduce(
    name: Annotated[str, typer.Argument(help="A case study; `interp cases` lists them.")],
    scale: Annotated[str, typer.Option(help="tiny, quick or full.")] = "quick",
    out: Annotated[Path | None, typer.Option(help="Folder to write; interp-report/NAME when left out.")] = None,
    hub: Annotated[
        str | None, typer.Option(help="A causal language model by hub id or folder, of studies that take one.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="A recording (.npy, .csv, .tsv, .txt or .edf), of studies that take one.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a case study, claims beside measurements."""
    import importlib

    study = importlib.import_module("case_studies").load(name)
    _finish(study.run(scale, out if out is not None else Path("interp-report") / name, hub=hub, data=data), as_json)


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="A report's folder, or its report.html.")],
    as_json: Json = False,
) -> None:
    """Prove every certificate of a report again, from its files alone."""
    from interp.verify import verified

    verdicts = verified(folder.parent if folder.suffix == ".html" else folder)
    if as_json:
        typer.echo(json.dumps([vars(verdict) for verdict in verdicts], ensure_ascii=False))
    else:
        for verdict in verdicts:
            typer.echo(str(verdict))
    refused = sum(verdict.claims - verdict.confirmed for verdict in verdicts)
    if not verdicts:
        typer.echo("interp: the report claims no proofs", err=True)
    if refused:
        typer.echo(f"interp: {refused} of {sum(verdict.claims for verdict in verdicts)} proofs are refused", err=True)
        raise typer.Exit(CHECK_FAILED)


def main() -> None:
    """The entry point: errors become one line and an exit code."""
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        _stop("interrupted", INTERRUPTED)
    except Exception as error:  # the last one: whatever it is becomes one line, unless --debug asks for the traceback
        if "--debug" in sys.argv:
            raise
        from hooks.errors import InterpError

        if isinstance(error, InterpError):
            _stop(str(error), BAD_INPUT)
        _stop(f"{type(error).__name__}: {error} (our fault; interp --debug ... shows where)", OUR_FAULT)


def _numbers(said: str, between: str, wanted: str, count: int | None = None) -> tuple[int, ...]:
    """The whole numbers in an option."""
    from hooks.errors import InputError

    try:
        numbers = tuple(int(part) for part in said.split(between))
    except ValueError:
        numbers = ()
    if not numbers or (count is not None and len(numbers) != count):
        raise InputError(f"{wanted}, not {said!r}")
    return numbers


def _array(path: Path) -> Any:
    import numpy as np

    from hooks.errors import InputError

    if not path.is_file():
        raise InputError(f"there is no file {path}")
    try:
        with path.open("rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError, OSError):
        raise InputError(f"{path} is no .npy array of numbers, or is cut short: write it with numpy.save") from None


def _finish(written: Report, as_json: bool) -> None:
    if as_json:
        rows = [row.to_dict() for row in written.rows]
        answer = {"path": str(written.path), "sentences": written.sentences, "rows": rows, "failed": written.failed}
        typer.echo(json.dumps(answer, ensure_ascii=False))
    else:
        typer.echo(str(written.path))
    if written.failed:
        typer.echo(f"interp: {len(written.failed)} failed or different, the first: {written.failed[0]}", err=True)
    if written.unfinished:  # what failed may only be unfinished
        typer.echo(f"interp: out of time, so not whole: {', '.join(written.unfinished)}", err=True)
        raise typer.Exit(OUT_OF_TIME)
    if written.failed:
        raise typer.Exit(CHECK_FAILED)


def _stop(message: str, code: int) -> None:
    sys.stderr.write(f"interp: {' '.join(message.split())}\n")
    raise SystemExit(code)

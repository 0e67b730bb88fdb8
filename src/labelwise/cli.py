"""The command ``labelwise``."""

import json
import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelwise import __version__
from labelwise.errors import InputError
from labelwise.files import printable

# Read when OpenMP is loaded. Waiting threads that spin cost a small network's training five times its work where other
# programs want the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from labelwise.job.options import Options

INTERRUPTED = 130  # what a shell reports of a program that Ctrl-C stopped

app = typer.Typer(
    help="Learn from imperfect labels: audit them, train on them, know how sure you are.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Named data sets: list them, fetch one, tell where it is.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Source = Annotated[
    str | None,
    typer.Argument(
        help="A folder of images (one sub-folder a class, or images/ and masks/), a folder of nodes.csv and "
        "edges.csv, a .csv, .parquet or .npz file, or a named set. Nothing: scikit-learn's digits with 40% of the "
        "training labels redrawn."
    ),
]
Out = Annotated[Path | None, typer.Option(help="Folder for the results (default: runs/NAME).")]
Seed = Annotated[int, typer.Option(help="Fixes every random draw.")]
Label = Annotated[str | None, typer.Option(help="Column that holds the labels.")]
Text = Annotated[str | None, typer.Option(help="Column of texts.")]
Image = Annotated[str | None, typer.Option(help="Column of pictures (JPEG or PNG bytes).")]
Truth = Annotated[str | None, typer.Option(help="Column of true labels, only ever used to score.")]
TaskName = Annotated[
    str | None,
    typer.Option(
        "--task",
        help="classification, multilabel, regression, segmentation, nodes or bags (default: what the data speak of).",
    ),
]
Bag = Annotated[str | None, typer.Option(help="Column that says which bag a row is in; only counts of bags are used.")]
Edges = Annotated[Path | None, typer.Option(help="Edge list (CSV or Parquet) between the rows of a table of nodes.")]
SplitColumn = Annotated[str | None, typer.Option("--split", help="Column that marks held-out rows as 'test'.")]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder of named data sets.", envvar="LABELWISE_DATA", show_envvar=True)
]
Recipe = Annotated[str, typer.Option(help="Robust recipe; see 'labelwise methods' (auto: the task's own).")]
Network = Annotated[str, typer.Option(help="auto, mlp, cnn, linear or any timm model.")]
Weights = Annotated[Path | None, typer.Option(help="Weights file of the pretrained backbone.")]
Download = Annotated[bool, typer.Option("--download", help="Allow the download of backbone weights.")]
Epochs = Annotated[int | None, typer.Option(help="Epochs of every training (default: by the size of the data).")]
Limit = Annotated[int | None, typer.Option(help="Use at most so many rows, drawn at random.")]
Folds = Annotated[int | None, typer.Option(help="Folds of the cross-validation behind the audit.")]
Filter = Annotated[str | None, typer.Option("--filter", help="Rule that picks the suspects; see the guide.")]
Alpha = Annotated[float, typer.Option(help="Share of misses that prediction sets may have.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")]
Devices = Annotated[int, typer.Option(help="Processes to train with.")]
Accelerator = Annotated[str, typer.Option(help="cpu, cuda, mps or auto.")]
Precision = Annotated[str, typer.Option(help="32-true, bf16-mixed, 16-mixed or 64-true.")]
ImageSize = Annotated[int | None, typer.Option(help="Side in pixels that pictures are brought to.")]
LabelsFrom = Annotated[
    Path | None, typer.Option(help="Folder of a reviewed run: take the labels that people decided on there.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """Run the command; bad input ends with one sentence on stderr and exit status 1, a wrong command line with 2."""
    with warnings.catch_warnings():
        # Warnings of libraries are for programmers; what a user must know stands in notes of the report.
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        _run()


def _run() -> None:
    try:
        status = app(standalone_mode=False)
    except typer.TyperException as error:
        # Without a command the help is all there is to say, and it was said.
        if not error.format_message():
            sys.exit(error.exit_code)
        _fail(f"{error.format_message().rstrip('.')}; --help lists what there is", error.exit_code)
    except InputError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}; check the path, its rights and the free space")
    except MemoryError:
        _fail("not enough memory for this data; use --limit, or a smaller --image-size")
    except Exception as error:
        if os.environ.get("LABELWISE_DEBUG"):
            traceback.print_exc()
        _fail(f"internal error ({type(error).__name__}: {error}); please report it (LABELWISE_DEBUG=1 shows where)", 70)
    if status == INTERRUPTED:
        _fail("stopped; run, train and audit go on from here with --resume", INTERRUPTED)


def _fail(sentence: str, status: int = 1) -> None:
    sys.stderr.write(f"labelwise: {printable(' '.join(sentence.split()))}\n")
    sys.exit(status)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


@app.command()
def run(
    source: Source = None,
    label: Label = None,
    text: Text = None,
    image: Image = None,
    truth: Truth = None,
    split: SplitColumn = None,
    task: TaskName = None,
    bag: Bag = None,
    edges: Edges = None,
    labels_from: LabelsFrom = None,
    out: Out = None,
    data_dir: DataDir = None,
    limit: Limit = None,
    image_size: ImageSize = None,
    recipe: Recipe = "auto",
    network: Network = "auto",
    weights: Weights = None,
    download: Download = False,
    epochs: Epochs = None,
    folds: Folds = None,
    filter_by: Filter = None,
    alpha: Alpha = 0.1,
    accelerator: Accelerator = "auto",
    devices: Devices = 1,
    precision: Precision = "32-true",
    skip: Annotated[
        list[str] | None, typer.Option(help="A step to leave out: audit, learn, trust or report; may be repeated.")
    ] = None,
    seed: Seed = 0,
    resume: Resume = False,
) -> None:
    """Do the whole job: check, audit, learn, trust, report."""
    from labelwise.job.options import Options

    _run_job(
        Options(
            source=source, label=label, text=text, image=image, truth=truth, split=split, task=task, bag=bag,
            edges=_str(edges), labels_from=_str(labels_from), out=_str(out),
            data_dir=_str(data_dir), limit=limit, image_size=image_size, recipe=recipe, network=network,
            weights=_str(weights), download=download, epochs=epochs, folds=folds, filter_by=filter_by, alpha=alpha,
            accelerator=accelerator, devices=devices, precision=precision, skip=tuple(skip or ()), seed=seed,
        ),
        resume,
    )  # fmt: skip


@app.command()
def train(
    source: Source = None,
    label: Label = None,
    text: Text = None,
    image: Image = None,
    truth: Truth = None,
    split: SplitColumn = None,
    task: TaskName = None,
    bag: Bag = None,
    edges: Edges = None,
    labels_from: LabelsFrom = None,
    out: Out = None,
    data_dir: DataDir = None,
    limit: Limit = None,
    image_size: ImageSize = None,
    recipe: Recipe = "auto",
    network: Network = "auto",
    weights: Weights = None,
    download: Download = False,
    epochs: Epochs = None,
    accelerator: Accelerator = "auto",
    devices: Devices = 1,
    precision: Precision = "32-true",
    seed: Seed = 0,
    resume: Resume = False,
) -> None:
    """Only train: the robust recipe and its baseline, and the saved model."""
    from labelwise.job.options import Options

    _run_job(
        Options(
            source=source, label=label, text=text, image=image, truth=truth, split=split, task=task, bag=bag,
            edges=_str(edges), labels_from=_str(labels_from), out=_str(out),
            data_dir=_str(data_dir), limit=limit, image_size=image_size, recipe=recipe, network=network,
            weights=_str(weights), download=download, epochs=epochs, accelerator=accelerator, devices=devices,
            precision=precision, skip=("audit", "trust"), seed=seed,
        ),
        resume,
    )  # fmt: skip


@app.command()
def audit(
    source: Source = None,
    pred_probs: Annotated[
        Path | None,
        typer.Option(
            "--pred-probs",
            "--predictions",
            help="Out-of-sample probabilities, or numbers for regression: .npy, or .parquet with a column a class.",
        ),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Given labels: .npy or .parquet.")] = None,
    spread: Annotated[
        Path | None, typer.Option(help="How far off each prediction of a number usually is: .npy.")
    ] = None,
    label: Label = None,
    text: Text = None,
    image: Image = None,
    truth: Truth = None,
    split: SplitColumn = None,
    task: TaskName = None,
    bag: Bag = None,
    edges: Edges = None,
    labels_from: LabelsFrom = None,
    out: Out = None,
    data_dir: DataDir = None,
    limit: Limit = None,
    image_size: ImageSize = None,
    recipe: Recipe = "auto",
    network: Network = "auto",
    weights: Weights = None,
    download: Download = False,
    epochs: Epochs = None,
    folds: Folds = None,
    filter_by: Filter = None,
    accelerator: Accelerator = "auto",
    devices: Devices = 1,
    precision: Precision = "32-true",
    seed: Seed = 0,
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """Only audit: from data, or from predictions and labels of your own (needs no model and no torch)."""
    if pred_probs is not None or labels is not None:
        if source is not None:
            raise InputError(f"an audit of --pred-probs or --labels takes no other data: leave out {source} or those")
        of_data = {
            "text": text, "image": image, "truth": truth, "split": split, "limit": limit, "image-size": image_size,
            "weights": weights, "epochs": epochs, "folds": folds, "bag": bag, "edges": edges,
            "labels-from": labels_from,
        }  # fmt: skip
        without_effect = [name for name, value in of_data.items() if value is not None]
        if without_effect:
            raise InputError(f"--{without_effect[0]} has no effect on an audit of --pred-probs: leave it out")
        _audit_files(task, pred_probs, labels, label, filter_by, spread, out, as_json)
        return
    if spread is not None:
        raise InputError("--spread belongs to an audit of --predictions: give those, or leave it out")
    from labelwise.job.options import Options

    _run_job(
        Options(
            source=source, label=label, text=text, image=image, truth=truth, split=split, task=task, bag=bag,
            edges=_str(edges), labels_from=_str(labels_from), out=_str(out),
            data_dir=_str(data_dir), limit=limit, image_size=image_size, recipe=recipe, network=network,
            weights=_str(weights), download=download, epochs=epochs, folds=folds, filter_by=filter_by,
            accelerator=accelerator, devices=devices, precision=precision, skip=("learn", "trust"), seed=seed,
        ),
        resume,
        as_json,
    )  # fmt: skip


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="The folder of a saved model, as in runs/NAME/model.")],
    source: Annotated[str, typer.Argument(metavar="DATA", help="Data of the form that the model was trained on.")],
    out: Annotated[Path, typer.Option(help="File for the predictions.")] = Path("predictions.csv"),
    alpha: Annotated[float | None, typer.Option(help="Share of misses of the sets (default: the model's).")] = None,
    rows_at_once: Annotated[int, typer.Option(help="Rows held in memory at a time.")] = 4096,
) -> None:
    """Label new data: labels, calibrated probabilities and prediction sets, streamed to a file."""
    from labelwise.job.model import Model

    with _progress() as progress:
        count = Model.load(model).predict_to_csv(source, out, alpha=alpha, block_rows=rows_at_once, progress=progress)
    typer.echo(f"{count.predicted:,} rows predicted, {count.rejected:,} rejected; see {out}")


@app.command()
def review(
    run_dir: Annotated[Path, typer.Argument(help="The folder of a run or an audit, as in runs/NAME.")],
    reviewer: Annotated[str | None, typer.Option(help="Your name (default: the page asks).")] = None,
    host: Annotated[str, typer.Option(help="Address to serve on; the default is this machine alone.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Port to serve on (default: 8642, or a free one).")] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    export: Annotated[
        Path | None, typer.Option(help="Write the decisions to a .csv or .parquet file, and end.")
    ] = None,
    import_: Annotated[Path | None, typer.Option("--import", help="Add the decisions of such a file, and end.")] = None,
) -> None:
    """Look at doubted labels and decide, on a page of this machine."""
    if export is not None or import_ is not None:
        if (reviewer, host, port) != (None, "127.0.0.1", None):
            raise InputError("--export and --import show no page: leave out --reviewer, --host and --port")
        _carry_decisions(run_dir, export, import_)
        return
    try:
        from labelwise.review.server import serve
    except ModuleNotFoundError as error:
        raise InputError(f"the page needs {error.name}: pip install 'labelwise[review]'") from error
    serve(run_dir, host=host, port=port, open_browser=browser, reviewer=reviewer)


@app.command()
def stability(
    given: Annotated[Path, typer.Option(help="The benchmark's labels, class numbers: .npy, .parquet or .csv.")],
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=]FILE...", help="Predictions of further models.")
    ] = None,
    predictions: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FILE",
            help="A model's classes, or probabilities, for the same examples; more files may follow.",
        ),
    ] = None,
    corrected: Annotated[
        Path | None, typer.Option(help="Corrected labels, -1 where none was agreed on: .npy, .parquet or .csv.")
    ] = None,
    votes: Annotated[Path | None, typer.Option(help="Or people's votes on doubted labels, a .json file.")] = None,
    draws: Annotated[int, typer.Option(help="Draws of the bootstrap.")] = 2000,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("runs/stability"),
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Tell whether a benchmark's ranking of models holds once its labels are corrected."""
    from labelwise.job.stability import study_files, to_json, write_study
    from labelwise.report.stability import models_table, pairs_table, sentences

    files = [*(predictions or []), *(more or [])]
    ranking = study_files(files, given, corrected=corrected, votes=votes, num_draws=draws, seed=seed)
    write_study(ranking, out)
    if as_json:
        typer.echo(json.dumps(to_json(ranking), indent=1))
        return
    for table in (models_table(ranking), pairs_table(ranking)):
        typer.echo(_table(table.caption, [dict(zip(table.header, row, strict=True)) for row in table.rows]))
    for sentence in sentences(ranking):
        typer.echo(sentence)
    typer.echo(f"\nPage: {out / 'stability.html'}")


@app.command()
def plan(
    source: Annotated[str, typer.Argument(metavar="DATA", help="A .csv, .parquet or .npz file.")],
    dear: Annotated[str, typer.Option(help="Column of dear, trusted labels, empty where none was bought.")],
    budget: Annotated[float, typer.Option(help="What may be spent on new labels.")],
    price_cheap: Annotated[float, typer.Option(help="Price of a cheap label.")],
    price_dear: Annotated[float, typer.Option(help="Price of a dear label.")],
    label: Annotated[str | None, typer.Option(help="Column of cheap labels (default: label).")] = None,
    text: Text = None,
    image: Image = None,
    split: SplitColumn = None,
    out: Out = None,
    limit: Limit = None,
    image_size: ImageSize = None,
    network: Annotated[str, typer.Option(help="Backbone for pictures: auto or a timm model.")] = "auto",
    weights: Weights = None,
    download: Download = False,
    by: Annotated[
        str, typer.Option(help="How relabel.csv picks rows: uncertainty, doubt (of the cheap label) or random.")
    ] = "uncertainty",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Plan what labels to buy: how many cheap and dear ones, for which rows, and what accuracy to expect."""
    from labelwise.job.options import Options
    from labelwise.job.plan import Purchase, plan_table, run_plan

    options = Options(
        source=source, label=label, text=text, image=image, split=split, limit=limit, image_size=image_size,
        network=network, weights=_str(weights), download=download, seed=seed, out=_str(out),
    )  # fmt: skip
    found = run_plan(options, Purchase(dear=dear, budget=budget, price_cheap=price_cheap, price_dear=price_dear, by=by))
    if as_json:
        typer.echo(json.dumps(None if found.plan is None else found.plan.to_dict(), indent=1))
        return
    if found.plan is not None:
        _console().print(plan_table(found.plan))
    for sentence in found.sentences:
        typer.echo(sentence)
    typer.echo(f"\nResults: {found.folder}")


@app.command()
def methods(as_json: AsJson = False) -> None:
    """List the methods: what each answers, and what came of reproducing its claim."""
    from labelwise.methods.listing import method_rows, method_table

    rows = method_rows()
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    _console().print(method_table(rows))


@app.command()
def reproduce(
    slug: Annotated[str, typer.Argument(help="A method of 'labelwise methods', or 'all'.")],
    seeds: Annotated[int | None, typer.Option(help="Number of seeds (default: the method's own).")] = None,
    data_dir: DataDir = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result to this file.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A small form that ends in seconds and proves little.")
    ] = False,
    jobs: Annotated[int | None, typer.Option(help="Of 'all', how many run at a time (default: one a core).")] = None,
) -> None:
    """Reproduce a paper's claim against its baseline at equal budget; 'all' writes JSON to a folder."""
    from labelwise.reproductions import reproduce as reproduce_method
    from labelwise.reproductions.all import reproduce_all
    from labelwise.reproductions.result import print_result

    if slug != "all":
        if jobs is not None:
            raise InputError(f"--jobs belongs to 'all', and {slug} is one reproduction: leave it out")
        result = reproduce_method(slug, seeds, data_dir, quick=quick)
        print_result(result, _console())
        if json_file is not None:
            result.save(json_file)
        return
    for result in reproduce_all(seeds, data_dir, quick=quick, jobs=jobs):
        print_result(result, _console())
        if json_file is not None:
            result.save(json_file / f"{result.slug}.json")


@data_app.command("list")
def data_list(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the named data sets and where they are."""
    from labelwise.data.catalogue import list_named, path

    rows = []
    for each in list_named():
        try:
            place = str(path(each.name, data_dir)) if each.files else each.source
        except InputError:
            place = "not here"
        rows.append({"name": each.name, "what": each.title, "task": each.task, "where": place})
    typer.echo(json.dumps(rows, indent=1) if as_json else _table("Named data sets", rows))


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="A set of 'labelwise data list'.")], data_dir: DataDir = None
) -> None:
    """Download a named data set, checked by sha256."""
    from labelwise.data.catalogue import fetch

    typer.echo(fetch(name, data_dir))


@data_app.command("path")
def data_path(
    name: Annotated[str, typer.Argument(help="A set of 'labelwise data list'.")], data_dir: DataDir = None
) -> None:
    """Tell where a named data set is."""
    from labelwise.data.catalogue import path

    typer.echo(path(name, data_dir))


def _run_job(options: "Options", resume: bool, as_json: bool = False) -> None:
    from labelwise.job.run import run as run_job

    with _progress() as progress:
        outcome = run_job(options, progress=progress, resume=resume)
    if as_json:
        typer.echo(json.dumps(outcome.metrics, indent=1, default=str))
        return
    from labelwise.job.words import summary
    from labelwise.review.items import FILE as ITEMS

    typer.echo()
    for sentence in summary(outcome.metrics):
        typer.echo(sentence)
    typer.echo(f"\nReport: {outcome.report}" if outcome.report else f"\nResults: {outcome.folder}")
    if "audit" not in options.skip and (outcome.folder / ITEMS).exists():
        typer.echo(f"Look at the suspects and decide: labelwise review {shlex.quote(str(outcome.folder))}")


def _audit_files(
    task: str | None,
    pred_probs: Path | None,
    labels: Path | None,
    label: str | None,
    filter_by: str | None,
    spread: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    from labelwise.audit.files import audit_files

    if pred_probs is None:
        raise InputError("an audit of probabilities needs --pred-probs FILE and, unless it holds them, --labels FILE")
    summary = audit_files(
        pred_probs, labels, task=task or "classification", label=label, filter_by=filter_by, spread=spread, out=out
    )
    if as_json:
        typer.echo(json.dumps(summary, indent=1))
        return
    for sentence in summary["found"]:
        typer.echo(sentence)


def _carry_decisions(run_dir: Path, export: Path | None, import_: Path | None) -> None:
    from labelwise.review.decision_files import check_suffix, export_decisions, import_decisions
    from labelwise.review.decisions import FILE, DecisionStore
    from labelwise.review.desk import Desk
    from labelwise.review.items import FILE as ITEMS
    from labelwise.review.items import Items

    items = Items.open(run_dir / ITEMS)
    for path in filter(None, (export, import_)):
        check_suffix(path)
    with DecisionStore(run_dir / FILE) as store:
        if import_ is not None:
            count = import_decisions(store, import_, Desk(items, store).check)
            typer.echo(f"{count:,} new decisions from {import_}")
        if export is not None:
            typer.echo(f"{export_decisions(store, export):,} decisions in {export}")


def _str(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _console() -> Any:
    from rich.console import Console

    return Console(markup=False, emoji=False)  # what stands in brackets or between colons is meant as it stands


def _table(title: str, rows: list[dict[str, Any]]) -> str:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for heading in rows[0]:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    console = _console()
    with console.capture() as captured:
        console.print(table)
    return captured.get().rstrip()


@contextmanager
def _progress() -> Iterator[Any]:
    """Bars on a terminal; a line for each finished piece of work elsewhere."""
    from labelwise.progress_bars import Bars

    with Bars() as bars:
        yield bars

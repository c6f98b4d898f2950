"""Home of a run as tables of DuckDB: SQL asks of them in bounded memory, and reaches nothing else.

    results      a row an image that is done: the result columns
    images       the manifest: a row an image, done or not
    failures     image_id, uri, label, group, status, error of the results that are not scored
    chunks       number, first_image_id, images, is_done
    thresholds   value, bundle_id, score, threshold_id, and what the threshold says; a row a bundle
    decisions    decision, created, settings as JSON, `group`, and what the threshold says; a row a cut, which is null
                 where nothing is flagged
    flags        decision, image_id, score, p_value, is_anomaly, needs_review; a row an image a decision

`value` is that of the column by which bundles are chosen, null for a run with one bundle.
"""

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import duckdb
import pyarrow as pa

from rayae import decisions, storage
from rayae.assignment import ALL
from rayae.complaints import told
from rayae.decisions import Decision
from rayae.errors import ConfigError, RunError, StorageError
from rayae.flags import FLAGS
from rayae.numbered_files import NumberedFiles
from rayae.results import Status, result_schema
from rayae.run import MANIFEST, Run
from rayae.terminal import warn

MEMORY_BYTES = 1024**3
BATCH_ROWS = 16_384
QUESTIONS = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
}
"""No extension is fetched, and no variable of this program is a table."""
THRESHOLDS = pa.schema(
    [
        *((name, pa.string()) for name in ("value", "bundle_id", "score", "threshold_id", "rule")),
        ("cut", pa.float64()),
        *((name, pa.int64()) for name in ("n", "k")),
        *((name, pa.float64()) for name in ("alpha", "expected_fpr", "upper_fpr", "confidence")),
        ("guarantee", pa.string()),
    ]
)
DECISIONS = pa.schema(
    [
        *((name, pa.string()) for name in ("decision", "created", "settings", "group")),
        *(THRESHOLDS.field(name) for name in THRESHOLDS.names if name not in ("value", "threshold_id")),
        ("review_cut", pa.float64()),
    ]
)
Found = TypeVar("Found")


@dataclass(frozen=True)
class Answer:
    """The columns of an answer, and its rows a batch at a time, as they are found."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


@dataclass(frozen=True)
class Database:
    """Tables that can be asked of."""

    connection: duckdb.DuckDBPyConnection
    files: Mapping[str, str]
    """The URIs of the files behind the tables, by the names by which DuckDB knows them."""

    def ask(self, sql: str) -> Answer:
        """The answer to one question, a SELECT or what DuckDB takes for one.

        ConfigError when it is none or wrong, RunError when a file of results cannot be read; its batches raise alike.
        """
        with told(self.files):
            statements = self.connection.extract_statements(sql)
            if len(statements) != 1 or statements[0].type not in QUESTIONS:
                raise ConfigError(
                    f"a run answers one SELECT and changes nothing; asked were {len(statements)} statement(s)"
                    f"{''.join(f', {one.type.name}' for one in statements[:3])}."
                )
            relation = _interruptible(self.connection, lambda: self.connection.sql(sql))
            reader = _interruptible(self.connection, lambda: relation.to_arrow_reader(BATCH_ROWS))
        return Answer(reader.schema, self._batches(reader))

    def table(self, sql: str) -> pa.Table:
        """The whole answer, for questions whose answer fits into memory."""
        answer = self.ask(sql)
        return pa.Table.from_batches(answer.batches, answer.schema)

    def make(self, name: str, sql: str) -> None:
        """Make a table of an answer, for further questions; raises what `ask` does."""
        with told(self.files):
            _interruptible(
                self.connection, lambda: self.connection.execute(f"CREATE TABLE {identifier(name)} AS {sql}")
            )

    def add(self, name: str, table: pa.Table) -> None:
        """Make a table of rows that are in memory."""
        _create(self.connection, "main", name, table)

    def _batches(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        while True:
            with told(self.files):
                batch = _interruptible(self.connection, lambda: next(reader, None))
            if batch is None:
                return
            yield batch


@contextlib.contextmanager
def opened(runs: Sequence[tuple[str, Run]], memory_bytes: int = MEMORY_BYTES) -> Iterator[Database]:
    """The tables of runs, each in its schema; `main` is the one that needs no name before its tables.

    What does not fit into `memory_bytes` goes to a directory of this machine that is removed at the end. Files written
    after this moment are not seen.
    """
    files = NumberedFiles()
    with (
        tempfile.TemporaryDirectory(prefix="rayae-query-") as scratch,
        duckdb.connect(":memory:", config=CLOSED) as connection,
    ):
        connection.register_filesystem(files)
        connection.execute(f"SET memory_limit = '{memory_bytes} B'; SET temp_directory = {quoted(scratch)}")
        connection.execute("SET enable_progress_bar = false; SET preserve_insertion_order = true")
        known = dict[str, str]()
        for schema, run in runs:
            _add(connection, files, schema, run, known)
        connection.execute(f"SET allowed_paths = {_list_of(list(known))}")
        connection.execute("SET enable_external_access = false; SET lock_configuration = true")
        yield Database(connection, known)


def unless_compacted(run: Run, work: Callable[[], Found]) -> Found:
    """What `work` gives, which opens the tables of the run; once more when the run was compacted meanwhile.

    Then its files are others: those that were listed when the tables were opened may be gone before they are read.
    """
    before = run.file_list()
    try:
        return work()
    except (RunError, StorageError):
        if run.file_list() == before:
            raise
    return work()


def quoted(text: str) -> str:
    """A text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """The name of a column or a schema, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


def _add(
    connection: duckdb.DuckDBPyConnection, files: NumberedFiles, schema: str, run: Run, known: dict[str, str]
) -> None:
    """Make the tables of a run, and note the files that they read."""
    manifest, images, results = run.manifest, [storage.join(run.uri, MANIFEST)], run.result_files()
    listed, parts = _names(files, images), _names(files, results)
    known |= dict(zip([*listed, *parts], [*images, *results], strict=True))
    within = identifier(schema)
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {within}")
    with told(known):  # DuckDB reads the first file of each
        connection.execute(f"CREATE VIEW {within}.images AS SELECT * FROM {_parquet(listed)}")
        if parts:
            connection.execute(f"CREATE VIEW {within}.results AS SELECT * FROM {_parquet(parts)}")
    if not parts:
        empty = result_schema(manifest.schema, run.record["scores"]).empty_table()
        _create(connection, schema, "results", empty)
    columns = 'image_id, uri, label, "group", status, error'
    try:
        connection.execute(
            f"CREATE VIEW {within}.failures AS SELECT {columns} FROM {within}.results "
            f"WHERE status <> {quoted(Status.SCORED)}"
        )
    except duckdb.BinderException as error:
        raise RunError(
            f"the first file of the results of {run.uri} lacks columns; `rayae verify {run.uri}` says more."
        ) from error
    left = {chunk.number for chunk in run.chunks_left()}
    _create(connection, schema, "chunks", _chunks(run, left))
    _create(connection, schema, "thresholds", _thresholds(run))
    _add_decisions(connection, files, schema, run, known)


def _add_decisions(
    connection: duckdb.DuckDBPyConnection, files: NumberedFiles, schema: str, run: Run, known: dict[str, str]
) -> None:
    """Make the tables of what was decided about a run, and note the files that they read."""
    within = identifier(schema)
    parts = [f"SELECT NULL::VARCHAR AS decision, * FROM {within}.no_flags"]
    _create(connection, schema, "no_flags", FLAGS.empty_table())
    made = _whole_decisions(run)
    for decision in made:
        uris = decisions.flag_files(run, decision.id)
        names = _names(files, uris)
        known |= dict(zip(names, uris, strict=True))
        parts.append(f"SELECT {quoted(decision.id)} AS decision, * FROM {_parquet(names)}")
    with told(known):
        connection.execute(f"CREATE VIEW {within}.flags AS {' UNION ALL BY NAME '.join(parts)}")
    _create(connection, schema, "decisions", _decisions(made))


def _whole_decisions(run: Run) -> list[Decision]:
    """The decisions of a run; one that is damaged is told and left out, since the results can be asked without it."""
    made = list[Decision]()
    for name in storage.list_names(storage.join(run.uri, decisions.DECISIONS)):
        try:
            decision = decisions.find(run, name)
            problem = None if decision is None else decisions.damage(run, decision, thorough=False)
        except RunError as error:
            decision, problem = None, str(error)
        if problem is not None:
            uri = decisions.place(run, name)
            warn(
                f"the decision {name} is left out: {problem.rstrip('.')}; remove {uri}, or ask for it again by `flag`."
            )
        elif decision is not None:
            made.append(decision)
    return sorted(made, key=lambda decision: (decision.created, decision.id))


def _chunks(run: Run, left: set[int]) -> pa.Table:
    chunks = run.chunks
    return pa.table(
        {
            "number": pa.array([chunk.number for chunk in chunks], pa.int64()),
            "first_image_id": pa.array([chunk.first for chunk in chunks], pa.int64()),
            "images": pa.array([chunk.rows for chunk in chunks], pa.int64()),
            "is_done": pa.array([chunk.number not in left for chunk in chunks], pa.bool_()),
        }
    )


def _thresholds(run: Run) -> pa.Table:
    rows = []
    for value, one in run.assignment.bundles.items():
        cut = one.threshold
        about = {"value": None if value == ALL else value, "bundle_id": one.bundle_id, "score": one.primary_score}
        rows.append(about if cut is None else {**cut.to_dict(), **about, "threshold_id": cut.id})
    return pa.Table.from_pylist(rows, THRESHOLDS)


def _decisions(made: Sequence[Decision]) -> pa.Table:
    rows = [
        {
            **cut.to_dict(),
            "decision": decision.id,
            "created": decision.created,
            "settings": json.dumps(decision.ruling.settings),
            "group": None if group == ALL else group,
            **(dict.fromkeys(("cut", "expected_fpr", "upper_fpr")) if cut.flags_nothing else {}),
        }
        for decision in made
        for group, cut in decision.ruling.thresholds.items()
    ]
    return pa.Table.from_pylist(rows, DECISIONS)


def _create(connection: duckdb.DuckDBPyConnection, schema: str, name: str, table: pa.Table) -> None:
    connection.register("table_of_rayae", table)
    connection.execute(f"CREATE TABLE {identifier(schema)}.{name} AS SELECT * FROM table_of_rayae")
    connection.unregister("table_of_rayae")


def _names(files: NumberedFiles, uris: Sequence[str]) -> list[str]:
    """What DuckDB opens them by: files of a disk by their paths, which it reads without Python; others by a number."""
    local = [uri for uri in uris if storage.is_local(uri)]
    return local if len(local) == len(uris) else files.add(uris)


def _parquet(names: Sequence[str]) -> str:
    return f"read_parquet({_list_of(names)}, hive_partitioning = false)"


def _list_of(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(quoted, texts))}]"


def _interruptible(connection: duckdb.DuckDBPyConnection, work: Callable[[], Found]) -> Found:
    """What `work` gives, done in a thread: DuckDB looks for no signal, and a question may take minutes."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(work)
        try:
            return waiting.result()
        except BaseException:
            connection.interrupt()
            raise


def float_columns(database: Database, schema: str = "main") -> list[str]:
    """Names of the result columns that hold floating-point numbers, in their order."""
    found = database.ask(f"SELECT * FROM {identifier(schema)}.results LIMIT 0").schema
    return [field.name for field in found if pa.types.is_floating(field.type)]

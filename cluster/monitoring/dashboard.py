"""The Grafana dashboard of runs, printed as JSON; a test holds that `dashboard.json` is what this prints.

    python cluster/monitoring/dashboard.py > cluster/monitoring/dashboard.json

The rows are in the order in which somebody on call asks: is it getting on, where does time go, what fails, is it
storage, is it the GPUs, is it Ray.
"""

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders.common import ReduceDataOptions, VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, QueryVariable, Row
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.timeseries import Panel as Graph
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableHide, VariableOption, VariableRefresh

OURS = 'run=~"$run"'
RAYS = 'SessionName=~"$session"'
"""Ray's own metrics know no runs: those of the clusters that the runs are on."""
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH, STATS_ACROSS, GRAPH_HEIGHT, STAT_HEIGHT = 24, 6, 8, 4


@dataclass(frozen=True)
class Panel:
    """What one panel shows: queries, each with the legend of its series, and what it means, in a sentence."""

    title: str
    means: str
    unit: str
    queries: Sequence[tuple[str, str]]
    is_stat: bool = False
    top: float | None = None
    """The end of the axis."""


def of(metric: str, where: str = OURS, more: str = "") -> str:
    """The selector of a metric; `more` narrows it."""
    return f"ray_{metric}{{{where}{f',{more}' if more else ''}}}"


def rate(metric: str, more: str = "") -> str:
    """The rate of one of our counters."""
    return f"rate({of(f'{metric}_total', more=more)}[$__rate_interval])"


def share(part: str, whole: str) -> str:
    """Of rates, by run: 0 where nothing of the part has ever been."""
    return f"(sum by (run) ({part}) or 0 * sum by (run) ({whole})) / sum by (run) ({whole})"


def stat(title: str, means: str, unit: str, query: str) -> Panel:
    """A number a run."""
    return Panel(title, means, unit, [(query, "{{run}}")], is_stat=True)


ROWS = {
    "Is it getting on?": [
        stat("Images left", "Images that have no rows yet.", "short", f"max by (run) ({of('rayae_images_left')})"),
        stat(
            "Images done",
            "By the drivers that these clusters have seen; `rayae status` also knows what was done before.",
            "short",
            f"sum by (run) ({of('rayae_images_total')})",
        ),
        stat(
            "Time left",
            "At the rate since the driver began; it is told with each chunk that is done.",
            "s",
            f"max by (run) ({of('rayae_seconds_left')})",
        ),
        stat(
            "Due",
            "The time that finish_by= says; empty without one.",
            "dateTimeFromNow",
            f"1000 * max by (run) ({of('rayae_finish_by_timestamp_seconds')})",
        ),
        stat(
            "Driver",
            "1 while a driver is at work, 0 when it has just ended, nothing when there is none.",
            "none",
            f"max by (run) ({of('rayae_active')})",
        ),
        stat(
            "Since",
            "When the driver began.",
            "dateTimeFromNow",
            f"1000 * max by (run) ({of('rayae_started_timestamp_seconds')})",
        ),
        Panel(
            "Images a second",
            "Rows that are written, whatever became of the images; in steps, as chunks end.",
            "short",
            [(f"sum by (run) ({rate('rayae_images')})", "{{run}}")],
        ),
        Panel(
            "Images left",
            "A line that no longer falls is a run that stands still.",
            "short",
            [(f"max by (run) ({of('rayae_images_left')})", "{{run}}")],
        ),
    ],
    "Where does time go?": [
        Panel(
            "Busy threads by stage",
            "Seconds a second of all workers. `wait` is the model waiting for fetch and decode.",
            "short",
            [(f"sum by (stage) ({rate('rayae_stage_seconds')})", "{{stage}}")],
        ),
        Panel(
            "Images a second of one thread, by stage",
            "How fast a single thread of this stage is: what more threads, or faster ones, would bring.",
            "short",
            [
                (f"scalar(sum({rate('rayae_images')})) / sum by (stage) ({rate('rayae_stage_seconds')})", "{{stage}}"),
            ],
        ),
        Panel(
            "Workers busy with the model",
            "Of the workers that were asked for; low while images are left: GPUs are idle.",
            "percentunit",
            [
                (
                    f"""sum by (run) ({rate("rayae_stage_seconds", 'stage="model"')}) """
                    f"/ max by (run) ({of('rayae_workers')})",
                    "{{run}}",
                )
            ],
            top=1,
        ),
    ],
    "What fails?": [
        Panel(
            "Failures a second by status",
            "The column `error` of the results has a sentence for each image.",
            "short",
            [(f"""sum by (status) ({rate("rayae_images", 'status!="scored"')})""", "{{status}}")],
        ),
        Panel(
            "Failed share",
            "Of the images of each moment; the job stops at max_failed_fraction of all.",
            "percentunit",
            [(share(rate("rayae_images", 'status!="scored"'), rate("rayae_images")), "{{run}}")],
        ),
    ],
    "Is it storage?": [
        Panel(
            "Requests a second",
            "For images: all, those sent again, those answered with 503 or 429. Empty where images are on disks.",
            "reqps",
            [
                (f"sum({rate('rayae_requests')})", "requests"),
                (f"sum({rate('rayae_retries')})", "tries again"),
                (f"sum({rate('rayae_throttled')})", "throttled"),
            ],
        ),
        Panel(
            "Share of 503",
            "Of the requests for images; workers send fewer by themselves. Empty where images are read from disks.",
            "percentunit",
            [(share(rate("rayae_throttled"), rate("rayae_requests")), "{{run}}")],
        ),
        Panel(
            "Bytes a second",
            "Of images, from storage or disks.",
            "Bps",
            [(f"sum by (run) ({rate('rayae_read_bytes')})", "{{run}}")],
        ),
    ],
    "Is it the GPUs?": [
        Panel(
            "GPU use",
            "As the driver of the GPU says; empty without GPUs.",
            "percent",
            [(f"max by (ip, GpuIndex) ({of('node_gpus_utilization', RAYS)})", "{{ip}} gpu {{GpuIndex}}")],
            top=100,
        ),
        Panel(
            "GPU memory",
            "In use; empty without GPUs.",
            "mbytes",
            [(f"max by (ip, GpuIndex) ({of('node_gram_used', RAYS)})", "{{ip}} gpu {{GpuIndex}}")],
        ),
    ],
    "Is it Ray?": [
        Panel(
            "Object store",
            "By where it lies; SPILLED is on disk.",
            "bytes",
            [(f"sum by (Location) ({of('object_store_memory', RAYS)})", "{{Location}}")],
        ),
        Panel(
            "Spilled, by node",
            "With placement=together nothing should.",
            "bytes",
            [
                (
                    f"""sum by (NodeAddress) ({of("object_store_memory", RAYS, 'Location="SPILLED"')})""",
                    "{{NodeAddress}}",
                )
            ],
        ),
        Panel(
            "Nodes, and workers that score",
            "Workers by their state; fewer alive than asked for is why a run is slow.",
            "none",
            [
                (f"sum({of('cluster_active_nodes', RAYS)})", "nodes"),
                (f"max by (run) ({of('rayae_workers')})", "workers asked for by {{run}}"),
                (
                    f"""sum by (State) ({of("actors", RAYS, 'Source="gcs",Name=~".*ScoringActor.*",State!="DEAD"')})""",
                    "workers {{State}}",
                ),
            ],
        ),
        Panel(
            "CPU by node",
            "All processes of the node.",
            "percent",
            [(f"max by (ip) ({of('node_cpu_utilization', RAYS)})", "{{ip}}")],
            top=100,
        ),
        Panel(
            "Memory by node",
            "Ray kills workers above 95 %.",
            "percentunit",
            [(f"max by (ip) ({of('node_mem_used', RAYS)}) / max by (ip) ({of('node_mem_total', RAYS)})", "{{ip}}")],
            top=1,
        ),
        Panel(
            "Disk by node",
            "Ray spills nothing more above 95 %.",
            "percent",
            [(f"max by (ip) ({of('node_disk_utilization_percentage', RAYS)})", "{{ip}}")],
            top=100,
        ),
    ],
}


def built(panel: Panel, number: int, span: int) -> Stat | Graph:
    """A panel of the SDK."""
    legend = VizLegendOptions().show_legend(True).placement(LegendPlacement.BOTTOM)
    if panel.is_stat:
        one: Stat | Graph = Stat().reduce_options(ReduceDataOptions().calcs(["lastNotNull"])).height(STAT_HEIGHT)
    else:
        one = Graph().legend(legend.display_mode(LegendDisplayMode.LIST)).height(GRAPH_HEIGHT).min(0).fill_opacity(10)
    if panel.top is not None:
        one.max(panel.top)
    one.id(number).title(panel.title).description(panel.means).unit(panel.unit).datasource(SOURCE).span(span)
    for place, (query, name) in enumerate(panel.queries):
        target = Dataquery().expr(query).legend_format(name).ref_id(chr(ord("A") + place)).datasource(SOURCE)
        one.with_target(target.instant() if panel.is_stat else target.range())
    return one


def variable(name: str, label: str, query: str) -> QueryVariable:
    """A choice of values of a label, of which all are taken at first."""
    every = VariableOption(selected=True, text="All", value="$__all")
    found = (
        QueryVariable(name).label(label).query(query).datasource(SOURCE).refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    )
    return found.multi(True).include_all(True).current(every)


def dashboard() -> Dashboard:
    """The dashboard: ROWS from top to bottom."""
    made = (
        Dashboard("rayae")
        .uid("rayae")
        .description("Runs of rayae, and the Ray clusters that they are on.")
        .tags(["rayae", "ray"])
        .readonly()
        .time("now-3h", "now")
        .refresh("30s")
        .timezone("browser")
        .with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(variable("run", "Run", "label_values(ray_rayae_images_total, run)"))
        .with_variable(
            variable("session", "Ray session", 'label_values(ray_rayae_images_total{run=~"$run"}, SessionName)').hide(
                VariableHide.HIDE_VARIABLE
            )
        )
    )
    numbers = itertools.count(1)
    for title, panels in ROWS.items():
        made.with_row(Row(title).id(next(numbers)))
        graphs = [panel for panel in panels if not panel.is_stat]
        across = 3 if len(graphs) % 3 == 0 else 2
        for panel in panels:
            made.with_panel(built(panel, next(numbers), WIDTH // (STATS_ACROSS if panel.is_stat else across)))
    return made


if __name__ == "__main__":
    sys.stdout.write(JSONEncoder(sort_keys=True, indent=2).encode(dashboard().build()) + "\n")

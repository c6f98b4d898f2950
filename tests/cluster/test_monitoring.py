"""The files in `cluster/monitoring` are what they say: rules, dashboard, and the names in them."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

from rayae.on_ray.metrics import COUNTERS, NAMES, TAGS

HOME = Path(__file__).parents[2] / "cluster" / "monitoring"
RULES = HOME / "rules.yaml"
TEST_OF_RULES = HOME / "rules_test.yaml"
OF_RAY = {
    "ray_actors",
    "ray_cluster_active_nodes",
    "ray_node_cpu_utilization",
    "ray_node_disk_utilization_percentage",
    "ray_node_mem_total",
    "ray_node_mem_used",
    "ray_object_store_memory",
}
"""Ray's own metrics that are used; `test_prometheus.py` finds each of them at a Ray that runs."""
OF_GPUS = {"ray_node_gpus_utilization", "ray_node_gram_used"}
"""Those that only a node with a GPU has; that Ray knows them is all that is tested without one."""
FIRES_ALWAYS = {
    "rayae-runs": 'group by (run) ({__name__=~"ray_rayae_.*"})',
    "rayae-clusters": 'group by (SessionName, NodeAddress, ip) ({__name__=~"ray_.*"})',
}


def groups(path: Path = RULES) -> list[dict[str, Any]]:
    """The groups of rules in a file."""
    found: list[dict[str, Any]] = yaml.safe_load(path.read_text())["groups"]
    return found


ALERTS = {rule["alert"]: rule for group in groups() for rule in group["rules"]}


def dashboard() -> dict[str, Any]:
    """The dashboard as it is shipped."""
    found: dict[str, Any] = json.loads((HOME / "dashboard.json").read_text())
    return found


def queries() -> dict[str, list[str]]:
    """What is asked by each panel, with values for Grafana's variables."""
    values = {"$__rate_interval": "1m", "$run": ".*", "$session": ".*"}
    pattern = re.compile("|".join(map(re.escape, values)))
    return {
        f"{panel['id']} {panel['title']}": [
            pattern.sub(lambda found: values[found[0]], target["expr"]) for target in panel["targets"]
        ]
        for panel in dashboard()["panels"]
        if panel["type"] != "row"
    }


def selectors(query: str) -> set[str]:
    """The metrics that a query names; promql_parser refuses what is no PromQL."""
    promql_parser.parse(query)
    return set(re.findall(r"\bray_\w+", query))


def promtool(*words: str, cwd: Path = HOME) -> "subprocess.CompletedProcess[str]":
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    return subprocess.run(["promtool", *words], cwd=cwd, capture_output=True, text=True)


def test_the_rules_and_the_scrape_configuration_are_valid() -> None:
    for words in (("check", "rules", "rules.yaml"), ("check", "config", "prometheus.yml")):
        done = promtool(*words)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_alerts_do_what_their_tests_say() -> None:
    done = promtool("test", "rules", "rules_test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("fault", ["never fires", "fires for everything"])
@pytest.mark.parametrize("alert", ALERTS)
def test_the_tests_of_the_alerts_find_an_alert_that(alert: str, fault: str, tmp_path: Path) -> None:
    changed = groups()
    for group in changed:
        for rule in group["rules"]:
            if rule["alert"] == alert:
                rule["expr"] = "vector(0) > 1" if fault == "never fires" else FIRES_ALWAYS[group["name"]]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": changed}))
    shutil.copy(TEST_OF_RULES, tmp_path)
    done = promtool("test", "rules", "rules_test.yaml", cwd=tmp_path)
    assert done.returncode != 0, done.stdout
    assert alert in done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_what_is_wrong_and_what_to_do(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    assert rule["for"]


def test_the_rules_for_the_operator_are_the_same() -> None:
    found = yaml.safe_load((HOME / "prometheusrule.yaml").read_text())
    assert (found["apiVersion"], found["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert found["spec"]["groups"] == groups()


def test_the_dashboard_is_what_its_program_prints() -> None:
    made = subprocess.run([sys.executable, HOME / "dashboard.py"], check=True, capture_output=True, text=True)
    assert made.stdout == (HOME / "dashboard.json").read_text()


def test_each_panel_has_a_number_and_a_sentence_and_asks_the_source_that_is_chosen() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        if panel["type"] != "row":
            assert panel["description"].endswith("."), panel["title"]
            assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
    variables = [variable["name"] for variable in dashboard()["templating"]["list"]]
    assert variables == ["datasource", "run", "session"]


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_every_metric_of_the_dashboard_and_of_the_alerts_exists() -> None:
    ours = {f"ray_{name}{'_total' if name in COUNTERS else ''}" for name in NAMES}
    asked = [query for panel in queries().values() for query in panel] + [rule["expr"] for rule in ALERTS.values()]
    named = {name for query in asked for name in selectors(query)}
    assert named - ours == OF_RAY | OF_GPUS
    assert not {"rayae_images", "rayae_throttled", "rayae_seconds_left"} - {
        name.removeprefix("ray_").removesuffix("_total") for name in named
    }
    assert {name.removeprefix("ray_") for name in OF_GPUS} <= set(METRICS_GAUGES)


def test_our_metrics_are_asked_for_by_tags_that_they_have() -> None:
    asked = [query for panel in queries().values() for query in panel] + [rule["expr"] for rule in ALERTS.values()]
    for query in asked:
        for name, inside in re.findall(r"\bray_(rayae_\w+)\{([^}]*)\}", query):
            tags = {"run", TAGS.get(name.removesuffix("_total"), "run")}
            assert set(re.findall(r"(\w+)(?:=|!)", inside)) <= tags, query


def test_kustomize_brings_the_rules_and_the_dashboard() -> None:
    kubectl = Path(sys.executable).parent / "kubectl"
    built = subprocess.run([kubectl, "kustomize", HOME], check=True, capture_output=True, text=True).stdout
    found = {one["kind"]: one for one in yaml.safe_load_all(built)}
    assert set(found) == {"ConfigMap", "PrometheusRule"}
    assert found["ConfigMap"]["metadata"] == {"name": "rayae-dashboard", "labels": {"grafana_dashboard": "1"}}
    assert json.loads(found["ConfigMap"]["data"]["rayae.json"]) == dashboard()
    assert found["PrometheusRule"]["spec"]["groups"] == groups()


def test_the_page_lists_the_metrics_and_the_alerts_that_there_are() -> None:
    text = (HOME / "README.md").read_text()
    assert set(re.findall(r"^\| `(rayae_\w+)` \|", text, re.MULTILINE)) == set(NAMES)
    assert re.findall(r"^\| `(Ray\w+)` \|", text, re.MULTILINE) == list(ALERTS)

"""The fields of RayJob and RayCronJob that `cluster/kuberay` uses, for checkouts that have no CRDs beside them.

Pods are left to the schema of Kubernetes. The CRDs of KubeRay 1.7 hold more; where they are there, they are used.
"""

from typing import Any

TEXT, COUNT, SWITCH, ANY = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}, {"type": "object"}
TEXTS = {"type": "object", "additionalProperties": TEXT}


def fields(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """An object of these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


GROUP = {"rayStartParams": TEXTS, "template": ANY}
CLUSTER = fields(
    ("headGroupSpec",),
    rayVersion=TEXT,
    authOptions=fields(mode={"enum": ["disabled", "token"]}, secretName=TEXT, enableK8sTokenAuth=SWITCH),
    enableInTreeAutoscaling=SWITCH,
    autoscalerOptions=fields(
        version={"enum": ["v1", "v2"]},
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
        idleTimeoutSeconds=COUNT,
        securityContext=ANY,
        resources=ANY,
        volumeMounts={"type": "array"},
    ),
    headGroupSpec=fields(("template",), **GROUP, resources=TEXTS),
    workerGroupSpecs={
        "type": "array",
        "items": fields(
            ("groupName", "template"),
            **GROUP,
            groupName=TEXT,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            resources=TEXTS,
        ),
    },
    networkPolicy=ANY,
    tlsOptions=ANY,
    historyServerOptions=ANY,
    gcsFaultToleranceOptions=ANY,
)
JOB = fields(
    entrypoint=TEXT,
    shutdownAfterJobFinishes=SWITCH,
    ttlSecondsAfterFinished=COUNT,
    preRunningDeadlineSeconds=COUNT | {"minimum": 1},
    activeDeadlineSeconds=COUNT,
    backoffLimit=COUNT,
    suspend=SWITCH,
    submissionMode=TEXT,
    submitterConfig=fields(backoffLimit=COUNT),
    submitterPodTemplate=ANY,
    rayClusterSpec=CLUSTER,
    deletionStrategy=ANY,
)
HEADER = {"apiVersion": {"const": "ray.io/v1"}, "metadata": ANY}
SCHEMAS = {
    "RayJob": fields(("spec",), **HEADER, kind={"const": "RayJob"}, spec=JOB),
    "RayCronJob": fields(
        ("spec",),
        **HEADER,
        kind={"const": "RayCronJob"},
        spec=fields(("schedule", "jobTemplate"), schedule=TEXT, timeZone=TEXT, suspend=SWITCH, jobTemplate=JOB),
    ),
}

"""The image and the files of `deploy/` are valid, and their commands exist."""

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deeplab_gygo.cli import main as cli
from deeplab_gygo.io.atomic import CACHE_VARIABLE
from deeplab_gygo.io.scratch import FOLDER_VARIABLE

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SCRIPT = DEPLOY / "slurm_array.sh"
BIN = Path(sys.executable).parent

# Of the definition of RayJob (ray.io/v1) in KubeRay; pods are checked as those of Kubernetes.
RAY_JOB = {"entrypoint", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "backoffLimit",
           "rayClusterSpec", "submissionMode", "activeDeadlineSeconds", "suspend"}  # fmt: skip
RAY_CLUSTER = {"rayVersion", "headGroupSpec", "workerGroupSpecs", "autoscalerOptions",
               "enableInTreeAutoscaling"}  # fmt: skip
RAY_GROUP = {"rayStartParams", "template"}
RAY_WORKERS = RAY_GROUP | {"groupName", "replicas", "minReplicas", "maxReplicas"}


def _check(tool, path):
    found = BIN / tool
    if not found.exists():
        pytest.skip(f"{tool} is not installed")
    done = subprocess.run([found, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def _parse(words):
    """Parses a command line by the parser of the program."""
    words = [word.replace("$(JOB_COMPLETION_INDEX)", "3") for word in words]
    return cli._parse(words)


def _read(name):
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


def _pods(name):
    """Returns the pod templates of a manifest."""
    spec = _read(name)["spec"]
    if "template" in spec:
        return [spec["template"]]
    cluster = spec["rayClusterSpec"]
    return [
        cluster["headGroupSpec"]["template"],
        *(w["template"] for w in cluster["workerGroupSpecs"]),
    ]


# The image


def test_the_dockerfile_has_no_faults():
    _check("hadolint", ROOT / "Dockerfile")


def test_the_image_runs_without_root_rights_and_writes_to_volumes_alone():
    user = int(re.search(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)[1])
    volumes = yaml.safe_load(re.search(r"^VOLUME (.+)$", DOCKERFILE, re.MULTILINE)[1])
    given = dict(
        pair.split("=") for pair in re.search(r"^ENV (.+ .+)$", DOCKERFILE, re.M)[1].split()
    )
    assert user > 0
    assert {given[CACHE_VARIABLE], given[FOLDER_VARIABLE], given["HOME"]} <= set(volumes)
    for name in ("kubernetes_job.yaml", "rayjob.yaml"):
        for pod in _pods(name):
            spec = pod["spec"]
            assert spec["securityContext"]["runAsUser"] == user
            written = {volume["name"] for volume in spec["volumes"]}
            for container in (*spec["containers"], *spec.get("initContainers", ())):
                assert container["securityContext"]["readOnlyRootFilesystem"]
                mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
                assert set(mounts) == set(volumes) and set(mounts.values()) <= written


def test_the_image_has_the_extras_for_buckets_and_clusters(monkeypatch):
    monkeypatch.chdir(ROOT)
    given = {}
    monkeypatch.setattr("setuptools.setup", given.update)
    runpy.run_path("setup.py")
    extras = given["extras_require"]
    wanted = {
        re.split(r"[\[<>=]", package)[0]
        for extra in ("s3", "gcs", "azure", "cluster")
        for package in extras[extra]
    }
    for lock in ("requirements.lock", "requirements-cuda.lock"):
        text = (ROOT / lock).read_text(encoding="utf-8")
        assert wanted <= set(re.findall(r"^([\w-]+)==", text, re.MULTILINE))


def test_both_variants_are_made_from_locked_packages():
    asked = (DEPLOY / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = {re.split(r"[\[<>=]", line)[0] for line in asked if not line.startswith("#")}
    assert re.search(r"^ARG VARIANT=cpu$", DOCKERFILE, re.MULTILINE)
    context = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    for variant, lock in (("cpu", "requirements.lock"), ("cuda", "requirements-cuda.lock")):
        assert f"AS {variant}\nCOPY {lock} " in DOCKERFILE
        assert f"--require-hashes -r /build/{lock}" in DOCKERFILE
        assert f"!{lock}\n" in context
        text = (ROOT / lock).read_text(encoding="utf-8")
        locked = dict(re.findall(r"^([\w-]+)==(\S+)", text, re.MULTILINE))
        assert names <= set(locked)
        assert locked["ray"] == _read("rayjob.yaml")["spec"]["rayClusterSpec"]["rayVersion"]
    assert "jax-cuda12-plugin" in locked and "tensorflow" not in locked


@pytest.mark.slow
def test_a_clip_is_segmented_on_a_read_only_root_file_system(tmp_path, command_environment):
    if not shutil.which("unshare") or subprocess.run(["unshare", "-m", "true"]).returncode:
        pytest.skip("no right to mount file systems")
    given = dict(
        pair.split("=") for pair in re.search(r"^ENV (.+ .+)$", DOCKERFILE, re.M)[1].split()
    )
    folders = {name: tmp_path / name for name in ("cache", "scratch", "work")}
    for folder in folders.values():
        folder.mkdir()
    moved = {"/cache": str(folders["cache"]), "/scratch": str(folders["scratch"])}
    environment = command_environment | {
        key: moved.get(value, value) for key, value in given.items()
    }
    mounts = "".join(f"mount -t tmpfs tmpfs {folder} && " for folder in folders.values())
    words = ["demo", "--out", "demo", "--preset", "fast", "--steps", "1", "--quiet"]
    inner = shlex.join([sys.executable, "-m", "deeplab_gygo", *words])
    script = (
        f"{mounts}mount -o remount,bind,ro / && "
        f"! touch {ROOT}/made 2> /dev/null && cd {folders['work']} && {inner} && ls demo/result"
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "run.json" in done.stdout.split()


# SLURM


def test_the_script_of_slurm_has_no_faults():
    _check("shellcheck", SCRIPT)


def _submit(tmp_path, *words, **slurm):
    """Runs the script as a task of an array; `srun` prints the command that it gets."""
    (tmp_path / "srun").write_text('#!/bin/sh\nfor word; do echo "$word"; done\n')
    (tmp_path / "srun").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "USER": "me", **slurm}
    return subprocess.run(
        [shutil.which("bash"), SCRIPT, *words], env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("slurm", "part"),
    [
        ({"ID": "0", "MIN": "0", "COUNT": "4"}, 0),
        ({"ID": "7", "MIN": "4", "COUNT": "4"}, 3),
        ({"ID": "21", "MIN": "1", "COUNT": "3", "STEP": "10"}, 2),
    ],
)
def test_a_task_of_an_array_segments_its_part(tmp_path, slurm, part):
    given = {f"SLURM_ARRAY_TASK_{key}": value for key, value in slurm.items()}
    done = _submit(tmp_path, "my clips.csv", "out", "--preset", "fast", **given)
    assert done.returncode == 0, done.stderr
    step, program, *words = done.stdout.splitlines()
    assert (step, program) == ("--ntasks=1", "deeplab-gygo")
    command, options = _parse(words)
    assert (command, options.videos, options.out) == ("batch", "my clips.csv", "out")
    assert (options.num_parts, options.part_id) == (int(slurm["COUNT"]), part)
    assert options.preset == "fast"


def test_a_task_without_an_array_or_a_list_is_refused(tmp_path):
    assert "sbatch --array" in _submit(tmp_path, "list", "out").stderr
    done = _submit(tmp_path, "list", SLURM_ARRAY_TASK_ID="0")
    assert done.returncode == 2 and "usage: sbatch" in done.stderr


# Kubernetes


def test_the_job_of_kubernetes_is_valid():
    validate = pytest.importorskip("kubernetes_validate")
    validate.validate(_read("kubernetes_job.yaml"), validate.latest_version(), strict=True)


def test_the_pods_of_ray_are_valid():
    validate = pytest.importorskip("kubernetes_validate")
    for pod in _pods("rayjob.yaml"):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, **pod}
        validate.validate(pod, validate.latest_version(), strict=True)


def test_the_job_of_ray_has_the_fields_of_its_definition():
    job = _read("rayjob.yaml")
    cluster = job["spec"]["rayClusterSpec"]
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert set(job["spec"]) <= RAY_JOB and set(cluster) <= RAY_CLUSTER
    assert set(cluster["headGroupSpec"]) <= RAY_GROUP
    for group in cluster["workerGroupSpecs"]:
        assert set(group) <= RAY_WORKERS
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_a_pod_of_an_indexed_job_segments_its_part():
    spec = _read("kubernetes_job.yaml")["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    command, options = _parse(container["args"])
    assert command == "batch"
    assert options.num_parts == spec["completions"] and options.part_id == 3
    assert spec["completionMode"] == "Indexed"
    (rule,) = (r["onExitCodes"] for r in spec["podFailurePolicy"]["rules"] if "onExitCodes" in r)
    assert rule["containerName"] == container["name"]
    # Statuses after which the same part would fail alike; see docs/usage.md.
    assert rule["values"] == [2, 3, 65]
    assert options.scratch_gb * 1e9 < 20 * 2**30


def test_the_job_of_ray_has_as_many_workers_as_it_asks_for():
    spec = _read("rayjob.yaml")["spec"]
    program, *words = shlex.split(spec["entrypoint"])
    command, options = _parse(words)
    assert (program, command, options.cluster) == ("deeplab-gygo", "batch", "auto")
    (group,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    assert options.workers == group["replicas"]
    (worker,) = group["template"]["spec"]["containers"]
    resources = worker["resources"]
    assert options.gpus_per_worker == int(resources["limits"]["nvidia.com/gpu"])
    assert options.cpus_per_worker == int(resources["requests"]["cpu"])
    (warm_up,) = group["template"]["spec"]["initContainers"]
    command, of_warm_up = _parse(warm_up["args"])
    assert (command, of_warm_up.preset) == ("warm-up", [options.preset])


def test_commands_in_comments_exist():
    command = re.compile(r'^# .*?(?:  |")deeplab-gygo ([a-z-]+ [^"\n]+)', re.MULTILINE)
    found = [line for path in DEPLOY.iterdir() for line in command.findall(path.read_text())]
    assert found
    for line in found:
        command, _ = _parse(line.split())
        assert command == "batch-merge"

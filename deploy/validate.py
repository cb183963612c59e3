"""This script checks whether the files of a deployment agree with each other. It prints every disagreement, and exits with 1 if there is one."""

import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
TABLES = ["users", "posts", "follows", "comments", "likes"]
# These settings may differ between the forms of the connector. All other settings are the same in every form.
VARIES = re.compile(r"(key|value)\.converter|transforms|(schema|field)\.name\.adjustment\.mode")
problems: list[str] = []


def check(holds: bool, problem: str) -> None:
    if not holds:
        problems.append(problem)


def connectors() -> dict[str, dict[str, str]]:
    found = {path.stem: json.loads(path.read_text()) for path in sorted((DEPLOY / "debezium").glob("*.json"))}
    check(set(found) == {"nova", "nova-avro", "nova-flat"}, f"connectors: found {sorted(found)}")
    for name, config in found.items():
        check(all(isinstance(value, str) for value in config.values()), f"{name}: Connect wants every value as a string")
        tables = config["table.include.list"].split(",")
        check(sorted(tables) == sorted(f"public.{table}" for table in TABLES), f"{name}: other tables than nova's five")
        hidden = config["column.exclude.list"].split(",")
        for column in ("password_hash", "email"):
            check(f"public.users.{column}" in hidden, f"{name}: public.users.{column} is on the wire")
        route = config["transforms.route.regex"]
        topic = re.fullmatch(route, f"{config['topic.prefix']}.public.likes")
        routed = topic and config["transforms.route.replacement"].replace("$3", topic[3])
        check(routed == "cdc.likes", f"{name}: likes go to {routed}, not to cdc.likes")
        for side in ("key", "value"):
            if config[f"{side}.converter"].endswith("JsonConverter"):
                off = config.get(f"{side}.converter.replace.null.with.default")
                check(off == "false", f"{name}: {side}.converter.replace.null.with.default is on")
        secret = config["database.password"]
        check(secret.startswith("${"), f"{name}: database.password is in the file")
        same = {key: value for key, value in config.items() if not VARIES.match(key)}
        first = {key: value for key, value in found["nova"].items() if not VARIES.match(key)}
        for key in sorted(same.keys() | first.keys()):
            check(same.get(key) == first.get(key), f"{name}: {key} differs from nova.json")
    return found


def documented(config: dict[str, str], name: str) -> None:
    text = (ROOT / "docs" / "connector.md").read_text()
    for key in config:
        check(f"`{key}`" in text, f"docs/connector.md gives no reason for {key} ({name}.json)")


def compose(placeholder: str) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    told = re.search(r"NOVA_CDC_PLACEHOLDER: (\S+)", text)
    check(bool(told) and told[1] == placeholder, "docker-compose.yml: NOVA_CDC_PLACEHOLDER is not the connector's")
    for image in re.findall(r"^\s+image: (?:&\S+ )?([^*\s]\S*)", text, re.M):
        tag = image.partition(":")[2]
        check(bool(tag) and tag != "latest", f"docker-compose.yml: {image} is not pinned")
    for ports in re.findall(r"^\s+ports: (.*)", text, re.M):
        for port in json.loads(ports):
            check(port.startswith("127.0.0.1:"), f"docker-compose.yml: {port} is published beyond the loopback")
    try:
        import yaml
    except ImportError:
        print("skipped: YAML files (no PyYAML)")
        return
    for path in [ROOT / "docker-compose.yml", *DEPLOY.rglob("*.yml")]:
        list(yaml.safe_load_all(path.read_text()))
    services = yaml.safe_load(text)["services"]
    plain = {name for name, service in services.items() if not service.get("profiles")}
    check(plain == {"postgres", "nova"}, f"docker-compose.yml: without a profile it starts {sorted(plain)}")
    for name, service in services.items():
        needed = service.get("depends_on", {})
        for other, how in needed.items():
            missing = set(service.get("profiles", [None])) - set(services[other].get("profiles", [None]))
            free = not services[other].get("profiles") or how.get("required") is False
            check(free or not missing, f"docker-compose.yml: {name} needs {other}, which its profiles do not start")
    once = {"connector", "migrate", "avro-converter"}
    for name, service in services.items():
        check("restart" in service, f"docker-compose.yml: {name} has no restart policy")
        # The health check of nova is part of its image.
        if name not in once | {"nova"}:
            check("healthcheck" in service, f"docker-compose.yml: {name} has no health check")
        if name not in once:
            check("stop_grace_period" in service, f"docker-compose.yml: {name} has no stop_grace_period")
    alerts = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())["groups"][0]["rules"]
    operations = (ROOT / "docs" / "operations.md").read_text()
    for alert in alerts:
        check(f"`{alert['alert']}`" in operations, f"docs/operations.md does not say what to do about {alert['alert']}")


def kubernetes() -> None:
    """Checks that the manifest agrees with itself, with the image and with nova: names, ports, probes, the user, one replica."""
    try:
        import yaml
    except ImportError:
        print("skipped: deploy/kubernetes (no PyYAML)")
        return
    name = "deploy/kubernetes/nova.yml"
    documents = list(yaml.safe_load_all((ROOT / name).read_text()))
    kinds = {(document["kind"], document["metadata"]["name"]): document for document in documents}
    check(len(kinds) == len(documents), f"{name}: two objects have one name")
    spec = kinds["StatefulSet", "nova"]["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    config = kinds["ConfigMap", "nova"]["data"]["nova.toml"]
    for setting, port in [("listen", ports["http"]), ("admin_listen", ports["admin"])]:
        check(f'\n{setting} = ":{port}"' in config, f"{name}: {setting} is not the port {port}")
    check(spec["replicas"] == 1, f"{name}: a store has one process")
    check(("Service", spec["serviceName"]) in kinds, f"{name}: there is no Service {spec['serviceName']}")
    labels = spec["template"]["metadata"]["labels"]
    check(spec["selector"]["matchLabels"] == labels, f"{name}: the StatefulSet selects other pods than its own")
    for (kind, service), document in kinds.items():
        if kind != "Service":
            continue
        check(document["spec"]["selector"] == labels, f"{name}: {service} selects other pods")
        for port in document["spec"]["ports"]:
            check(ports.get(port["targetPort"]) == port["port"], f"{name}: {service} names a port that nova does not have")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        check(asked["port"] in ports, f"{name}: {probe} asks a port that is not there")
        check(asked["path"] in ("/health/live", "/health/ready"), f"{name}: {probe} asks {asked['path']}")
    image = (ROOT / "Dockerfile").read_text()
    user = pod["securityContext"]["runAsUser"]
    check(f"USER {user}:{user}" in image, f"{name}: the image's user is not {user}")
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = {volume["name"] for volume in pod["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]}
    check(set(mounts) == volumes, f"{name}: volumes {sorted(volumes)} are mounted as {sorted(mounts)}")
    check(f"NOVA_STORE_DATA_DIR={mounts['data']} " in image, f"{name}: the image's store is not below {mounts['data']}")
    check(container["securityContext"]["readOnlyRootFilesystem"] is True, f"{name}: the root file system can be written")
    check("memory" in container["resources"]["limits"], f"{name}: memory has no limit")


def schema() -> None:
    def statements(path: pathlib.Path) -> str:
        return " ".join(re.sub(r"--.*", "", path.read_text()).split())

    ours, tested = DEPLOY / "postgres" / "10-schema.sql", ROOT / "tests" / "fixtures" / "cdc" / "schema.sql"
    if tested.exists():
        check(statements(ours) == statements(tested), f"{ours.name} is not the schema that the captures were made with")


def dashboard() -> None:
    panels = json.loads((DEPLOY / "grafana" / "nova.json").read_text())["panels"]
    check(len({panel["id"] for panel in panels}) == len(panels), "nova.json: two panels have one id")
    source = (DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text()
    for panel in panels:
        uid = panel.get("datasource", {}).get("uid")
        check(uid is None or f"uid: {uid}\n" in source, f"nova.json: {panel['title']} asks {uid}, which nobody provides")


def main() -> int:
    found = connectors()
    for name, config in found.items():
        documented(config, name)
    compose(found["nova"]["unavailable.value.placeholder"])
    schema()
    kubernetes()
    dashboard()
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

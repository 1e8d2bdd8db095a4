"""Has the worker check all that the rendered pods ask of it: configurations and commands.

usage: configs.py WORKER RENDER.yaml …

Mounted files need not exist for that, and variables are those of the container.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

import yaml

PROGRAM = "/usr/local/bin/zerotouch-worker"


class Worker:
    def __init__(self, path):
        self.path = path

    def run(self, *args, env=None):
        return subprocess.run([self.path, *args], env=env, capture_output=True, text=True)

    def refuses_config(self, text, env):
        """What it says about a configuration, if it refuses it."""
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(text)
            file.flush()
            ran = self.run("check-config", "--config", file.name, env=env)
        return ran.returncode and f"{ran.stdout}{ran.stderr}\n{text}"

    def refuses_command(self, args):
        """What is unknown to it in a command: the subcommand, or one of the flags."""
        helped = self.run(*(arg for arg in args[:2] if not arg.startswith("-")), "--help")
        unknown = [a for a in args if a.startswith("--") and a not in helped.stdout]
        return (helped.returncode or unknown) and f"{unknown} of {args}"


def containers(document):
    """The worker's containers of a pod, with the pod's volumes by name."""
    pod = document.get("spec", {}).get("template", {}).get("spec", {})
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    for container in pod.get("initContainers", []) + pod.get("containers", []):
        if container.get("command") == [PROGRAM]:
            yield container, volumes


def commands(container):
    yield container["args"]
    hooks = [container.get(f"{when}Probe", {}) for when in ("startup", "liveness", "readiness")]
    hooks.append(container.get("lifecycle", {}).get("preStop", {}))
    for hook in hooks:
        if "exec" in hook:
            command = hook["exec"]["command"]
            assert command[0] == PROGRAM, command
            yield command[1:]


def faults(worker, render):
    """Of every container in a file, what the worker says against it; None where it is content."""
    documents = [d for d in yaml.safe_load_all(pathlib.Path(render).read_text("utf-8")) if d]
    maps = {d["metadata"]["name"]: d["data"] for d in documents if d["kind"] == "ConfigMap"}
    used = set()
    for document in documents:
        for container, volumes in containers(document):
            mount = next(m for m in container["volumeMounts"] if m["name"] == "zt-config")
            path = container["args"][container["args"].index("--config") + 1]
            assert path == f"{mount['mountPath']}/worker.toml", path
            name = volumes["zt-config"]["configMap"]["name"]
            used.add(name)
            env = {"PATH": os.environ["PATH"]}
            for variable in container.get("env", []):
                if variable["name"].startswith("ZEROTOUCH__"):
                    env[variable["name"]] = variable.get("value", "from-elsewhere")
            yield worker.refuses_config(maps[name]["worker.toml"], env)
            for args in commands(container):
                yield worker.refuses_command(args)
    unused = {name for name in maps if "worker.toml" in maps[name]} - used
    assert not unused, f"{render}: mounted by nothing: {unused}"


def main():
    worker = Worker(sys.argv[1])
    checked = failed = 0
    for render in sys.argv[2:]:
        for fault in faults(worker, render):
            checked += 1
            if fault:
                failed += 1
                print(f"{render}: {fault}", file=sys.stderr)
    print(f"{checked} configurations and commands, {failed} refused")
    sys.exit(failed != 0 or checked == 0)


main()

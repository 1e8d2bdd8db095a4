"""Writes JSON schemas for kubeconform, of Kubernetes and of custom resources.

usage: schemas.py kubernetes VERSION DIR     from PyPI's kubernetes-validate, VERSION such as 1.29
       schemas.py resources DIR CRD.yaml …   from definitions of custom resources

Kubeconform cannot resolve the package's absolute "$ref" and "$id": the first is made relative, the
second dropped. Definitions of custom resources let unknown fields pass, as the API server drops
them silently; here they are mistakes.
"""
import json
import pathlib
import sys


def kubernetes(version, folder):
    import kubernetes_validate

    package = pathlib.Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    out = folder / f"v{version}.0-standalone-strict"
    out.mkdir(parents=True, exist_ok=True)
    for file in (package / f"v{version}.0-local-strict").glob("*.json"):
        schema = json.loads(file.read_text("utf-8"))
        schema.pop("$id", None)
        text = json.dumps(schema).replace('"/api/_definitions.json', '"_definitions.json')
        (out / file.name).write_text(text, "utf-8")


def strict(schema):
    if isinstance(schema, list):
        return [strict(element) for element in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            out["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        out.pop("type", None)
        out["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    return out


def resources(folder, files):
    import yaml

    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        definition = yaml.safe_load(pathlib.Path(file).read_text("utf-8"))["spec"]
        kind = definition["names"]["kind"].lower()
        for version in definition["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            # Theirs says only that it is an object.
            schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
            (folder / f"{kind}-{version['name']}.json").write_text(json.dumps(schema), "utf-8")


if sys.argv[1] == "kubernetes":
    kubernetes(sys.argv[2], pathlib.Path(sys.argv[3]))
else:
    resources(pathlib.Path(sys.argv[2]), sys.argv[3:])

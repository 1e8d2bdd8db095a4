"""Keeps `config` of the chart's values.schema.json the same as the worker's own schema.

usage: values_schema.py WORKER_SCHEMA VALUES_SCHEMA [--update]

The worker's is of a newer draft; what older Helm would not understand is written differently or
left out: the worker checks it again when it starts. A key with nothing behind it is let through, so
that the templates can say what to do.
"""
import json
import pathlib
import sys

KEPT = {
    "type", "properties", "items", "additionalProperties", "enum", "minimum", "maximum",
    "minLength", "maxLength", "description", "required",
}


def converted(schema):
    out = {key: value for key, value in schema.items() if key in KEPT}
    choices = schema.get("oneOf", [])
    if choices and all("const" in choice for choice in choices):
        out["enum"] = [choice["const"] for choice in choices]
        # Of these, Helm's own message about a blank one says what may stand there.
        out.pop("type", None)
    elif set(schema) & {"$ref", "anyOf", "oneOf", "allOf", "patternProperties", "prefixItems"}:
        sys.exit(f"values_schema.py does not know how to convert {schema}")
    if "type" in out:
        types = out["type"]
        out["type"] = [*(types if isinstance(types, list) else [types]), "null"]
    if "description" in out:
        out["description"] = " ".join(out["description"].split())
    if "properties" in out:
        out["properties"] = {key: converted(value) for key, value in out["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(out.get(key), dict):
            out[key] = converted(out[key])
    return out


def main():
    worker = json.loads(pathlib.Path(sys.argv[1]).read_text("utf-8"))
    path = pathlib.Path(sys.argv[2])
    text = path.read_text("utf-8")
    values = json.loads(text)
    config = converted(worker)
    config["type"] = "object"
    config["description"] = "The worker's configuration, key by key as in its file."
    # Let through, so that the templates can say what to do instead.
    config["properties"]["admin"] = {"description": "Not to be set: use the chart's `admin`."}
    values["properties"]["config"] = config
    wanted = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    if "--update" in sys.argv[3:]:
        path.write_text(wanted, "utf-8")
    elif wanted != text:
        sys.exit(f"{path}: `config` is not what {sys.argv[1]} says; UPDATE=1 tests/chart/run writes it")


main()

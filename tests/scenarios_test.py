#!/usr/bin/python3
"""kube-proxy's recorded decisions (tests/data/README.md), asked of the program: `limpet explain -j` over a file of them.

    scenarios_test.py LIMPET [FILE ...]     default: the files in LIMPET_SCENARIOS (parted by ':'), else tests/data's

Each scenario's objects become a file that `kubernetes: {files: [...]}` names; every flow is asked. None is left out.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

DATA = pathlib.Path(__file__).resolve().parent / "data"
NODE_KEYS = ("name", "nodeIP", "addresses", "masqueradeAll", "nodePortAddresses", "localhostNodePorts", "serviceCIDRs")


def configuration(scenario, objects):
    """limpet.yaml: JSON is YAML."""
    given = scenario["node"]
    node = {key: given[key] for key in NODE_KEYS if given.get(key)}
    if given["podCIDRs"]:
        node["podCIDRs"] = given["podCIDRs"]
    if given.get("zone"):
        node["zone"] = given["zone"]
    if "serviceCIDRs" in given:
        node["compat"] = "nftables"
    return {"node": node, "kubernetes": {"files": [str(objects)]}}


def expected(flow):
    """As limpet says it: a health check port's packet is let in, which is none of its business."""
    expect = flow["expect"]
    action = "none" if expect["action"] == "accept" else expect["action"]
    return {"action": action, "endpoints": expect["endpoints"], "masquerade": expect["masquerade"]}


def ask(limpet, config, flow):
    done = subprocess.run([limpet, "explain", "-c", config, "--from", flow["from"], "--to", flow["to"], "--protocol",
                           flow["protocol"], "-j"], capture_output=True, text=True, timeout=30)
    if done.returncode != 0:
        return {"exit code": done.returncode, "stderr": done.stderr}
    said = json.loads(done.stdout)
    return {key: said[key] for key in ("action", "endpoints", "masquerade")}


def write_configuration(scenario, folder):
    """limpet.yaml and the file of objects that it names."""
    objects, config = folder / "objects.json", folder / "limpet.yaml"
    objects.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": scenario["objects"]}))
    config.write_text(json.dumps(configuration(scenario, objects)))
    return config


def check(limpet, scenario, folder):
    """The flows that were decided otherwise, in words; and how many were asked."""
    config = write_configuration(scenario, folder)
    wrong = []
    flows = scenario.get("flows", [])
    for flow in flows:
        said = ask(limpet, config, flow)
        if said != expected(flow):
            wrong.append(f"{scenario['name']} / {flow['name']}:\n  expected {expected(flow)}\n  limpet   {said}")
    return wrong, len(flows)


def main(limpet, *files, decided_by=check, what="flows asked"):
    """0 if `decided_by` (as check) finds nothing otherwise in any scenario."""
    named = files or [path for path in os.environ.get("LIMPET_SCENARIOS", "").split(":") if path]
    asked, wrong = 0, []
    for path in named or sorted(DATA.glob("kube_proxy_scenarios*.json")):
        for scenario in json.loads(pathlib.Path(path).read_text()):
            with tempfile.TemporaryDirectory() as folder:
                found, count = decided_by(limpet, scenario, pathlib.Path(folder))
            asked += count
            wrong += found
    print("\n".join(wrong))
    print(f"{asked} {what}, {len(wrong)} decided otherwise")
    return 0 if asked and not wrong else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

#!/usr/bin/python3
"""kube-proxy's recorded decisions (tests/data/README.md), asked of exported rules: `limpet rules export`, then `rules:`.

    exported_scenarios_test.py LIMPET [FILE ...]     default: as scenarios_test.py

Each scenario's configuration is exported, IPv4 and IPv6; `limpet explain -j` over the rules alone must decide every flow
as recorded. None is left out.
"""

import json
import subprocess
import sys

import scenarios_test


def rules_configuration(limpet, node, config, family, folder):
    """A configuration whose only services are the rules exported from `config`, or what went wrong."""
    done = subprocess.run([limpet, "rules", "export", "-c", config, "--family", family], capture_output=True, text=True,
                          timeout=30)
    if done.returncode != 0:
        raise RuntimeError(f"rules export: exit code {done.returncode}: {done.stderr}")
    rules, path = folder / f"exported{family}.rules", folder / f"rules{family}.yaml"
    rules.write_text(done.stdout)
    path.write_text(json.dumps({"node": node, "rules": {"file": str(rules)}}))
    return path


def check(limpet, scenario, folder):
    """The flows that were decided otherwise, in words; and how many were asked."""
    flows = scenario.get("flows", [])
    if not flows:
        return [], 0
    config = scenarios_test.write_configuration(scenario, folder)
    node = json.loads(config.read_text())["node"]
    exported = {family: rules_configuration(limpet, node, config, family, folder) for family in "46"}
    wrong = []
    for flow in flows:
        said = scenarios_test.ask(limpet, exported["6" if ":" in flow["from"] else "4"], flow)
        if said != scenarios_test.expected(flow):
            expected = scenarios_test.expected(flow)
            wrong.append(f"{scenario['name']} / {flow['name']}:\n  expected {expected}\n  rules    {said}")
    return wrong, len(flows)


if __name__ == "__main__":
    sys.exit(scenarios_test.main(*sys.argv[1:], decided_by=check, what="flows asked of exported rules"))

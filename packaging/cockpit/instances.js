// The instances of an app, grouped by generation.

import { h } from "./dom.js";
import { moment, percent, plural } from "./format.js";
import { card, label } from "./patternfly.js";
import { generations, readiness, stateTone, weightText } from "./status.js";

const ROLES = { new: ["New", "info"], old: ["Old", "neutral"], live: ["Live", "success"] };
const shown = value => (value === null || value === undefined ? "–" : String(value));

function columns(status) {
    const steered = status.routing === "steered";
    return [
        ["State", item => label(item.state, stateTone(item.state))],
        ["Since", item => (item.since ? h("time", { datetime: item.since }, moment(item.since)) : "–")],
        ...(steered ? [
            ["Weight", item => (item.weight === null ? "–" : percent(Math.round(item.weight * 10) / 10))],
            ["Open", item => shown(item.connections)],
            ["In flight", item => shown(item.in_flight)],
        ] : []),
        ["Restarts", item => shown(item.restarts)],
        ["PID", item => shown(item.main_pid || null)],
    ];
}

function group(status, { generation, instances, release, role, ready, share, standby }, cells) {
    const [text, tone] = standby ? ["Standby", "neutral"] : ROLES[role];
    const counted = standby ? plural(instances.length, "instance") : `${ready} of ${instances.length} ready`;
    const head = h("tr", { class: "group" }, h("th", { colspan: cells.length + 1, scope: "rowgroup" },
        h("span", { class: "group-title" }, generation === null ? "No generation" : `Generation ${generation}`), " ",
        label(text, tone), " ",
        h("span", { class: "quiet" }, counted, share && share.asked !== null ? ` · weight ${weightText(share)}` : ""),
        release ? h("span", { class: "path quiet" }, release) : ""));
    const rows = instances.flatMap(item => {
        const why = item.detail || item.probe_error;
        return [
            h("tr", { id: `instance-${item.instance}` },
                h("th", { scope: "row" }, `${status.app}@${item.instance}`),
                cells.map(([name, make]) => h("td", { "data-label": name }, h("span", {}, make(item))))),
            why && h("tr", { id: `why-${item.instance}`, class: "why" }, h("td", { colspan: cells.length + 1 }, why)),
        ].filter(Boolean);
    });
    return h("tbody", { id: `instances-${generation}` }, head, rows);
}

export function instancesCard(status) {
    const cells = columns(status);
    const names = ["Instance", ...cells.map(([name]) => name)];
    const aside = h("span", { class: "quiet" }, `${readiness(status)} ready`);
    if (status.instances.length === 0)
        return card("instances", "Instances", {}, h("p", { class: "quiet" }, "No instance runs."));
    return card("instances", "Instances", { aside },
        h("table", { class: "grid", "aria-labelledby": "instances-title" },
            h("thead", {}, h("tr", {}, names.map(name => h("th", { scope: "col" }, name)))),
            generations(status).map(item => group(status, item, cells))));
}

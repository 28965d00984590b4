// The page of all apps: a table with one line for each.

import { h } from "./dom.js";
import { label, pf } from "./patternfly.js";
import { health, neverDeployed, phase, progress, readiness } from "./status.js";

function rollout(status) {
    if (status.rollout === null)
        return "–";
    const { ready, desired } = progress(status);
    const { text, tone } = phase(status.rollout);
    return [label(text, tone), h("span", { class: "count" }, ` ${ready} of ${desired} new`)];
}

function row(status) {
    const { text, tone } = health(status);
    const cell = (name, ...content) => h("td", { "data-label": name }, h("span", {}, ...content));
    return h("tr", { id: `app-${status.app}` },
        h("th", { scope: "row" }, h("a", { href: `#/${status.app}` }, status.app)),
        cell("Health", label(text, tone)),
        cell("Ready", neverDeployed(status) ? "–" : readiness(status)),
        cell("Generation", status.generation === null ? "–" : String(status.generation)),
        h("td", { "data-label": "Rollout", class: status.rollout ? "wide" : null }, h("span", {}, rollout(status))),
        h("td", { "data-label": "Release", class: "path" }, h("span", {}, status.release ?? "–")));
}

export function appsList(state) {
    const apps = [...state.apps.values()].sort((one, other) => one.app.localeCompare(other.app));
    const head = ["App", "Health", "Ready", "Generation", "Rollout", "Release"];
    if (apps.length === 0)
        return [h("h1", {}, "Deployments"), h("div", { class: pf("card", "empty") },
            h("h2", {}, "No apps yet"),
            h("p", {}, "An app is a file in /etc/deployd/apps. ", h("code", {}, "deployd init"), " writes it."))];
    return [
        h("h1", {}, "Deployments"),
        h("div", { class: pf("card", "panel") }, h("table", { class: "grid", "aria-label": "Apps" },
            h("thead", {}, h("tr", {}, head.map(text => h("th", { scope: "col" }, text)))),
            h("tbody", {}, apps.map(row)))),
        h("p", { class: "quiet" }, `deployd ${state.version}`),
    ];
}

// The page of one app: what it is, what it does, its instances and its history.

import { NAMES } from "./actions.js";
import { h } from "./dom.js";
import { moment, sentence } from "./format.js";
import { historyCard } from "./history.js";
import { instancesCard } from "./instances.js";
import { alert, button, label, pf } from "./patternfly.js";
import { rolloutCard } from "./rollout.js";
import { actions, drift, health, readiness, warnings } from "./status.js";

const buttons = status => actions(status).map(name => {
    const [text, kind] = NAMES[name];
    return button(text, { id: `action-${name}`, "data-action": name }, kind);
});

function facts(status) {
    const { watch, standby } = status;
    const line = (name, ...content) => h("div", {}, h("dt", {}, name), h("dd", {}, ...content));
    const routing = status.choice ? `${status.routing}, ${status.choice}` : status.routing;
    return h("dl", { class: "facts" },
        line("Generation", String(status.generation ?? "–")),
        line("Release", h("span", { class: "path" }, status.release ?? "–")),
        line("Ready", readiness(status)),
        line("Addresses", status.addresses.map(item => item.address).join(", ") || "–"),
        line("Routing", routing),
        watch && !watch.failed && line("Watched until", h("time", { datetime: watch.until }, moment(watch.until)),
            watch.returns_to === null ? "" : `; a failure returns to generation ${watch.returns_to}`),
        standby && line("Standby", `generation ${standby.generation}`,
            standby.until ? [" until ", h("time", { datetime: standby.until }, moment(standby.until))] : ""));
}

export function appPage(state, name) {
    const status = state.apps.get(name);
    const trail = h("nav", { "aria-label": "Breadcrumb", class: "trail" },
        h("a", { href: "#/" }, "Deployments"), h("span", { "aria-hidden": "true" }, " / "),
        h("span", { "aria-current": "page" }, name));
    if (status === undefined)
        return [trail, h("h1", {}, name), h("p", {}, `There is no app ${name}.`)];
    const { text, tone } = health(status);
    const inProgress = status.rollout !== null;
    const notes = [...warnings(status), ...drift(status, state.changes.get(name))];
    return [
        trail,
        h("header", { class: "app-head" },
            h("h1", {}, name), label(text, tone),
            !inProgress && h("div", { class: "buttons", role: "group", "aria-label": "Actions" }, buttons(status))),
        h("div", { id: "notice", "aria-live": "assertive" },
            state.notice && alert("danger", state.notice,
                button("Dismiss", { id: "dismiss", "data-action": "dismiss" }, "link"))),
        h("div", { id: "warnings" }, notes.map(item => alert(item.tone, sentence(item.text)))),
        rolloutCard(status, state.events.get(name) ?? [], state.received.get(name), buttons(status)),
        h("section", { class: pf("card", "overview"), "aria-label": "Overview" }, facts(status)),
        instancesCard(status),
        historyCard(state.histories.get(name), status),
    ].filter(Boolean);
}

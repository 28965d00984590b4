// The rollout in progress: its phase, progress, weights and events as they happen.

import { drawn, h } from "./dom.js";
import { arrow, describe } from "./events.js";
import { moment, sentence } from "./format.js";
import { alert, button, card, label, toneIcon } from "./patternfly.js";
import { generations, phase, progress, standing, weights, weightText } from "./status.js";

function meter(status) {
    const { ready, desired, goal } = progress(status);
    const name = goal === null ? "Ready instances" : `Ready instances of generation ${goal}`;
    return h("progress", { max: Math.max(desired, 1), value: ready, "aria-label": name }, `${ready} of ${desired}`);
}

function releases(status) {
    const { from, to } = status.rollout;
    const known = new Map(generations(status).map(item => [item.generation, item.release]));
    const paths = [from, to].map(number => known.get(number)).filter(Boolean);
    return paths.length > 0 && h("p", { class: "path quiet" }, paths.join(" → "));
}

/* deployd sends signals when something happens, and connections are nothing that happens: measured again on request.
   The bar is a drawing of the list below it, which has the figures. Its widths are attributes, since Cockpit allows no
   inline styles. */
function weightBar(status, received) {
    const shares = weights(status);
    if (shares.length < 2)
        return null;
    const kind = share => (share.generation === status.rollout.to ? "new" : "old");
    const before = index => shares.slice(0, index).reduce((sum, share) => sum + share.shown, 0);
    const parts = shares.map((share, index) =>
        drawn("rect", { class: kind(share), x: before(index), y: 0, width: share.shown, height: 4 }));
    const frame = { class: "bar", viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" };
    return h("div", { class: "weights" },
        h("div", { class: "weights-head" },
            h("h3", {}, "Weights"),
            h("span", { class: "quiet" }, "at ", h("time", { datetime: received.toISOString() }, moment(received))),
            button("Measure again", { id: "action-measure", "data-action": "measure" }, "link pf-m-inline")),
        drawn("svg", frame, ...parts),
        h("ul", { class: "legend" }, shares.map(share =>
            h("li", {}, h("span", { class: `swatch ${kind(share)}`, "aria-hidden": "true" }),
                h("strong", {}, `Generation ${share.generation}`), ` ${weightText(share)}`))));
}

function log(events) {
    const items = events.map(event => [event, describe(event)]).filter(([, shown]) => shown !== null);
    const rows = items.map(([event, { text, tone, time }]) =>
        h("li", { id: `event-${event.time}-${event.event}-${event.instance ?? ""}`, class: `tone-${tone}` },
            toneIcon(tone), h("time", { datetime: time }, moment(time)), h("span", {}, sentence(text))));
    return h("ol", { class: "log", role: "log", "aria-live": "polite", "aria-label": "Events" }, rows);
}

/* null while there is neither a rollout nor an event of one that has ended since the page was opened. */
export function rolloutCard(status, events, received, buttons) {
    const { rollout } = status;
    if (rollout === null)
        return events.length === 0 ? null : card("rollout", "Last rollout", {}, log(events));
    const { text, tone } = phase(rollout);
    const { ready, desired } = progress(status);
    const failure = rollout.failure;
    return card("rollout", `Rollout ${arrow(rollout)}`, { aside: label(text, tone), class: "rollout" },
        releases(status),
        h("div", { class: "progress" }, meter(status), h("span", { class: "count" }, `${ready} of ${desired}`)),
        h("p", { class: "standing" }, sentence(standing(status))),
        failure && alert("danger", sentence(failure.reason)),
        h("div", { class: "buttons", role: "group", "aria-label": "Rollout" }, buttons),
        weightBar(status, received),
        log(events));
}

// What a rollout would do, before it is begun: the document of `deployd plan`.

import { h } from "./dom.js";
import { percent, plural, sentence } from "./format.js";

/* The actions as sentences; runs of the same kind are one. Pure. */
export function steps(plan) {
    const found = [];
    for (const action of plan.actions) {
        const last = found.at(-1);
        if (action.action === "pause")
            found.push({ kind: "pause", action });
        else if (last?.kind === "replace")
            last.actions.push(action);
        else
            found.push({ kind: "replace", actions: [action] });
    }
    return found.map(step => (step.kind === "pause" ? pause(step.action) : replace(step.actions)));
}

function pause({ new: count, canary, share, ready, preview, smoke }) {
    if (smoke)
        return `Run the smoke tests with ${plural(count, "new instance")}, ${ready} ready`;
    const instances = plural(count, "new instance");
    if (preview)
        return `Pause with ${instances} that no client reaches, ${ready} ready, until it is resumed`;
    const weight = share === null ? "" : ` with ${percent(Math.round(share * 1000) / 10)} of new connections`;
    const among = canary ? " alongside all old ones" : "";
    return `Pause with ${plural(count, "new instance")}${among}${weight}, ${ready} ready, until it is resumed`;
}

const VERBS = { start: "start", adopt: "keep", thaw: "wake", stop: "stop", freeze: "put into standby" };

function replace(actions) {
    const parts = Object.entries(VERBS)
            .map(([name, verb]) => [verb, actions.filter(item => item.action === name)])
            .filter(([, items]) => items.length > 0)
            .map(([verb, items]) => `${verb} ${plural(items.length, "instance")} of ${generationsOf(items)}`);
    return sentence(parts.join(", "));
}

const generationsOf = items => `generation ${[...new Set(items.map(item => item.generation))].join(" and ")}`;

const value = text => (text === null ? h("span", { class: "quiet" }, "not shown") : h("code", {}, String(text)));

function change({ key, change, before, after }) {
    const values = { added: [value(after)], removed: [value(before)], changed: [value(before), " → ", value(after)] };
    return h("li", {}, h("strong", {}, key), ` ${change}: `, values[change]);
}

export function planView(plan) {
    const lowest = plan.actions.length === 0
        ? "Nothing would change."
        : `At least ${plan.floor} ready and at most ${plan.ceiling} running instances on the way.`;
    return h("div", { class: "plan" },
        h("h3", {}, plan.from === null ? `Generation ${plan.to}` : `Generation ${plan.from} → ${plan.to}`),
        h("p", { class: "path" }, plan.from_release === null || plan.from_release === plan.release
            ? plan.release
            : `${plan.from_release} → ${plan.release}`),
        plan.changes.length > 0 && [h("h4", {}, "Settings that change"), h("ul", {}, plan.changes.map(change))],
        plan.actions.length > 0 && h("h4", {}, "Steps"),
        h("ol", {}, steps(plan).map(text => h("li", {}, text))),
        h("p", {}, lowest));
}

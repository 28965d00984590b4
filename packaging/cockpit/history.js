// The generations of an app: what each was, how it ended, and why.

import { h } from "./dom.js";
import { duration, moment, plural, sentence } from "./format.js";
import { button, card, label } from "./patternfly.js";
import { result } from "./status.js";

function journal(failure) {
    if (!failure || !failure.journal_lines)
        return null;
    const lines = plural(failure.journal_lines, "line");
    if (failure.journal.length === 0)
        return h("p", { class: "quiet" }, `${lines} in the journal, which you may not read`);
    return h("details", {},
        h("summary", {}, `Last ${lines} of its journal`),
        h("pre", { tabindex: 0 }, failure.journal.join("\n")));
}

// Of all process types; `processes` has those other than web.
function counted(item) {
    const types = [item, ...Object.values(item.processes)];
    const [replaced, adopted] = ["replaced", "adopted"].map(key => types.flatMap(type => type[key]).length);
    return adopted > 0 ? `${replaced} (${adopted} adopted)` : String(replaced);
}

function rows(item, current, busy) {
    const { text, tone } = result(item.result);
    const cell = (name, ...content) => h("td", { "data-label": name }, h("span", {}, ...content));
    const back = item.generation !== current && item.result !== "running" && !busy &&
        button("Roll back to this", {
            id: `back-${item.generation}`,
            "data-action": "rollback",
            "data-generation": item.generation,
            "aria-label": `Roll back to generation ${item.generation}`,
        }, "link pf-m-inline");
    const taken = item.taken_back_by === null ? "" : `; replaced by generation ${item.taken_back_by}`;
    const reason = item.reason || item.failure?.reason || "";
    return h("tbody", { id: `generation-${item.generation}` },
        h("tr", {},
            h("th", { scope: "row", "data-label": "Generation" }, h("span", {}, String(item.generation))),
            cell("Result", label(text, tone)),
            cell("Cause", item.cause === "watch" ? "failed watch" : item.cause),
            cell("Started", h("time", { datetime: item.started }, moment(item.started))),
            cell("Took", item.duration === null ? "–" : duration(item.duration)),
            cell("Replaced", counted(item)),
            h("td", { "data-label": "Release", class: "path" }, h("span", {}, item.release)),
            h("td", { class: "row-action" }, back)),
        (reason || taken) && h("tr", { class: "why" }, h("td", { colspan: 8 },
            h("p", {}, sentence(`${reason}${taken}`.replace(/^; /, ""))), journal(item.failure))));
}

export function historyCard(history, status) {
    if (!history)
        return card("history", "History", {}, h("p", { class: "quiet" }, "Reading the history …"));
    if (history.history_error)
        return card("history", "History", {}, h("p", {}, sentence(history.history_error)));
    if (history.generations.length === 0)
        return card("history", "History", {}, h("p", { class: "quiet" }, "Nothing was rolled out yet."));
    const head = ["Generation", "Result", "Cause", "Started", "Took", "Replaced", "Release", ""];
    const busy = status.rollout !== null;
    return card("history", "History", {},
        h("table", { class: "grid history", "aria-labelledby": "history-title" },
            h("thead", {}, h("tr", {}, head.map(text =>
                text ? h("th", { scope: "col" }, text) : h("td", {})))),
            history.generations.map(item => rows(item, status.generation, busy))),
        history.more && button("Show older", { id: "older", "data-action": "older" }, "link pf-m-inline"));
}

// The dialog that begins a rollout: which release, with or without a canary, and the plan for it.

import { ask, field } from "./dialogs.js";
import { h } from "./dom.js";
import { alert } from "./patternfly.js";
import { planView } from "./plan.js";

/* The options of Rollout and Plan in the form. Raises an Error with a sentence. Pure but for reading the form. */
export function chosen({ release, canary }) {
    const options = {};
    if (release.trim())
        options.release = ["s", release.trim()];
    const text = canary.trim();
    if (text === "")
        return options;
    const share = /^(\d+(?:\.\d+)?)\s*%$/.exec(text);
    if (share && Number(share[1]) > 0 && Number(share[1]) <= 100)
        options.canary_share = ["d", Number(share[1]) / 100];
    else if (/^[1-9]\d*$/.test(text))
        options.canary = ["u", Number(text)];
    else
        throw new Error("Canary is a number of instances, such as 1, or a weight, such as 5%");
    return options;
}

const read = form => chosen({ release: form.release.value, canary: form.canary.value });

/* Show the plan for what the form says, again when a field is left or Enter is pressed in it. Only the answer to the
   last question is shown. `confirm` waits for it, so Enter in a field asks for its plan first. */
function showPlans(bus, app, form, place, confirm) {
    let latest = 0;
    let stale = true;
    async function show() {
        if (!stale)
            return;
        stale = false;
        const mine = ++latest;
        place.setAttribute("aria-busy", "true");
        let view;
        try {
            view = planView(await bus.plan(app, read(form)));
        } catch (error) {
            view = alert("warning", error.message);
        }
        if (mine !== latest || stale)
            return;
        place.replaceChildren(view);
        place.removeAttribute("aria-busy");
        confirm.disabled = false; // also after an error: who may not see a plan may yet be allowed to roll out
    }
    form.addEventListener("input", () => {
        stale = true;
        confirm.disabled = true;
    });
    form.addEventListener("focusout", show);
    form.addEventListener("change", show); // a suggestion was chosen
    form.addEventListener("keydown", event => event.key === "Enter" && show());
    confirm.disabled = true;
    show();
}

export async function startDialog(bus, status) {
    const { app } = status;
    const known = h("datalist", { id: "releases" });
    const input = (id, more) => h("input", { id, name: id, autocomplete: "off", spellcheck: "false", ...more });
    const release = input("release", { list: "releases", placeholder: "as the app file says" });
    const canary = input("canary", { placeholder: "none" });
    const live = { role: "region", "aria-label": "Plan", "aria-live": "polite" };
    const place = h("div", { id: "plan", class: "plan-place", ...live });
    const steered = status.routing === "steered";
    const form = ask({
        title: `Roll out ${app}`,
        confirm: "Roll out",
        wide: true,
        body: [
            field("Release", release, "A directory. Empty: what the app file says now."),
            field("Canary", canary, steered
                ? "Instances, such as 1, or a weight, such as 5%, to try first. Empty: all instances."
                : "Instances to try first, such as 1. Empty: all instances."),
            known, place,
        ],
        run: form => bus.rollout(app, read(form)),
    });
    showPlans(bus, app, form, place, form.querySelector("#dialog-confirm"));
    try {
        const { releases } = await bus.releases(app);
        const there = releases.filter(item => item.state !== "missing");
        known.append(...there.map(item => h("option", { value: item.release })));
    } catch {
        // Only suggestions: any directory can be typed.
    }
}

// What the buttons do: a question where an action cannot be undone easily, then the call.

import { ask, check, field } from "./dialogs.js";
import { h } from "./dom.js";
import { startDialog } from "./start.js";

const irreversible = (history, number) =>
    history?.generations.some(item => item.generation === number && item.irreversible) ?? false;

const past = () => check("past", "Even past an irreversible release: a rollback does not undo what it has changed");

function rollback(bus, status, history, to) {
    const risky = irreversible(history, status.generation);
    const where = to === 0 ? "the last good generation before the current one" : `generation ${to}`;
    ask({
        title: `Roll back ${status.app}?`,
        body: [
            h("p", {}, `Release and settings of ${where} are rolled out as a new generation. `,
                "All of its instances boot at the same time, as far as memory allows."),
            risky && past(),
        ],
        confirm: "Roll back",
        danger: true,
        run: form => bus.rollback(status.app, to, form.past?.checked),
    });
}

function abort(bus, status, history) {
    const { from, to } = status.rollout;
    const back = from === null
        ? "What it has started is removed."
        : `Its instances are replaced by those of generation ${from}, with as few restarts as possible.`;
    ask({
        title: `Abort the rollout of ${status.app}?`,
        body: [h("p", {}, `Generation ${to} is rolled back. ${back}`), irreversible(history, to) && past()],
        confirm: "Abort rollout",
        danger: true,
        run: form => bus.abort(status.app, form.past?.checked),
    });
}

function weight(bus, status) {
    const { to } = status.rollout;
    const now = status.shares.find(share => share.generation === to)?.asked;
    const limits = { type: "number", min: 0, max: 100, step: "any", required: true };
    const input = h("input", { id: "weight", name: "weight", value: now ?? "", ...limits });
    ask({
        title: `Weight of generation ${to}`,
        body: [field("Percentage of new connections", input,
            "The other generation gets the rest, until the rollout is resumed, rolled back or finished.")],
        confirm: "Set weight",
        run: form => bus.weight(status.app, to, form.weight.valueAsNumber / 100),
    });
}

function apply(bus, status) {
    ask({
        title: `Deploy ${status.app}?`,
        body: [h("p", {}, "Its units and sockets are installed, and its instances are started, as the app file says.")],
        confirm: "Deploy",
        run: () => bus.apply(status.app),
    });
}

export const NAMES = {
    apply: ["Deploy", "primary"],
    rollout: ["Roll out", "primary"],
    rollback: ["Roll back", "secondary"],
    accept: ["Stop watching", "secondary"],
    pause: ["Pause", "secondary"],
    resume: ["Resume", "primary"],
    weight: ["Set weight", "secondary"],
    abort: ["Abort", "secondary pf-m-danger"],
};

/* Do what a button says. Raises BusError for actions without a dialog, which shows its own errors. */
export async function perform(action, bus, status, history, generation) {
    switch (action) {
    case "apply":
        return apply(bus, status);
    case "rollout":
        return startDialog(bus, status);
    case "rollback":
        return rollback(bus, status, history, generation);
    case "abort":
        return abort(bus, status, history);
    case "weight":
        return weight(bus, status);
    case "pause":
        return bus.pause(status.app);
    case "resume":
    case "accept":
        return bus.resume(status.app);
    }
}

// What the page calls on the bus: each of its methods once, with a cockpit.js that only writes down.

import { Bus, readable } from "./bus.js";

const canary = { release: ["s", "/srv/v2"], canary: ["u", 1], canary_share: ["d", 0.05] };
const ARGUMENTS = {
    status: ["demo"],
    history: ["demo"],
    historyBefore: ["demo", 3],
    changes: ["demo"],
    releases: ["demo"],
    plan: ["demo", canary],
    apply: ["demo"],
    rollout: ["demo", canary],
    rollback: ["demo", 2, true],
    pause: ["demo"],
    resume: ["demo"],
    abort: ["demo", true],
    weight: ["demo", 4, 0.2],
};

export async function calls() {
    const found = [];
    const client = {
        subscribe: ({ interface: name, member }) => found.push({ interface: name, member }),
        addEventListener: () => {},
        call: async (path, name, member, values, { type }) => {
            found.push({ path, interface: name, member, values, type });
            return member === "ListApps" ? [[["demo", "/org/deployd1/app/demo"]]] : ["{}"];
        },
    };
    const bus = new Bus({ dbus: () => client, permission: () => ({ allowed: true, addEventListener: () => {} }) }, {});
    await bus.describe();
    for (const [name, values] of Object.entries(ARGUMENTS))
        await bus[name](...values);
    return found;
}

export const sentence = (error, administrator) => readable(error, administrator).message;

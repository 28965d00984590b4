// What a status document of deployd(1) means: health, progress, generations, and what can be done. Pure.

const HEALTH = {
    ok: { text: "OK", tone: "success" },
    degraded: { text: "Degraded", tone: "warning" },
    down: { text: "Down", tone: "danger" },
    stopped: { text: "Stopped", tone: "neutral" },
};

const PHASES = {
    rolling: { text: "Rolling out", tone: "info" },
    "rolling-back": { text: "Rolling back", tone: "warning" },
    paused: { text: "Paused", tone: "warning" },
};

const RESULTS = {
    running: { text: "Running", tone: "info" },
    succeeded: { text: "Succeeded", tone: "success" },
    failed: { text: "Failed", tone: "danger" },
    "rolled-back": { text: "Rolled back", tone: "danger" },
    superseded: { text: "Superseded", tone: "neutral" },
    aborted: { text: "Aborted", tone: "neutral" },
};

const STATES = {
    ready: "success",
    starting: "info",
    stopping: "neutral",
    draining: "neutral",
    standby: "neutral",
    inactive: "neutral",
    failed: "danger",
    unreachable: "danger",
};

const ENDED_BADLY = { failed: "failed", "rolled-back": "was rolled back" };

export const neverDeployed = status => status.generation === null && status.rollout === null;

export function health(status) {
    if (neverDeployed(status))
        return { text: "Not deployed", tone: "neutral" };
    return HEALTH[status.health] ?? { text: status.health, tone: "neutral" };
}

export const phase = rollout => PHASES[rollout.phase] ?? { text: rollout.phase, tone: "info" };
export const result = name => RESULTS[name] ?? { text: name, tone: "neutral" };
export const stateTone = state => STATES[state] ?? "neutral";

/* How many instances are ready, those of a rollout that are above the desired number apart. */
export function readiness({ ready, desired }) {
    return `${Math.min(ready, desired)} of ${desired}${ready > desired ? ` and ${ready - desired} more` : ""}`;
}

/* How far the rollout in progress is: ready instances of the generation that it leads to now. */
export function progress(status) {
    const { phase, from, to } = status.rollout;
    const goal = phase === "rolling-back" ? from : to;
    const ready = status.instances.filter(item => item.generation === goal && item.ready).length;
    return { goal, ready: Math.min(ready, status.desired), desired: status.desired };
}

/* One sentence about the rollout in progress. */
export function standing(status) {
    const { rollout } = status;
    const { goal, ready, desired } = progress(status);
    if (rollout.phase === "paused")
        return [rollout.reason, `waits for ${rollout.waits_for}`].filter(Boolean).join("; ");
    if (goal === null)
        return "removing the failed first deployment";
    const counted = `${ready} of ${desired} instances of generation ${goal} are ready`;
    return rollout.reason ? `${counted}; ${rollout.reason}` : counted;
}

function role(status, generation) {
    const { rollout } = status;
    if (rollout === null)
        return generation === status.generation ? "live" : "old";
    return generation === rollout.to ? "new" : "old";
}

/* The instances by generation, newest first; those without a generation come last. */
export function generations(status) {
    const groups = new Map();
    for (const instance of status.instances) {
        const group = groups.get(instance.generation) ?? [];
        group.push(instance);
        groups.set(instance.generation, group);
    }
    const shares = new Map(status.shares.map(share => [share.generation, share]));
    return [...groups].sort(([one], [other]) => (other ?? -1) - (one ?? -1)).map(([generation, instances]) => ({
        generation,
        instances,
        release: instances[0].release,
        role: generation === null ? "old" : role(status, generation),
        ready: instances.filter(item => item.ready).length,
        standby: instances.every(item => item.state === "standby"),
        share: shares.get(generation) ?? null,
    }));
}

/* The width of each generation in the bar of weights: as set, or as measured where the least busy instance decides. */
export function weights(status) {
    const known = status.shares.map(share => ({ ...share, shown: share.asked ?? share.seen }));
    return known.filter(share => share.shown !== null);
}

export function weightText(share) {
    const seen = share.seen === null ? "" : `${share.seen.toFixed(1)} % measured`;
    if (share.asked === null)
        return seen || "no connections yet";
    return [`${Number(share.asked.toFixed(1))} % set`, seen].filter(Boolean).join(", ");
}

/* The names of the actions that make sense now, in the order of their buttons. */
export function actions(status) {
    const { rollout, watch } = status;
    if (status.history_error !== null)
        return [];
    if (rollout === null) {
        if (status.generation === null)
            return ["apply"];
        return ["rollout", "rollback", ...(watch !== null && !watch.failed ? ["accept"] : [])];
    }
    const both = rollout.from !== null && rollout.phase !== "rolling-back" && !rollout.holds[0]?.preview;
    const weight = status.routing === "steered" && both;
    const first = rollout.phase === "paused" ? "resume" : "pause";
    const last = rollout.phase === "rolling-back" ? [] : ["abort"];
    return [first, ...(weight ? ["weight"] : []), ...last];
}

/* Sentences about how the app file differs from what is live; none in a rollout, or for those who may not read it. */
export function drift(status, changes) {
    if (!changes)
        return [];
    if (changes.error)
        return [{ tone: "warning", text: `the app file is invalid: ${changes.error}` }];
    if (status.rollout !== null || changes.generation === null)
        return [];
    const texts = [];
    if (changes.changes.length > 0)
        texts.push(`the app file has changed since generation ${changes.generation}: ` +
            changes.changes.map(item => item.key).join(", "));
    if (changes.release && changes.release !== status.release)
        texts.push(`the release of the app file leads to ${changes.release} now`);
    return texts.map(text => ({ tone: "info", text }));
}

/* Sentences about what an administrator should look at, each with its tone. */
export function warnings(status) {
    const found = [];
    const add = (tone, text) => found.push({ tone, text });
    if (status.history_error)
        add("danger", status.history_error);
    for (const address of status.addresses)
        if (address.reason)
            add(address.open ? "warning" : "danger", `${address.address}: ${address.reason}`);
    if (status.last_failure)
        add("danger", `the first deployment came to nothing: ${status.last_failure.reason}`);
    const last = status.last_rollout;
    if (last && !status.last_failure && last.result in ENDED_BADLY)
        add("danger", `generation ${last.generation} ${ENDED_BADLY[last.result]}: ${last.reason}`);
    if (status.watch?.failed)
        add("danger", `generation ${status.watch.generation} failed, and stays live: ${status.watch.reason}`);
    if (status.steering_reason)
        add("info", status.steering_reason);
    return found;
}

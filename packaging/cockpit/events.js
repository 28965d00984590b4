// An event of a rollout as a sentence. Pure.

import { duration, moment, plural } from "./format.js";

const which = event => `instance ${event.instance} of generation ${event.generation}`;
const because = event => (event.reason ? `: ${event.reason}` : "");

const INSTANCE = {
    starting: "starts",
    ready: "is ready",
    stopping: "stops",
    draining: "finishes what it has begun",
    stopped: "has stopped",
    failed: "failed",
    adopted: "is kept: nothing that concerns it has changed",
    freezing: "goes into standby",
    thawing: "leaves standby",
};
const BAD = new Set(["failed", "missing", "unused"]);

const SENTENCES = {
    started: event => `rollout ${arrow(event)} started (${event.cause})`,
    instance: event => `${which(event)} ${INSTANCE[event.state] ?? event.state}${because(event)}`,
    probe: event => `${which(event)} is ready, but its probe fails${because(event)}`,
    waiting: event => `waits${because(event)}`,
    listener: event => `${which(event)}${because(event)}`,
    hook: event => `hook ${event.hook} ${event.state}: ${[event.command].flat().join(" ")}`,
    smoke: event => `smoke test ${event.command} of instance ${event.instance} ${event.state}`,
    analysis: event => `analysis ${event.state}${because(event)}`,
    warning: event => event.reason,
    "failed-gate": event => event.reason,
    "rolling-back": event => `rolling back${because(event)}`,
    paused: event => ["paused", event.reason, `waits for ${event.waits_for}`].filter(Boolean).join("; "),
    resumed: () => "resumed",
    address: event => `${event.address} ${event.open ? "is open again" : "is closed"}${because(event)}`,
    closing: event => event.reason,
    watch: watched,
    "taken-back": event => `generation ${event.generation} was replaced by ${event.by}${because(event)}`,
    "crash-loop": event => `${which(event)} crashes${because(event)}`,
    finished,
};

function watched(event) {
    if (event.state === "started")
        return `generation ${event.generation} is watched until ${moment(event.until)}`;
    if (event.state === "accepted")
        return `generation ${event.generation} was accepted: it is no longer watched`;
    return `the watch of generation ${event.generation} ${event.state}${because(event)}`;
}

function finished(event) {
    const counted = `${plural(event.replaced.length, "instance")} replaced, ${event.adopted.length} adopted`;
    const took = event.duration === null ? "" : `, ${duration(event.duration)}`;
    return `generation ${event.generation} ${event.result}${because(event)}; ${counted}${took}`;
}

export function arrow({ from, to }) {
    return from === null ? `to generation ${to}` : `${from} → ${to}`;
}

function tone(event) {
    if (event.event === "finished")
        return event.result === "succeeded" ? "success" : "danger";
    if (event.event === "failed-gate" || event.event === "crash-loop" || BAD.has(event.state))
        return "danger";
    if (["probe", "warning", "rolling-back", "paused", "taken-back"].includes(event.event) || event.open === false)
        return "warning";
    return event.state === "ready" ? "success" : "info";
}

/* The text, tone and time of an event, or null for one that this page does not know. */
export function describe(event) {
    const make = SENTENCES[event.event];
    return make === undefined ? null : { text: make(event), tone: tone(event), time: event.time };
}

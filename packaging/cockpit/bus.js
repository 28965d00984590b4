// org.deployd1(5) by cockpit.js: calls, signals, and errors as sentences.

import { sentence } from "./format.js";

const NAME = "org.deployd1";
const ROOT = "/org/deployd1";
const MANAGER = "org.deployd1.Manager";
const APP = "org.deployd1.App";

/* An error of a call, for people. `name` is that of D-Bus, or cockpit's problem. */
export class BusError extends Error {
    constructor(name, message) {
        super(message);
        this.name = name;
    }
}

const PROBLEMS = {
    "not-found": "the daemon is not running, and could not be started; see: systemctl status deployd",
    "access-denied": "you have no access to org.deployd1",
    disconnected: "the connection to this machine is lost",
};

/* The first line of an error of cockpit.js, without the advice that is meant for a terminal. Pure. */
export function readable(error, administrator, app = "") {
    const name = error.name || error.problem || "";
    const first = (PROBLEMS[error.problem] ?? error.message ?? String(error)).split("\n")[0];
    const denied = name.endsWith(".AccessDenied");
    const text = denied ? first.replace(/; try again with sudo.*$/, "") : first;
    const hint = denied && !administrator ? "; turn on administrative access at the top of the page" : "";
    return new BusError(name, sentence(text + hint, app));
}

/* Options of a method, a{sv}: each value is [signature, value]; what is undefined is left out. Pure. */
export function options(values) {
    const given = Object.entries(values).filter(([, pair]) => pair !== undefined);
    return Object.fromEntries(given.map(([name, [t, v]]) => [name, { t, v }]));
}

export class Bus {
    /* `heard` has the functions status(app, document), event(app, document), owner(present) and access(). */
    constructor(cockpit, heard) {
        this.client = cockpit.dbus(NAME, { bus: "system", superuser: "try" });
        this.permission = cockpit.permission({ admin: true });
        this.paths = new Map();
        this.client.subscribe({ interface: MANAGER, member: "AppChanged" }, (_path, _interface, _signal, [app, json]) =>
            heard.status(app, JSON.parse(json)));
        this.client.subscribe({ interface: APP, member: "RolloutEvent" }, (_path, _interface, _signal, [json]) => {
            const event = JSON.parse(json);
            heard.event(event.app, event);
        });
        this.client.addEventListener("owner", (_event, owner) => heard.owner(Boolean(owner)));
        this.client.addEventListener("close", () => heard.owner(false));
        let allowed = this.permission.allowed;
        this.permission.addEventListener("changed", () => {
            if (typeof allowed === "boolean" && allowed !== this.permission.allowed)
                heard.access();
            allowed = this.permission.allowed;
        });
    }

    async call(path, interface_, method, args, type, app) {
        try {
            return await this.client.call(path, interface_, method, args, { type });
        } catch (error) {
            throw readable(error, this.permission.allowed, app);
        }
    }

    /* The status of all apps, and the version of the daemon. */
    async describe() {
        const [apps] = await this.call(ROOT, MANAGER, "ListApps", [], "");
        this.paths = new Map(apps);
        const [json] = await this.call(ROOT, MANAGER, "Describe", [], "");
        return JSON.parse(json);
    }

    async app(name, method, args = [], type = "") {
        if (!this.paths.has(name))
            this.paths = new Map((await this.call(ROOT, MANAGER, "ListApps", [], ""))[0]);
        const path = this.paths.get(name);
        if (path === undefined)
            throw new BusError("org.deployd1.Error.NoSuchApp", `There is no app ${name}`);
        const answer = await this.call(path, APP, method, args, type, name);
        return answer[0];
    }

    async document(name, method, args = [], type = "") {
        return JSON.parse(await this.app(name, method, args, type));
    }

    status = name => this.document(name, "Describe");
    history = name => this.document(name, "History");
    historyBefore = (name, generation) => this.document(name, "HistoryBefore", [generation], "t");
    changes = name => this.document(name, "Changes");
    releases = name => this.document(name, "Releases");
    plan = (name, chosen) => this.document(name, "Plan", [options(chosen)], "a{sv}");

    apply = name => this.app(name, "Apply", [{}], "a{sv}");
    rollout = (name, chosen) => this.app(name, "Rollout", [options(chosen)], "a{sv}");
    rollback = (name, to, past) =>
        this.app(name, "Rollback", [to, options({ past_irreversible: past ? ["b", true] : undefined })], "ta{sv}");
    pause = name => this.app(name, "Pause");
    resume = name => this.app(name, "Resume");
    abort = (name, past) =>
        this.app(name, "Abort", [options({ past_irreversible: past ? ["b", true] : undefined })], "a{sv}");
    weight = (name, generation, share) => this.app(name, "SetWeight", [generation, share, {}], "tda{sv}");
}

// The state of the page, in one place. Views read it, and only this module changes it.

const MOST_EVENTS = 12;
const REREAD = new Set(["started", "finished", "watch", "taken-back"]);

export class Store {
    constructor(draw) {
        this.draw = draw;
        this.waiting = false;
        this.state = {
            running: true, // the daemon
            loaded: false,
            error: "", // why nothing can be shown
            notice: "", // why the last action came to nothing
            version: "",
            apps: new Map(),
            received: new Map(), // when their status has arrived
            events: new Map(), // by app, the newest last
            histories: new Map(),
            changes: new Map(), // of the app file; or { error } if it is invalid
        };
    }

    change(fields) {
        Object.assign(this.state, fields);
        if (this.waiting)
            return;
        this.waiting = true; // several changes of one turn are drawn once
        queueMicrotask(() => {
            this.waiting = false;
            this.draw(this.state);
        });
    }

    all({ apps, version }) {
        const known = new Map(apps.map(app => [app.app, app]));
        const received = new Map(apps.map(app => [app.app, new Date()]));
        this.change({ apps: known, received, version, loaded: true, running: true, error: "" });
    }

    status(app, document) {
        this.state.apps.set(app, document);
        this.state.received.set(app, new Date());
        this.change({});
    }

    /* Add an event; true if the history has changed with it. */
    event(app, document) {
        const before = document.event === "started" ? [] : this.state.events.get(app) ?? [];
        this.state.events.set(app, [...before, document].slice(-MOST_EVENTS));
        this.change({});
        return REREAD.has(document.event);
    }

    history(app, document) {
        this.state.histories.set(app, document);
        this.change({});
    }

    fileChanges(app, document) {
        this.state.changes.set(app, document);
        this.change({});
    }

    /* Add the generations before those that are shown. */
    older(app, document) {
        const shown = this.state.histories.get(app);
        this.history(app, { ...document, generations: [...shown.generations, ...document.generations] });
    }
}

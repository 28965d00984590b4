// Connects the bus, the state and the views, and turns clicks into actions.

import { perform } from "./actions.js";
import { appPage } from "./app_page.js";
import { appsList } from "./apps_list.js";
import { Bus } from "./bus.js";
import { h, patch } from "./dom.js";
import { alert, detect, followTheme } from "./patternfly.js";
import { Store } from "./store.js";

const { cockpit } = window;
const page = document.getElementById("page");

const opened = () => cockpit.location.path[0] ?? null;

function view(state) {
    if (state.error)
        return [h("h1", {}, "Deployments"), alert("danger", state.error)];
    if (!state.loaded)
        return [h("p", { class: "quiet" }, "Asking deployd …")];
    const stopped = state.running ? [] : [alert("warning", "deployd is not running",
        "Apps keep serving. What is shown is from before it stopped.")];
    const name = opened();
    return [...stopped, ...(name === null ? appsList(state) : appPage(state, name))];
}

function draw(state) {
    const focused = page.contains(document.activeElement) ? document.activeElement.id : "";
    patch(page, view(state));
    if (focused && document.activeElement?.id !== focused)
        (document.getElementById(focused) ?? page.querySelector(".rollout button") ?? page).focus(); // it may be gone
    page.toggleAttribute("data-loaded", state.loaded);
}

const store = new Store(draw);
const bus = new Bus(cockpit, {
    status: (app, document) => store.status(app, document),
    event: (app, document) => {
        if (store.event(app, document) && app === opened())
            readApp(app);
    },
    owner: running => {
        const came = running && !store.state.running;
        store.change({ running });
        if (came)
            read();
    },
    access: () => window.location.reload(), // everything is asked again with the new rights
});

/* What signals do not have: the history, and how the app file differs, which not everyone may read. */
async function readApp(app) {
    try {
        store.history(app, await bus.history(app));
    } catch (error) {
        store.change({ notice: error.message });
    }
    try {
        store.fileChanges(app, await bus.changes(app));
    } catch (error) {
        store.fileChanges(app, error.name.endsWith(".InvalidFile") ? { error: error.message } : null);
    }
}

async function read() {
    try {
        store.all(await bus.describe());
    } catch (error) {
        store.change({ error: error.message });
        return;
    }
    const app = opened();
    if (app !== null && store.state.apps.has(app))
        await readApp(app);
}

async function act(action, generation) {
    const app = opened();
    const history = store.state.histories.get(app);
    if (action === "dismiss") {
        store.change({ notice: "" });
    } else if (action === "measure") {
        store.status(app, await bus.status(app));
    } else if (action === "older") {
        store.older(app, await bus.historyBefore(app, history.generations.at(-1).generation));
    } else {
        store.change({ notice: "" });
        await perform(action, bus, store.state.apps.get(app), history, generation);
    }
}

page.addEventListener("click", event => {
    const pressed = event.target.closest("[data-action]");
    if (pressed !== null)
        act(pressed.dataset.action, Number(pressed.dataset.generation ?? 0)).catch(error =>
            store.change({ notice: error.message }));
});
cockpit.addEventListener("locationchanged", () => {
    store.change({ notice: "" });
    read(); // an app that was removed, or an app file that is new, has no signal
    page.focus();
});

detect();
followTheme();
store.change({});
read();

// PatternFly's components, with the class names of the version that this machine's Cockpit has, and Cockpit's theme.

import { drawn, h } from "./dom.js";

const DARK = ["pf-theme-dark", "pf-v5-theme-dark", "pf-v6-theme-dark"];
const BUTTON = /\.pf-(?:v\d+-)?c-button\b/;
const LABELS = { success: "green", info: "blue", warning: "orange", danger: "red", neutral: "grey" };
const ICONS = {
    success: "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm3.9 5.2-4.6 5-3.2-3 1-1.1 2.1 2 3.6-3.9Z",
    info: "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm.9 10.8H7.1V7h1.8Zm0-6.2H7.1V3.9h1.8Z",
    warning: "M8 1.2 15.4 14H.6Zm.8 8.6.2-4H7l.2 4Zm-.8.9a1 1 0 1 0 0 2 1 1 0 0 0 0-2Z",
    danger: "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm.9 7.8H7.1l-.3-5h2.4ZM8 9.9a1.1 1.1 0 1 1 0 2.2 1.1 1.1 0 0 1 0-2.2Z",
};

let prefix = "pf-v6-c-";

/* Find out how this version begins its class names. */
export function detect(sheets = document.styleSheets) {
    for (const sheet of sheets)
        for (const rule of sheet.cssRules) {
            const found = BUTTON.exec(rule.selectorText ?? "");
            if (found) {
                prefix = found[0].slice(1, -"button".length);
                return;
            }
        }
}

/* The class of a component, such as "button" or "card__body", with modifiers. */
export const pf = (component, ...modifiers) => [`${prefix}${component}`, ...modifiers.filter(Boolean)].join(" ");

/* Follow the theme that is chosen in Cockpit's shell, now and later. */
export function followTheme(root = document.documentElement) {
    const dark = window.matchMedia("(prefers-color-scheme: dark)");
    const apply = style => {
        const chosen = style || window.localStorage.getItem("shell:style") || "auto";
        const on = chosen === "dark" || (chosen === "auto" && dark.matches);
        for (const name of DARK)
            root.classList.toggle(name, on);
    };
    window.addEventListener("storage", event => event.key === "shell:style" && apply());
    window.addEventListener("cockpit-style", event => apply(event.detail.style));
    dark.addEventListener("change", () => apply());
    apply();
}

export function button(text, attributes = {}, kind = "secondary") {
    return h("button", { type: "button", ...attributes, class: pf("button", `pf-m-${kind}`, attributes.class) }, text);
}

export function label(text, tone) {
    const inner = h("span", { class: pf("label__content") }, h("span", { class: pf("label__text") }, text));
    return h("span", { class: pf("label", `pf-m-${LABELS[tone]}`, "pf-m-filled", "pf-m-compact") }, inner);
}

export function alert(tone, title, ...more) {
    return h("div", { class: pf("alert", `pf-m-${tone}`, "pf-m-inline"), role: tone === "danger" ? "alert" : null },
        h("div", { class: pf("alert__icon") }, toneIcon(tone)),
        h("p", { class: pf("alert__title") }, title),
        more.length > 0 && h("div", { class: pf("alert__description") }, ...more));
}

/* A section with a heading that names it. */
export function card(id, title, { aside = null, class: extra = "" } = {}, ...body) {
    return h("section", { id, class: pf("card", extra), "aria-labelledby": `${id}-title` },
        h("header", { class: "card-head" }, h("h2", { id: `${id}-title` }, title), aside),
        h("div", { class: "card-body" }, ...body));
}

export const toneIcon = tone =>
    drawn("svg", { viewBox: "0 0 16 16", "aria-hidden": "true", class: "icon" }, drawn("path", { d: ICONS[tone] }));

// Questions before an action: a native dialog, which takes the keyboard and gives it back.

import { h } from "./dom.js";
import { alert, button } from "./patternfly.js";

/* Ask, and run `run(form)` when confirmed; the dialog stays open with the error if that fails. */
export function ask({ title, body = [], confirm, danger = false, wide = false, run }) {
    const trouble = h("div", { class: "trouble", "aria-live": "assertive" });
    const yes = button(confirm, { type: "submit", id: "dialog-confirm" }, danger ? "danger" : "primary");
    const no = button("Cancel", { id: "dialog-cancel" }, "link");
    const form = h("form", { method: "dialog" },
        h("h2", { id: "dialog-title" }, title),
        h("div", { class: "dialog-body" }, ...body),
        trouble,
        h("div", { class: "buttons" }, yes, no));
    const dialog = h("dialog", { "aria-labelledby": "dialog-title", class: wide ? "wide" : null }, form);
    no.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    form.addEventListener("submit", async event => {
        event.preventDefault();
        yes.disabled = true;
        form.setAttribute("aria-busy", "true");
        try {
            await run(form);
            dialog.close();
        } catch (error) {
            trouble.replaceChildren(alert("danger", error.message));
            yes.disabled = false;
            yes.focus();
        } finally {
            form.removeAttribute("aria-busy");
        }
    });
    document.body.append(dialog);
    dialog.showModal();
    (danger ? no : form.querySelector("input, select, button")).focus();
    return form;
}

export function field(text, input, help = null) {
    const note = help === null ? null : h("small", { id: `${input.id}-help`, class: "quiet" }, help);
    if (note)
        input.setAttribute("aria-describedby", note.id);
    return h("div", { class: "field" }, h("label", { for: input.id }, text), input, note);
}

export function check(id, text) {
    return h("div", { class: "field check" },
        h("input", { type: "checkbox", id, name: id }), h("label", { for: id }, text));
}

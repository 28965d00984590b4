// Elements without HTML text, and a patch that keeps focus, scroll position and what the reader opened.

const SVG = "http://www.w3.org/2000/svg";

/* Make an element. Children are nodes, text, or arrays of them; null and false are left out. */
export function h(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes))
        if (value !== null && value !== undefined && value !== false)
            made.setAttribute(name, value === true ? "" : value);
    made.append(...children.flat(Infinity).filter(child => child !== null && child !== false && child !== undefined));
    return made;
}

/* The same for SVG: drawings, whose text is elsewhere. */
export function drawn(tag, attributes, ...children) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes))
        made.setAttribute(name, value);
    made.append(...children);
    return made;
}

const same = (one, other) =>
    one.nodeType === other.nodeType && one.nodeName === other.nodeName && one.id === other.id;

function patchOne(old, wanted) {
    if (old.nodeType === Node.TEXT_NODE) {
        if (old.data !== wanted.data)
            old.data = wanted.data;
        return;
    }
    for (const { name } of [...old.attributes])
        if (name !== "open" && !wanted.hasAttribute(name))
            old.removeAttribute(name);
    for (const { name, value } of wanted.attributes)
        if (old.getAttribute(name) !== value)
            old.setAttribute(name, value);
    patch(old, [...wanted.childNodes]);
}

/* Make the children of `parent` equal to `wanted`. Elements with an id are recognised where they are. */
export function patch(parent, wanted) {
    for (const [index, node] of wanted.entries()) {
        const here = parent.childNodes[index];
        const known = node.id ? [...parent.childNodes].find(child => child.id === node.id && same(child, node)) : null;
        if (known) {
            if (known !== here)
                parent.insertBefore(known, here ?? null);
            patchOne(known, node);
        } else if (here && !here.id && same(here, node)) {
            patchOne(here, node);
        } else {
            parent.insertBefore(node, here ?? null);
        }
    }
    while (parent.childNodes.length > wanted.length)
        parent.lastChild.remove();
}

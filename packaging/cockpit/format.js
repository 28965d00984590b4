// Numbers, times and nouns as text. Pure.

export function plural(count, noun) {
    return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

export function percent(value) {
    return `${Number.isInteger(value) ? value : value.toFixed(1)} %`;
}

export function duration(seconds) {
    if (seconds < 59.95)
        return `${seconds.toFixed(1)} s`;
    const minutes = Math.round(seconds / 60);
    if (minutes < 60)
        return `${minutes} min`;
    const hours = Math.floor(minutes / 60);
    return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

const two = number => String(number).padStart(2, "0");

/* The local time of day, with the date unless it is that of `now`. */
export function moment(iso, now = new Date()) {
    const at = new Date(iso);
    const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
    const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
    return at.toDateString() === now.toDateString() ? time : `${day} ${time}`;
}

/* Sentences of deployd begin in lower case, because the command puts a name before them. The name of an app stays. */
export function sentence(text, app = "") {
    return app && text.startsWith(app) ? text : text.charAt(0).toUpperCase() + text.slice(1);
}

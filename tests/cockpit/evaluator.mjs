// Calls functions of modules: a line {"module", "name", "values"} in, a line {"value"} or {"error"} out.

import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const directory = process.argv[2];

async function answer({ module, name, values }) {
    try {
        const found = await import(pathToFileURL(`${directory}/${module}`));
        return { value: (await found[name](...values)) ?? null };
    } catch (error) {
        return { error: error.message };
    }
}

for await (const line of createInterface({ input: process.stdin }))
    process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`);

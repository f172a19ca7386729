// Makes a component of plugin.js. Every feature that would ask for clocks, files or the network is off: kiln offers none.

import { componentize } from "@bytecodealliance/componentize-js";
import { readFile, writeFile } from "node:fs/promises";

const { component } = await componentize({
    sourcePath: "plugin.js",
    witWorld: await readFile("wit/kiln-plugin.wit", "utf8"),
    worldName: "{{world}}",
    disableFeatures: ["random", "stdio", "clocks", "http", "fetch-event"],
});
await writeFile("{{wasm}}", component);

// `{{KEYWORD}} [--to=PATH] WORD…` writes a line of text into a file of the image.

import { Builder, error, info, plugin, rule, writeFile } from "./kiln.js";

const USAGE = "{{KEYWORD}} [--to=PATH] WORD…";
const DEFAULT = "/etc/motd";

export const describe = plugin({
    describe: () =>
        info("writes a line of text into a file", {
            rules: [
                rule("no-words", "there is nothing to write"),
                rule("relative-path", "the file to write is not an absolute path"),
            ],
            examples: [["A message of the day", "FROM scratch\n{{KEYWORD}} welcome\n"]],
        }),
});

export const instruction = plugin({
    instructions: () => [
        {
            keyword: "{{KEYWORD}}",
            summary: "Writes a line of text into a file.",
            usage: USAGE,
            form: { split: "words", json: false, expand: true },
            heredocs: "refused",
            flagSpecs: [{ name: "to", kind: "text", repeatable: false, expand: true }],
            traits: [],
        },
    ],

    // Variables are not expanded here, so a line that has some is judged only when it is applied.
    validate: (statements) => statements.filter((line) => !line.original.includes("$")).flatMap(problems),

    apply: ({ stage, statements }) => statements.map((line) => apply(line, stage)),
});

// The argument of `--to`, if it is there.
function toFlag(line) {
    return line.flagValues.find((flag) => flag.name === "to")?.values[0];
}

// Everything that is wrong with a line, each at its place.
function problems(line) {
    const found = [];
    if (line.arguments.length === 0)
        found.push(error("no-words", "{{KEYWORD}} has nothing to write", line.at, `write \`${USAGE}\``));
    const path = toFlag(line);
    if (path && !path.value.startsWith("/"))
        found.push(error("relative-path", `\`${path.value}\` is not an absolute path`, path.at, "begin it with `/`"));
    return found;
}

function apply(line, stage) {
    const found = problems(line);
    if (found.length > 0) return { tag: "err", val: { tag: "invalid", val: found } };
    const text = line.arguments.map((word) => word.value).join(" ") + "\n";
    const graph = new Builder().at(line.original, line.at);
    const base = stage.hasBase ? graph.base() : null;
    const root = graph.file(base, ...writeFile(toFlag(line)?.value ?? DEFAULT, text));
    return {
        tag: "ok",
        val: {
            fragment: graph.graph(), root, config: null, changes: [], setEnv: [], history: [], expansion: [],
            diagnostics: [],
        },
    };
}

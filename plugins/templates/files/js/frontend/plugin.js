// Turns a file of `copy`, `write` and `start` lines into an image.

import contexts from "kiln:plugin/contexts@0.1.0";
import { Builder, copy, error, imageConfig, info, plugin, rule, writeFile } from "./kiln.js";

const DEFAULT = "image.txt";
const USAGE = "write `copy SOURCE TARGET`, `write PATH TEXT…` or `start WORD…`";

export const describe = plugin({
    describe: () =>
        info("makes images of files and lines of text", {
            rules: [
                rule("no-build-file", "the build file cannot be read"),
                rule("unknown-line", "a line that says nothing known"),
                rule("relative-path", "a path in the image is not absolute"),
            ],
            examples: [["A file and a command", "write /etc/motd welcome\nstart /bin/server\n"]],
        }),
});

export const frontend = plugin({
    build(request) {
        const name = request.file || DEFAULT;
        const image = new Image();
        read(name)
            .split("\n")
            .forEach((line, index) => {
                const number = index + 1;
                const end = { line: number, column: [...line].length + 1 };
                image.line(line.trim(), { file: name, start: { line: number, column: 1 }, end });
            });
        // Thrown, and no `Error`: the failure that the contract has.
        if (image.problems.length > 0) throw { diagnostics: image.problems };
        const target = {
            platform: request.platforms[0] ?? request.buildPlatform,
            root: image.root,
            config: image.config,
            history: [], annotations: [], attestations: [], scans: [], baseName: "", baseDigest: "",
        };
        return {
            graph: image.graph.graph(), targets: [target], sourceDateEpoch: "", exportOptions: [], diagnostics: [],
        };
    },
});

// The build file, which need not lie in the context.
function read(name) {
    try {
        return contexts.openBuildFile().readText(name);
    } catch (failure) {
        if (failure instanceof Error && failure.payload === undefined) throw failure;
        const { message } = failure.payload ?? failure;
        throw { diagnostics: [error("no-build-file", `could not read \`${name}\`: ${message}`)] };
    }
}

// An image that grows line by line.
class Image {
    graph = new Builder();
    context = null;
    root = null;
    config = imageConfig();
    problems = [];

    line(line, at) {
        const [word, ...rest] = line.split(/\s+/);
        const more = line.slice(word.length).trim();
        const [path] = rest;
        const text = path === undefined ? "" : more.slice(path.length).trim();
        this.graph.at(line, at);
        if (word === "" || word.startsWith("#")) return;
        if (word === "copy" && text) {
            if (!this.isAbsolute(text, at)) return;
            this.context ??= this.graph.context();
            this.root = this.graph.file(this.root, copy(this.context, path, text));
        } else if (word === "write" && text) {
            if (!this.isAbsolute(path, at)) return;
            this.root = this.graph.file(this.root, ...writeFile(path, `${text}\n`));
        } else if (word === "start" && more) {
            this.config.cmd = rest;
        } else {
            this.problems.push(error("unknown-line", `\`${line}\` says nothing known`, at, USAGE));
        }
    }

    isAbsolute(path, at) {
        if (path.startsWith("/")) return true;
        this.problems.push(error("relative-path", `\`${path}\` is not an absolute path`, at, "begin it with `/`"));
        return false;
    }
}

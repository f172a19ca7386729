// Findings, graphs and last words: what makes the contract pleasant in JavaScript.

import * as progress from "kiln:plugin/progress@0.1.0";

// Has exceptions shown by kiln: a component has no console, and would end without a word. What a function throws that is
// no `Error` is the error that the contract has for it.
export function plugin(functions) {
    const guarded = (call) => (...args) => {
        try {
            return call(...args);
        } catch (thrown) {
            if (thrown instanceof Error) progress.crash(`${thrown}\n${thrown.stack ?? ""}`);
            throw thrown;
        }
    };
    return Object.fromEntries(Object.entries(functions).map(([name, call]) => [name, guarded(call)]));
}

// A finding that makes the build fail, with its place, when it has one.
export function error(code, message, at = null, help = "") {
    return { severity: "error", code, message, primary: at, related: [], nodes: [], help, url: "", fixes: [] };
}

export function rule(code, summary) {
    return { code, summary, url: "", severity: "error", experimental: false };
}

// What the plugin says about itself; `examples` are pairs of a title and a build file.
export function info(summary, { options = [], rules = [], examples = [] } = {}) {
    return {
        name: "{{name}}",
        version: "0.1.0",
        summary,
        homepage: "",
        license: "",
        options,
        rules,
        examples: examples.map(([title, text]) => ({ title, text })),
    };
}

export function imageConfig() {
    return {
        user: "", workingDir: "", env: [], entrypoint: null, cmd: null, exposedPorts: [], volumes: [], labels: [],
        stopSignal: "", shell: [], healthcheck: null, onBuild: [], argsEscaped: false, author: "", otherJson: "",
    };
}

// A graph that grows operation by operation, so that each can read only what was made before it.
export class Builder {
    ops = [];
    name = "";
    spans = [];

    // Where the following operations come from, and what progress output calls them.
    at(name, span) {
        this.name = name;
        this.spans = [span];
        return this;
    }

    push(kind) {
        this.ops.push({ kind, platform: null, name: this.name, group: "", noCache: false, spans: this.spans });
        return { op: this.ops.length - 1, slot: 0 };
    }

    // The filesystem of the stage so far.
    base() {
        return this.push({ tag: "hole", val: { tag: "base" } });
    }

    // The build context, for frontends.
    context() {
        return this.push({ tag: "context", val: { name: "", ignore: null } });
    }

    // Actions in order on top of `base`, as one layer.
    file(base, ...actions) {
        return this.push({ tag: "file", val: { base, actions } });
    }

    graph() {
        return { ops: this.ops };
    }
}

// The actions that write a file of text, in a directory that is made when it is missing.
export function writeFile(path, text) {
    const parent = path.slice(0, path.lastIndexOf("/"));
    const directory = { tag: "make-dir", val: { path: parent, mode: 0o755, parents: true, owner: null } };
    const file = { tag: "make-file", val: { path, data: utf8(text), mode: 0o644, owner: null } };
    return parent ? [directory, file] : [file];
}

// What lies below `path` of an output, or that file, to `dest`.
export function copy(input, path, dest) {
    return {
        tag: "copy",
        val: {
            input, paths: [path], dest, owner: null, mode: "", includePatterns: [], excludePatterns: [],
            followSymlinks: false, contentsOnly: true, createDest: true, allowWildcard: false,
            allowEmptyWildcard: false, unpack: "", keepParents: false,
        },
    };
}

function utf8(text) {
    const bytes = [];
    for (const character of text) {
        const code = character.codePointAt(0);
        if (code < 0x80) bytes.push(code);
        else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 63));
        else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
        else {
            const low = [0x80 | ((code >> 12) & 63), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63)];
            bytes.push(0xf0 | (code >> 18), ...low);
        }
    }
    return new Uint8Array(bytes);
}

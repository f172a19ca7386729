// Two rules for images: they say where their sources are, and no command hands a download to a shell.

import { error, info, plugin, rule } from "./kiln.js";

const LABEL = "org.opencontainers.image.source";

export const describe = plugin({
    describe: () =>
        info("asks for a label, and for no piped shells", {
            options: [
                {
                    name: "label",
                    kind: "text",
                    summary: "the label that every image has",
                    preset: LABEL,
                    required: false,
                    choices: [],
                    sensitive: false,
                },
            ],
            rules: [
                rule("missing-label", "an image does not say where its sources are"),
                rule("piped-shell", "a command hands what it downloads to a shell"),
            ],
        }),
});

export const policyExec = plugin({
    // One verdict for each of `execs`, which are places in the graph.
    checkExec: (_build, graph, execs) =>
        Array.from(execs, (index) => ({ limits: null, diagnostics: pipedShell(graph.ops[index]) })),
});

export const policyImage = plugin({
    checkImage(build, image) {
        const wanted = build.options.find((option) => option.key === "label")?.value ?? LABEL;
        if (image.config.labels.some((label) => label.key === wanted && label.value)) return [];
        const message = `the image has no label \`${wanted}\``;
        return [error("missing-label", message, null, `add \`LABEL ${wanted}=…\``)];
    },
});

function pipedShell(op) {
    if (op.kind.tag !== "exec") return [];
    const command = op.kind.val.args.join(" ");
    const downloads = /\b(curl|wget) /.test(command);
    const pipes = /\| ?(ba)?sh\b/.test(command);
    if (!(downloads && pipes)) return [];
    const message = "what this command downloads goes straight to a shell";
    return [error("piped-shell", message, op.spans[0] ?? null, "download it, compare its checksum, then run it")];
}

// Copies labels that the OCI image specification names into the annotations of the manifest.

import { info, plugin } from "./kiln.js";

const PREFIX = "org.opencontainers.";

export const describe = plugin({ describe: () => info("copies labels into annotations") });

export const imageTransform = plugin({
    transform: (_build, image) => ({
        config: null,
        setAnnotations: image.config.labels.filter((label) => label.key.startsWith(PREFIX)),
        addAttestations: [],
        squash: "keep-layers",
        fragment: null,
        root: null,
        extraFiles: [],
        diagnostics: [],
    }),
});

"""Copies labels that the OCI image specification names into the annotations of the manifest."""

from wit_world import exports
from wit_world.exports import image_transform

import kiln

PREFIX = "org.opencontainers."


@kiln.plugin
class Describe(exports.Describe):
    def describe(self):
        return kiln.info("copies labels into annotations")


@kiln.plugin
class ImageTransform(exports.ImageTransform):
    def transform(self, build, image, root, scans):
        return image_transform.Changes(
            config=None,
            set_annotations=[label for label in image.config.labels if label.key.startswith(PREFIX)],
            add_attestations=[],
            squash=image_transform.Squash.KEEP_LAYERS,
            fragment=None, root=None, extra_files=[], diagnostics=[],
        )

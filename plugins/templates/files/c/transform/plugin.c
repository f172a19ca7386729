/* Copies labels that the OCI image specification names into the annotations of the manifest. */
#include "kiln.h"

void exports_kiln_plugin_describe_describe(exports_kiln_plugin_describe_plugin_info_t *ret) {
  introduce(ret, "copies labels into annotations");
}

bool exports_kiln_plugin_image_transform_transform(
    exports_kiln_plugin_image_transform_build_facts_t *build,
    exports_kiln_plugin_image_transform_image_facts_t *image,
    exports_kiln_plugin_image_transform_borrow_tree_t root,
    exports_kiln_plugin_image_transform_list_tuple2_string_own_tree_t *scans,
    exports_kiln_plugin_image_transform_changes_t *ret,
    exports_kiln_plugin_image_transform_list_diagnostic_t *err) {
  memset(ret, 0, sizeof *ret);
  ret->squash = EXPORTS_KILN_PLUGIN_IMAGE_TRANSFORM_SQUASH_KEEP_LAYERS;
  for (size_t i = 0; i < image->config.labels.len; i++) {
    const kiln_plugin_types_pair_t *label = &image->config.labels.ptr[i];
    if (!begins(label->key, "org.opencontainers.")) continue;
    kiln_plugin_types_pair_t *annotation = ADD(&ret->set_annotations);
    annotation->key = copy_of(label->key);
    annotation->value = copy_of(label->value);
  }
  return true;
}

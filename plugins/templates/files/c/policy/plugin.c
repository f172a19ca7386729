/* Two rules for images: they say where their sources are, and no command hands a download to a shell. */
#include "kiln.h"

#define LABEL "org.opencontainers.image.source"

void exports_kiln_plugin_describe_describe(exports_kiln_plugin_describe_plugin_info_t *ret) {
  introduce(ret, "asks for a label, and for no piped shells");
  rule(ret, "missing-label", "an image does not say where its sources are");
  rule(ret, "piped-shell", "a command hands what it downloads to a shell");
  exports_kiln_plugin_describe_option_spec_t *label = ADD(&ret->options);
  label->name = word("label");
  label->kind = EXPORTS_KILN_PLUGIN_DESCRIBE_OPTION_KIND_TEXT;
  label->summary = word("the label that every image has");
  label->preset = word(LABEL);
}

static bool pipes_to_shell(const kiln_plugin_graph_exec_op_t *exec) {
  bool downloads = false, pipes = false;
  for (size_t i = 0; i < exec->args.len; i++) {
    text_t argument = exec->args.ptr[i];
    downloads |= contains(argument, "curl ") || contains(argument, "wget ");
    pipes |= contains(argument, "| sh") || contains(argument, "|sh") || contains(argument, "| bash") ||
             contains(argument, "|bash");
  }
  return downloads && pipes;
}

/* One verdict for each of `execs`, which are places in the graph. */
void exports_kiln_plugin_policy_exec_check_exec(exports_kiln_plugin_policy_exec_build_facts_t *build,
                                                exports_kiln_plugin_policy_exec_graph_t *graph,
                                                exports_kiln_plugin_policy_exec_list_op_index_t *execs,
                                                exports_kiln_plugin_policy_exec_list_exec_verdict_t *ret) {
  memset(ret, 0, sizeof *ret);
  for (size_t i = 0; i < execs->len; i++) {
    exports_kiln_plugin_policy_exec_exec_verdict_t *verdict = ADD(ret);
    if (execs->ptr[i] >= graph->ops.len) continue;
    const kiln_plugin_graph_op_t *op = &graph->ops.ptr[execs->ptr[i]];
    if (op->kind.tag == KILN_PLUGIN_GRAPH_OP_KIND_EXEC && pipes_to_shell(&op->kind.val.exec))
      *ADD(&verdict->diagnostics) =
          problem("piped-shell", word("what this command downloads goes straight to a shell"),
                  op->spans.len > 0 ? &op->spans.ptr[0] : NULL, "download it, compare its checksum, then run it");
  }
}

void exports_kiln_plugin_policy_image_check_image(exports_kiln_plugin_policy_image_build_facts_t *build,
                                                  exports_kiln_plugin_policy_image_image_facts_t *image,
                                                  exports_kiln_plugin_policy_image_borrow_tree_t root,
                                                  exports_kiln_plugin_policy_image_list_diagnostic_t *ret) {
  memset(ret, 0, sizeof *ret);
  text_t label = word(LABEL);
  for (size_t i = 0; i < build->options.len; i++)
    if (is(build->options.ptr[i].key, "label")) label = copy_of(build->options.ptr[i].value);
  for (size_t i = 0; i < image->config.labels.len; i++) {
    text_t key = image->config.labels.ptr[i].key;
    if (key.len == label.len && memcmp(key.ptr, label.ptr, key.len) == 0 && image->config.labels.ptr[i].value.len > 0)
      return;
  }
  text_t message = word("the image has no label `");
  append_text(&message, label);
  append_word(&message, "`");
  *ADD(ret) = problem("missing-label", message, NULL, "add it with `LABEL`");
}

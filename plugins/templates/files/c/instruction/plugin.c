/* `{{KEYWORD}} [--to=PATH] WORD…` writes a line of text into a file of the image. */
#include "kiln.h"

typedef kiln_plugin_instruction_types_statement_t statement_t;
typedef kiln_plugin_instruction_types_list_diagnostic_t findings_t;

#define USAGE "{{KEYWORD}} [--to=PATH] WORD…"

void exports_kiln_plugin_describe_describe(exports_kiln_plugin_describe_plugin_info_t *ret) {
  introduce(ret, "writes a line of text into a file");
  rule(ret, "no-words", "there is nothing to write");
  rule(ret, "relative-path", "the file to write is not an absolute path");
  example(ret, "A message of the day", "FROM scratch\n{{KEYWORD}} welcome\n");
}

void exports_kiln_plugin_instruction_instructions(exports_kiln_plugin_instruction_list_descriptor_t *ret) {
  memset(ret, 0, sizeof *ret);
  kiln_plugin_instruction_types_descriptor_t *line = ADD(ret);
  line->keyword = word("{{KEYWORD}}");
  line->summary = word("Writes a line of text into a file.");
  line->usage = word(USAGE);
  line->form.split = KILN_PLUGIN_INSTRUCTION_TYPES_SPLIT_WORDS;
  line->form.expand = true;
  line->heredocs = KILN_PLUGIN_INSTRUCTION_TYPES_HEREDOC_FORM_REFUSED;
  kiln_plugin_instruction_types_flag_spec_t *to = ADD(&line->flag_specs);
  to->name = word("to");
  to->kind = KILN_PLUGIN_INSTRUCTION_TYPES_FLAG_KIND_TEXT;
  to->expand = true;
}

/* The value of `--to`, or NULL. */
static const kiln_plugin_instruction_types_argument_t *to_flag(const statement_t *line) {
  for (size_t i = 0; i < line->flag_values.len; i++)
    if (is(line->flag_values.ptr[i].name, "to") && line->flag_values.ptr[i].values.len > 0)
      return &line->flag_values.ptr[i].values.ptr[0];
  return NULL;
}

/* Everything that is wrong with a line, each at its place. */
static void judge(const statement_t *line, findings_t *problems) {
  if (line->arguments.len == 0)
    *ADD(problems) = problem("no-words", word("{{KEYWORD}} has nothing to write"), &line->at, "write `" USAGE "`");
  const kiln_plugin_instruction_types_argument_t *path = to_flag(line);
  if (path != NULL && !begins(path->value, "/")) {
    text_t message = word("`");
    append_text(&message, path->value);
    append_word(&message, "` is not an absolute path");
    *ADD(problems) = problem("relative-path", message, &path->at, "begin it with `/`");
  }
}

/* Variables are not expanded here, so a line that has some is judged only when it is applied. */
void exports_kiln_plugin_instruction_validate(exports_kiln_plugin_instruction_list_statement_t *statements,
                                              exports_kiln_plugin_instruction_list_diagnostic_t *ret) {
  findings_t problems = {0};
  for (size_t i = 0; i < statements->len; i++)
    if (!contains(statements->ptr[i].original, "$")) judge(&statements->ptr[i], &problems);
  ret->ptr = problems.ptr;
  ret->len = problems.len;
  exports_kiln_plugin_instruction_list_statement_free(statements);
}

/* An operation that came from a line. */
static kiln_plugin_graph_op_t *operation(kiln_plugin_graph_graph_t *graph, const statement_t *line, uint8_t kind) {
  kiln_plugin_graph_op_t *op = ADD(&graph->ops);
  op->kind.tag = kind;
  op->name = copy_of(line->original);
  *ADD(&op->spans) = copy_of_span(&line->at);
  return op;
}

static void write_line(const statement_t *line, bool has_base, kiln_plugin_instruction_types_outcome_t *outcome) {
  memset(outcome, 0, sizeof *outcome);
  kiln_plugin_graph_graph_t *graph = &outcome->fragment;
  if (has_base) operation(graph, line, KILN_PLUGIN_GRAPH_OP_KIND_HOLE)->kind.val.hole.tag = KILN_PLUGIN_GRAPH_HOLE_BASE;
  kiln_plugin_graph_file_op_t *file = &operation(graph, line, KILN_PLUGIN_GRAPH_OP_KIND_FILE)->kind.val.file;
  file->base.is_some = has_base;

  text_t path = to_flag(line) != NULL ? copy_of(to_flag(line)->value) : word("/etc/motd");
  size_t parent = path.len;
  while (parent > 0 && path.ptr[parent - 1] != '/') parent--;
  if (parent > 1) {
    kiln_plugin_graph_file_action_t *action = ADD(&file->actions);
    action->tag = KILN_PLUGIN_GRAPH_FILE_ACTION_MAKE_DIR;
    append(&action->val.make_dir.path, path.ptr, parent - 1);
    action->val.make_dir.mode = 0755;
    action->val.make_dir.parents = true;
  }
  kiln_plugin_graph_file_action_t *action = ADD(&file->actions);
  action->tag = KILN_PLUGIN_GRAPH_FILE_ACTION_MAKE_FILE;
  action->val.make_file.path = path;
  action->val.make_file.mode = 0644;
  text_t text = {0};
  for (size_t i = 0; i < line->arguments.len; i++) {
    if (i > 0) append_word(&text, " ");
    append_text(&text, line->arguments.ptr[i].value);
  }
  append_word(&text, "\n");
  action->val.make_file.data.ptr = text.ptr;
  action->val.make_file.data.len = text.len;

  outcome->root.is_some = true;
  outcome->root.val.op = graph->ops.len - 1;
}

void exports_kiln_plugin_instruction_apply(exports_kiln_plugin_instruction_invocation_t *invocation,
                                           exports_kiln_plugin_instruction_list_result_outcome_instruction_error_t *ret) {
  memset(ret, 0, sizeof *ret);
  for (size_t i = 0; i < invocation->statements.len; i++) {
    const statement_t *line = &invocation->statements.ptr[i];
    exports_kiln_plugin_instruction_result_outcome_instruction_error_t *answer = ADD(ret);
    findings_t problems = {0};
    judge(line, &problems);
    answer->is_err = problems.len > 0;
    if (answer->is_err) {
      answer->val.err.tag = KILN_PLUGIN_INSTRUCTION_TYPES_INSTRUCTION_ERROR_INVALID;
      answer->val.err.val.invalid = problems;
    } else {
      write_line(line, invocation->stage.has_base, &answer->val.ok);
    }
  }
  exports_kiln_plugin_instruction_invocation_free(invocation);
}

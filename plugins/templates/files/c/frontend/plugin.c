/* Turns a file of `copy`, `write` and `start` lines into an image. */
#include "kiln.h"

typedef kiln_plugin_frontend_types_target_result_t target_t;

#define USAGE "write `copy SOURCE TARGET`, `write PATH TEXT…` or `start WORD…`"

/* An image that grows line by line. */
typedef struct {
  kiln_plugin_graph_graph_t graph;
  kiln_plugin_graph_option_output_t context, root;
  target_t target;
  kiln_plugin_frontend_types_list_diagnostic_t problems;
} image_t;

void exports_kiln_plugin_describe_describe(exports_kiln_plugin_describe_plugin_info_t *ret) {
  introduce(ret, "makes images of files and lines of text");
  rule(ret, "no-build-file", "the build file cannot be read");
  rule(ret, "unknown-line", "a line that says nothing known");
  rule(ret, "relative-path", "a path in the image is not absolute");
  example(ret, "A file and a command", "write /etc/motd welcome\nstart /bin/server\n");
}

/* The next word of a line, which loses it; empty at the end. Nothing is copied. */
static text_t next_word(text_t *line) {
  while (line->len > 0 && line->ptr[0] == ' ') line->ptr++, line->len--;
  text_t word = {line->ptr, 0};
  while (line->len > 0 && line->ptr[0] != ' ') word.len++, line->ptr++, line->len--;
  return word;
}

static text_t trimmed(text_t text) {
  while (text.len > 0 && text.ptr[0] == ' ') text.ptr++, text.len--;
  while (text.len > 0 && (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\r')) text.len--;
  return text;
}

static kiln_plugin_graph_op_t *operation(image_t *image, text_t line, const span_t *at, uint8_t kind) {
  kiln_plugin_graph_op_t *op = ADD(&image->graph.ops);
  op->kind.tag = kind;
  op->name = copy_of(line);
  *ADD(&op->spans) = copy_of_span(at);
  return op;
}

static kiln_plugin_graph_option_output_t last(const image_t *image) {
  kiln_plugin_graph_option_output_t output = {.is_some = true, .val = {.op = image->graph.ops.len - 1, .slot = 0}};
  return output;
}

/* A layer on top of what is there, to be filled with actions. */
static kiln_plugin_graph_file_op_t *layer(image_t *image, text_t line, const span_t *at) {
  kiln_plugin_graph_file_op_t *file = &operation(image, line, at, KILN_PLUGIN_GRAPH_OP_KIND_FILE)->kind.val.file;
  file->base = image->root;
  image->root = last(image);
  return file;
}

static bool is_absolute(image_t *image, text_t path, const span_t *at) {
  if (begins(path, "/")) return true;
  text_t message = word("`");
  append_text(&message, path);
  append_word(&message, "` is not an absolute path");
  *ADD(&image->problems) = problem("relative-path", message, at, "begin it with `/`");
  return false;
}

static void copy(image_t *image, text_t line, text_t source, text_t target, const span_t *at) {
  if (!is_absolute(image, target, at)) return;
  if (!image->context.is_some) {
    operation(image, line, at, KILN_PLUGIN_GRAPH_OP_KIND_CONTEXT);
    image->context = last(image);
  }
  kiln_plugin_graph_file_action_t *action = ADD(&layer(image, line, at)->actions);
  action->tag = KILN_PLUGIN_GRAPH_FILE_ACTION_COPY;
  kiln_plugin_graph_copy_action_t *copy = &action->val.copy;
  copy->input = image->context.val;
  *ADD(&copy->paths) = copy_of(source);
  copy->dest = copy_of(target);
  copy->contents_only = true;
  copy->create_dest = true;
}

static void write_line(image_t *image, text_t line, text_t path, text_t text, const span_t *at) {
  if (!is_absolute(image, path, at)) return;
  kiln_plugin_graph_file_op_t *file = layer(image, line, at);
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
  text_t data = copy_of(text);
  append_word(&data, "\n");
  action->val.make_file.path = copy_of(path);
  action->val.make_file.data.ptr = data.ptr;
  action->val.make_file.data.len = data.len;
  action->val.make_file.mode = 0644;
}

static void read_line(image_t *image, text_t line, const span_t *at) {
  line = trimmed(line);
  text_t rest = line, first = next_word(&rest);
  if (first.len == 0 || begins(first, "#")) return;
  text_t words = trimmed(rest), path = next_word(&rest), more = trimmed(rest);
  if (is(first, "copy") && more.len > 0) {
    copy(image, line, path, more, at);
  } else if (is(first, "write") && more.len > 0) {
    write_line(image, line, path, more, at);
  } else if (is(first, "start") && words.len > 0) {
    image->target.config.cmd.is_some = true;
    while ((path = next_word(&words)).len > 0) *ADD(&image->target.config.cmd.val) = copy_of(path);
  } else {
    text_t message = word("`");
    append_text(&message, line);
    append_word(&message, "` says nothing known");
    *ADD(&image->problems) = problem("unknown-line", message, at, USAGE);
  }
}

/* The build file, which need not lie in the context. */
static bool read_build_file(text_t name, text_t *text, kiln_plugin_contexts_host_error_t *error) {
  kiln_plugin_contexts_own_tree_t tree;
  if (!kiln_plugin_contexts_open_build_file(&tree, error)) return false;
  bool read = kiln_plugin_trees_method_tree_read_text(kiln_plugin_trees_borrow_tree(tree), &name, text, error);
  kiln_plugin_trees_tree_drop_own(tree);
  return read;
}

/* Columns count characters, of which UTF-8 has one for each byte that does not continue another. */
static uint32_t characters(text_t text) {
  uint32_t count = 0;
  for (size_t i = 0; i < text.len; i++) count += (text.ptr[i] & 0xC0) != 0x80;
  return count;
}

bool exports_kiln_plugin_frontend_build(exports_kiln_plugin_frontend_build_request_t *request,
                                        exports_kiln_plugin_frontend_build_result_t *ret,
                                        exports_kiln_plugin_frontend_build_failure_t *err) {
  memset(ret, 0, sizeof *ret);
  memset(err, 0, sizeof *err);
  text_t name = request->file.len > 0 ? copy_of(request->file) : word("image.txt"), text;
  kiln_plugin_contexts_host_error_t error;
  if (!read_build_file(name, &text, &error)) {
    text_t message = word("could not read `");
    append_text(&message, name);
    append_word(&message, "`: ");
    append_text(&message, error.message);
    *ADD(&err->diagnostics) = problem("no-build-file", message, NULL, "");
    return false;
  }
  image_t image = {0};
  uint32_t number = 0;
  while (text.len > 0) {
    text_t line = {text.ptr, 0};
    while (line.len < text.len && line.ptr[line.len] != '\n') line.len++;
    size_t used = line.len + (line.len < text.len);
    text.ptr += used, text.len -= used;
    number++;
    span_t at = {.file = name, .start = {number, 1}, .end = {number, characters(line) + 1}};
    read_line(&image, line, &at);
  }
  if (image.problems.len > 0) {
    err->diagnostics = image.problems;
    return false;
  }
  const kiln_plugin_types_platform_t *platform =
      request->platforms.len > 0 ? &request->platforms.ptr[0] : &request->build_platform;
  image.target.platform.os = copy_of(platform->os);
  image.target.platform.arch = copy_of(platform->arch);
  image.target.platform.variant = copy_of(platform->variant);
  image.target.platform.os_version = copy_of(platform->os_version);
  image.target.root.is_some = image.root.is_some;
  image.target.root.val = image.root.val;
  ret->graph = image.graph;
  *ADD(&ret->targets) = image.target;
  exports_kiln_plugin_frontend_build_request_free(request);
  return true;
}

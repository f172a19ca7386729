/* Text, lists and findings: what makes the generated bindings pleasant. Everything that a plugin returns is freed by
 * the bindings afterwards, so it has to come from malloc, as everything here does. */
#ifndef KILN_H
#define KILN_H

#include "bindings/plugin.h"

#include <stdlib.h>
#include <string.h>

typedef plugin_string_t text_t;
typedef kiln_plugin_diagnostics_diagnostic_t finding_t;
typedef kiln_plugin_diagnostics_span_t span_t;

/* Ends the call with some last words, which kiln shows. */
_Noreturn static inline void die(const char *words) {
  text_t message = {(uint8_t *)words, strlen(words)};
  kiln_plugin_progress_crash(&message);
  __builtin_trap();
}

static inline void *room(void *old, size_t size) {
  void *place = realloc(old, size);
  if (place == NULL && size > 0) die("out of memory");
  return place;
}

/* One more element at the end of a list, all zero: empty texts and lists, absent options. */
#define ADD(list)                                                            \
  ({                                                                         \
    __typeof__(list) list_ = (list);                                         \
    (__typeof__(list_->ptr))add_(list_, sizeof *list_->ptr);                 \
  })

/* Lists are all of this form, whatever they are lists of. */
static inline void *add_(void *list, size_t size) {
  struct {
    uint8_t *ptr;
    size_t len;
  } it;
  memcpy(&it, list, sizeof it);
  it.ptr = room(it.ptr, (it.len + 1) * size);
  void *added = memset(it.ptr + it.len * size, 0, size);
  it.len++;
  memcpy(list, &it, sizeof it);
  return added;
}

/* A text that grows. */
static inline void append(text_t *text, const void *bytes, size_t len) {
  if (len == 0) return;
  text->ptr = room(text->ptr, text->len + len);
  memcpy(text->ptr + text->len, bytes, len);
  text->len += len;
}

static inline void append_text(text_t *text, text_t more) { append(text, more.ptr, more.len); }
static inline void append_word(text_t *text, const char *more) { append(text, more, strlen(more)); }

static inline text_t copy_of(text_t text) {
  text_t copy = {0};
  append_text(&copy, text);
  return copy;
}

static inline text_t word(const char *text) {
  text_t copy = {0};
  append_word(&copy, text);
  return copy;
}

static inline bool is(text_t text, const char *other) {
  return text.len == strlen(other) && memcmp(text.ptr, other, text.len) == 0;
}

static inline bool begins(text_t text, const char *start) {
  return text.len >= strlen(start) && memcmp(text.ptr, start, strlen(start)) == 0;
}

static inline bool contains(text_t text, const char *part) {
  size_t len = strlen(part);
  for (size_t at = 0; at + len <= text.len; at++)
    if (memcmp(text.ptr + at, part, len) == 0) return true;
  return false;
}

static inline span_t copy_of_span(const span_t *at) {
  span_t copy = *at;
  copy.file = copy_of(at->file);
  return copy;
}

/* An error with its place, when there is one, and what to do about it. Takes `message` over. */
static inline finding_t problem(const char *code, text_t message, const span_t *at, const char *help) {
  finding_t finding = {0};
  finding.severity = KILN_PLUGIN_DIAGNOSTICS_SEVERITY_ERROR;
  finding.code = word(code);
  finding.message = message;
  finding.help = word(help);
  if (at != NULL) {
    finding.primary.is_some = true;
    finding.primary.val = copy_of_span(at);
  }
  return finding;
}

/* What a plugin says about itself, without options, rules and examples. */
static inline void introduce(exports_kiln_plugin_describe_plugin_info_t *info, const char *summary) {
  memset(info, 0, sizeof *info);
  info->name = word("{{name}}");
  info->version = word("0.1.0");
  info->summary = word(summary);
}

static inline void rule(exports_kiln_plugin_describe_plugin_info_t *info, const char *code, const char *summary) {
  exports_kiln_plugin_describe_rule_t *rule = ADD(&info->rules);
  rule->code = word(code);
  rule->summary = word(summary);
  rule->severity = KILN_PLUGIN_DIAGNOSTICS_SEVERITY_ERROR;
}

static inline void example(exports_kiln_plugin_describe_plugin_info_t *info, const char *title, const char *text) {
  exports_kiln_plugin_describe_example_t *example = ADD(&info->examples);
  example->title = word(title);
  example->text = word(text);
}

#endif

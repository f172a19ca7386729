/* What the service says, without saying how it is asked. */
#ifndef ANSWER_H
#define ANSWER_H

#include <stddef.h>

/* A body with the headers that go before it; free both with answer_free. */
struct answer {
    char *head;
    unsigned char *body;
    size_t length;
};

/* Answers a request for `path` out of the file of words, packed by gzip where `packed` is not 0.
 * Returns 0, or -1 when memory is short. */
int answer_make(struct answer *answer, const char *path, const char *words, size_t length, int packed);

void answer_free(struct answer *answer);

#endif

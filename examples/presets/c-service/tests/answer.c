/* Tests of the answers, without a network. */
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "answer.h"

static int failures = 0;

static void check(int holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "not so: %s\n", what);
        failures++;
    }
}

int main(void) {
    const char words[] = "hello\nhello\nhello\nhello\n";
    struct answer answer;

    check(answer_make(&answer, "/words", words, strlen(words), 0) == 0, "words are answered");
    check(strstr(answer.head, "200 OK") != NULL, "with 200");
    check(answer.length == strlen(words) && memcmp(answer.body, words, answer.length) == 0, "as they are");
    answer_free(&answer);

    check(answer_make(&answer, "/words", words, strlen(words), 1) == 0, "words are packed");
    unsigned char unpacked[256];
    z_stream stream = {0};
    inflateInit2(&stream, 31);
    stream.next_in = answer.body;
    stream.avail_in = (unsigned int)answer.length;
    stream.next_out = unpacked;
    stream.avail_out = sizeof unpacked;
    check(inflate(&stream, Z_FINISH) == Z_STREAM_END, "by gzip");
    check(stream.total_out == strlen(words) && memcmp(unpacked, words, strlen(words)) == 0, "and come out again");
    inflateEnd(&stream);
    answer_free(&answer);

    check(answer_make(&answer, "/other", words, strlen(words), 1) == 0, "other paths are answered");
    check(strstr(answer.head, "404") != NULL, "with 404");
    answer_free(&answer);
    return failures == 0 ? 0 : 1;
}

#include "answer.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* The first half of the SHA-256 of the body, so that who has it need not fetch it again. */
static int tag(const void *body, size_t length, char text[33]) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    if (EVP_Digest(body, length, digest, &size, EVP_sha256(), NULL) != 1) {
        return -1;
    }
    for (int i = 0; i < 16; i++) {
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    }
    return 0;
}

static int pack(struct answer *answer, const void *body, size_t length) {
    z_stream stream = {0};
    /* 31: as large a window as there is, and the header of gzip. */
    if (deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        return -1;
    }
    size_t bound = deflateBound(&stream, length);
    answer->body = malloc(bound);
    if (answer->body == NULL) {
        deflateEnd(&stream);
        return -1;
    }
    stream.next_in = (unsigned char *)body;
    stream.avail_in = (unsigned int)length;
    stream.next_out = answer->body;
    stream.avail_out = (unsigned int)bound;
    int ended = deflate(&stream, Z_FINISH);
    answer->length = stream.total_out;
    deflateEnd(&stream);
    return ended == Z_STREAM_END ? 0 : -1;
}

int answer_make(struct answer *answer, const char *path, const char *words, size_t length, int packed) {
    memset(answer, 0, sizeof *answer);
    const char *status = "200 OK";
    if (strcmp(path, "/words") != 0) {
        status = "404 Not Found";
        words = "there is nothing but /words\n";
        length = strlen(words);
        packed = 0;
    }
    char etag[33];
    if (tag(words, length, etag) != 0) {
        return -1;
    }
    if (packed) {
        if (pack(answer, words, length) != 0) {
            answer_free(answer);
            return -1;
        }
    } else {
        answer->body = malloc(length > 0 ? length : 1);
        if (answer->body == NULL) {
            return -1;
        }
        memcpy(answer->body, words, length);
        answer->length = length;
    }
    answer->head = malloc(256);
    if (answer->head == NULL) {
        answer_free(answer);
        return -1;
    }
    snprintf(answer->head, 256,
             "HTTP/1.0 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nETag: \"%s\"\r\n%s\r\n", status,
             answer->length, etag, packed ? "Content-Encoding: gzip\r\n" : "");
    return 0;
}

void answer_free(struct answer *answer) {
    free(answer->head);
    free(answer->body);
    answer->head = NULL;
    answer->body = NULL;
    answer->length = 0;
}

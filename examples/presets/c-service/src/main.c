/* wordsd PORT [CERTIFICATE KEY]: serves a file of words, with TLS when it is given a certificate. */
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "answer.h"

#define WORDS "/usr/local/share/wordsd/greetings"

/* One connection, with TLS or without. */
struct peer {
    int socket;
    SSL *tls;
};

static int receive(struct peer *peer, char *buffer, int size) {
    return peer->tls ? SSL_read(peer->tls, buffer, size) : (int)read(peer->socket, buffer, size);
}

static int send_all(struct peer *peer, const void *data, size_t length) {
    const char *at = data;
    while (length > 0) {
        int sent = peer->tls ? SSL_write(peer->tls, at, (int)length) : (int)write(peer->socket, at, length);
        if (sent <= 0) {
            return -1;
        }
        at += sent;
        length -= (size_t)sent;
    }
    return 0;
}

static void serve(struct peer *peer, const char *words, size_t length) {
    char request[4096];
    size_t have = 0;
    while (have < sizeof request - 1) {
        int got = receive(peer, request + have, (int)(sizeof request - 1 - have));
        if (got <= 0) {
            return;
        }
        have += (size_t)got;
        request[have] = '\0';
        if (strstr(request, "\r\n\r\n") != NULL) {
            break;
        }
    }
    char path[256];
    if (sscanf(request, "GET %255s", path) != 1) {
        return;
    }
    int packed = strstr(request, "Accept-Encoding: gzip") != NULL;
    struct answer answer;
    if (answer_make(&answer, path, words, length, packed) == 0) {
        if (send_all(peer, answer.head, strlen(answer.head)) == 0) {
            send_all(peer, answer.body, answer.length);
        }
        answer_free(&answer);
    }
}

static char *load(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return NULL;
    }
    char *text = malloc(65536);
    *length = text != NULL ? fread(text, 1, 65536, file) : 0;
    fclose(file);
    return text;
}

int main(int argc, char **argv) {
    int port = argc > 1 ? atoi(argv[1]) : 8080;
    size_t length = 0;
    char *words = load(WORDS, &length);
    if (words == NULL) {
        perror(WORDS);
        return 1;
    }
    if (port == 0) {
        fwrite(words, 1, length, stdout);
        return 0;
    }
    SSL_CTX *context = NULL;
    if (argc > 3) {
        context = SSL_CTX_new(TLS_server_method());
        if (context == NULL || SSL_CTX_use_certificate_chain_file(context, argv[2]) != 1 ||
            SSL_CTX_use_PrivateKey_file(context, argv[3], SSL_FILETYPE_PEM) != 1) {
            fprintf(stderr, "wordsd: `%s` and `%s` are no certificate and key\n", argv[2], argv[3]);
            return 1;
        }
    }
    signal(SIGPIPE, SIG_IGN);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 16) != 0) {
        perror("wordsd");
        return 1;
    }
    for (;;) {
        struct peer peer = {accept(listener, NULL, NULL), NULL};
        if (peer.socket < 0) {
            continue;
        }
        if (context != NULL) {
            peer.tls = SSL_new(context);
            SSL_set_fd(peer.tls, peer.socket);
            if (SSL_accept(peer.tls) == 1) {
                serve(&peer, words, length);
                SSL_shutdown(peer.tls);
            }
            SSL_free(peer.tls);
        } else {
            serve(&peer, words, length);
        }
        close(peer.socket);
    }
}

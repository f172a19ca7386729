#include <stdio.h>

const char *who(void);

void greet(void) {
    printf("Hello, %s!\n", who());
}

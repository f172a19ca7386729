/* A server as small as can be: reads `set KEY VALUE` and `get KEY`, line by line, and keeps the values in a file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

static void get(const char *data, const char *key)
{
	char line[512], found[512] = "";
	size_t length = strlen(key);
	FILE *file = fopen(data, "r");
	while (file && fgets(line, sizeof line, file))
		if (strncmp(line, key, length) == 0 && line[length] == '=')
			strcpy(found, line + length + 1);
	if (file)
		fclose(file);
	printf("%s", *found ? found : "nothing\n");
}

static int set(const char *data, const char *key, const char *value)
{
	FILE *file = fopen(data, "a");
	if (!file) {
		perror(data);
		return 1;
	}
	fprintf(file, "%s=%s\n", key, value);
	return fclose(file) != 0;
}

int main(int argc, char **argv)
{
	char line[512], key[128], value[256], data[512];
	const char *directory = getenv("KEEPDATA");
	if (argc > 1 && strcmp(argv[1], "--version") == 0) {
		puts("keepd " VERSION ", socket in " SOCKET_DIR);
		return 0;
	}
	snprintf(data, sizeof data, "%s/values", directory ? directory : ".");
	while (fgets(line, sizeof line, stdin)) {
		if (sscanf(line, "get %127s", key) == 1)
			get(data, key);
		else if (sscanf(line, "set %127s %255s", key, value) == 2 && set(data, key, value) != 0)
			return 1;
	}
	return 0;
}

// --help and --version of the host's programs, in the shape all tools share (docs/tools.md).
// Relies on nothing but the version.
#pragma once

#include <stdio.h>
#include <string.h>

#include "kernel/version.h"

// Whether the command line asked for help or the version, which has then been printed.
// usage: the usage line, which starts with `usage: ` and the program's name; about: one sentence.
static int explained(int argc, char **argv, const char *usage, const char *about) {
  const char *name = usage + strlen("usage: ");
  if (argc == 2 && !strcmp(argv[1], "--version"))
    printf("%.*s (xv6-glass) %s\n", (int)strcspn(name, " "), name, XV6_GLASS_VERSION);
  else if (argc == 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")))
    printf("%s\n\n%s\n\nExit status: 0 fine, 1 findings, 2 usage or environment.\n", usage, about);
  else
    return 0;
  return 1;
}
